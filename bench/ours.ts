/** The executable under test, with all its state in a folder of its own. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
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
  const root = mkdtempSync(join(tmpdir(), "manyworlds-bench-"));
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
