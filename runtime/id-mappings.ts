/** ID mappings of a new user namespace: user_namespaces(7), newuidmap(1). */
import { hasErrno } from "../linux/index.ts";
import type { IdMapping, Linux } from "../oci/index.ts";
import { LaunchError } from "./errors.ts";
import { readText, writeExisting } from "./files.ts";

/**
 * Root writes the maps itself. Anybody else may map just their own ID; more needs newuidmap,
 * which knows the ranges of /etc/subuid.
 */
export function writeIdMappings(pid: number, { uidMappings, gidMappings }: Linux): void {
  const isRoot = process.geteuid?.() === 0;
  if (!isRoot && !needsHelper(gidMappings)) denySetgroups(pid);
  writeMap(pid, "uid", uidMappings ?? [], isRoot);
  writeMap(pid, "gid", gidMappings ?? [], isRoot);
}

function writeMap(
  pid: number,
  kind: "uid" | "gid",
  mappings: readonly IdMapping[],
  isRoot: boolean,
): void {
  if (mappings.length === 0) return;
  if (!isRoot && needsHelper(mappings)) {
    callHelper(pid, kind, mappings);
    return;
  }
  const text = mappings.map(
    ({ containerID, hostID, size }) => `${containerID} ${hostID} ${size}\n`,
  );
  try {
    writeExisting(`/proc/${pid}/${kind}_map`, text.join(""));
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new LaunchError(`Cannot write linux.${kind}Mappings: ${reason}`, 125, { cause });
  }
}

function needsHelper(mappings: readonly IdMapping[] = []): boolean {
  return mappings.length > 1 || mappings.some(({ size }) => size !== 1);
}

/** user_namespaces(7): an unprivileged gid_map is taken only after this. */
function denySetgroups(pid: number): void {
  try {
    if (readText(`/proc/${pid}/setgroups`).startsWith("allow"))
      writeExisting(`/proc/${pid}/setgroups`, "deny");
  } catch (error) {
    if (!hasErrno(error, "ENOENT")) throw error;
  }
}

function callHelper(pid: number, kind: "uid" | "gid", mappings: readonly IdMapping[]): void {
  const helper = `new${kind}map`;
  const numbers = mappings.flatMap(({ containerID, hostID, size }) => [containerID, hostID, size]);
  // Loading it takes 2 ms, which only this case may cost.
  const { spawnSync } = process.getBuiltinModule("node:child_process");
  const { status, stderr, error } = spawnSync(helper, [pid, ...numbers].map(String), {
    encoding: "utf8",
    env: { PATH: process.env["PATH"] ?? "/usr/bin:/bin:/usr/sbin:/sbin" },
  });
  if (error !== undefined)
    throw new LaunchError(
      `Cannot map a range of IDs: "${helper}" was not found; install it (Debian: uidmap)`,
      125,
      { cause: error },
    );
  if (status !== 0) throw new LaunchError(`Cannot map IDs: ${helper}: ${stderr.trim()}`);
}
