/**
 * Whether the command of a container in a machine is there, for `create`: engines tell a missing
 * command from other failures only there. A hint, as the guest decides: where a mount may have it, or
 * only some users may execute it, nothing is refused.
 */
import { S_IFDIR, S_IFMT, stat, syscall } from "../../linux/index.ts";
import type { RuntimeConfig } from "../../oci/index.ts";
import { searchPath } from "../launch/execute.ts";
import { executionError } from "../launch/report.ts";
import { rootResolver } from "../root-facts.ts";

const [ENOENT, EACCES] = [2, 13];
const AT_FDCWD = -100;
const EVERYBODY_EXECUTES = 0o111;

/** Throws LaunchError in runc's words. */
export function checkCommand(config: RuntimeConfig, rootfs: string): void {
  const { process, mounts = [] } = config;
  const [command = ""] = process?.args ?? [];
  if (process === undefined || command === "") return;
  const candidates = command.includes("/")
    ? [command.startsWith("/") ? command : `${process.cwd}/${command}`]
    : searchPath(process).map((directory) => `${directory}/${command}`);
  const opened: { close(): void }[] = [];
  try {
    const resolve = rootResolver(rootfs, undefined, (root) => opened.push(root));
    let errno = ENOENT;
    for (const candidate of candidates) {
      if (mounts.some(({ destination }) => contains(destination, candidate))) return;
      const place = resolve(candidate);
      if (place === undefined) continue;
      if (mounts.some(({ destination }) => contains(destination, place))) return;
      const mode = modeOf(`${rootfs}${place}`);
      if ((mode & S_IFMT) !== S_IFDIR && (mode & EVERYBODY_EXECUTES) !== 0) return;
      errno = EACCES;
    }
    throw executionError(config, errno);
  } finally {
    for (const one of opened) one.close();
  }
}

function modeOf(path: string): number {
  const buffer = new Uint8Array(stat.sizeBytes);
  return syscall("newfstatat", AT_FDCWD, path, buffer, 0) < 0 ? 0 : stat.decode(buffer).st_mode;
}

function contains(directory: string, path: string): boolean {
  return path === directory || path.startsWith(directory === "/" ? "/" : `${directory}/`);
}
