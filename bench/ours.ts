/** The executable under test, with all its state in a folder of its own. */
import { rmSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { makeFolder } from "./folder.ts";
import { unmountBelow } from "./peers/podman.ts";

export const executable = fileURLToPath(new URL("../dist/manyworlds", import.meta.url));

export const ociExecutable = `${executable}-oci`;

export interface Ours extends Disposable {
  readonly command: readonly string[];
  readonly env: NodeJS.ProcessEnv;
  /** Folder that holds images, snapshots and containers. */
  readonly root: string;
}

export function openOurs(): Ours {
  const root = makeFolder("bench");
  return {
    command: [executable],
    env: { ...process.env, MANYWORLDS_ROOT: root },
    root,
    [Symbol.dispose]() {
      unmountBelow(root);
      rmSync(root, { recursive: true, force: true });
    },
  };
}
