/**
 * What some mounts need before the program runs: a user namespace whose maps are those of an
 * idmapped mount (mount_setattr(2), "ID-mapped mounts"), a tmpfs filled with what it will cover.
 */
import {
  AT_FDCWD,
  call,
  Fd,
  FSCONFIG_CMD_CREATE,
  FSCONFIG_SET_FLAG,
  FSCONFIG_SET_STRING,
  FSMOUNT_CLOEXEC,
  FSOPEN_CLOEXEC,
  hasErrno,
  O_CLOEXEC,
  O_RDONLY,
  SIGKILL,
  spawnProgram,
  syscall,
} from "../linux/index.ts";
import type { IdMapping, Mount, RuntimeConfig } from "../oci/index.ts";
import { copyTree } from "./copy-tree.ts";
import { LaunchError } from "./errors.ts";
import { readText } from "./files.ts";
import { writeIdMappings } from "./id-mappings.ts";
import { parseMountOptions } from "./launch/mount-options.ts";
import type { PreparedMount } from "./launch/mounts.ts";
import { socketPair } from "./sockets.ts";
import { waitForChild } from "./wait.ts";

const CLONE_NEWUSER = 0x1000_0000;

/** Descriptors that the mounts take over; `keep` closes them when the launch is over. */
export function prepareMounts(
  { mounts = [], linux = {} }: RuntimeConfig,
  rootfs: string,
  keep: (fd: Fd) => void,
): ReadonlyMap<Mount, PreparedMount> {
  const prepared = new Map<Mount, PreparedMount>();
  for (const mount of mounts) {
    const { runtime } = parseMountOptions(mount.options);
    if (isIdmapped(mount)) {
      const maps = mount.uidMappings === undefined ? linux : mount;
      if (!maps.uidMappings?.length || !maps.gidMappings?.length)
        throw new LaunchError(
          `Cannot map the IDs of mount "${mount.destination}": it has no uidMappings and gidMappings`,
        );
      const fd = userNamespaceOf(maps.uidMappings, maps.gidMappings);
      keep(fd);
      prepared.set(mount, { userNamespace: fd.number, deep: runtime.has("ridmap") });
    } else if (runtime.has("tmpcopyup")) {
      const fd = filledTmpfs(mount, rootfs);
      keep(fd);
      prepared.set(mount, { tree: fd.number });
    }
  }
  return prepared;
}

export function isIdmapped(mount: Mount): boolean {
  const { runtime } = parseMountOptions(mount.options);
  return runtime.has("idmap") || runtime.has("ridmap") || mount.uidMappings !== undefined;
}

/** A user namespace lives as long as somebody holds it; a process is needed only to make it. */
function userNamespaceOf(uidMappings: readonly IdMapping[], gidMappings: readonly IdMapping[]): Fd {
  const [ours, theirs] = socketPair();
  const { pid, pidfd } = spawnProgram(
    { rows: [{ call: "read", args: [theirs.number, { buffer: "end" }, 1] }], buffers: { end: 8 } },
    { flags: CLONE_NEWUSER, keep: [theirs.number], name: "manyworlds-idmap" },
  );
  try {
    writeIdMappings(pid, { uidMappings, gidMappings });
    return Fd.from("openat", AT_FDCWD, `/proc/${pid}/ns/user`, O_RDONLY | O_CLOEXEC);
  } finally {
    syscall("kill", pid, SIGKILL);
    waitForChild(pid);
    for (const fd of [pidfd, ours, theirs]) fd.close();
  }
}

/** A tmpfs that is mounted nowhere yet, with a copy of the directory that it will lie on. */
function filledTmpfs(mount: Mount, rootfs: string): Fd {
  const context = Fd.from("fsopen", "tmpfs", FSOPEN_CLOEXEC);
  try {
    for (const option of parseMountOptions(mount.options).data.split(",").filter(Boolean)) {
      const [key = "", value] = option.split("=");
      if (value === undefined) call("fsconfig", context, FSCONFIG_SET_FLAG, key, 0, 0);
      else call("fsconfig", context, FSCONFIG_SET_STRING, key, value, 0);
    }
    call("fsconfig", context, FSCONFIG_CMD_CREATE, 0, 0, 0);
    const tree = Fd.from("fsmount", context, FSMOUNT_CLOEXEC, 0);
    copyTree(rootfs, mount.destination, tree);
    return tree;
  } catch (cause) {
    const said = kernelSays(context);
    const what = cause instanceof Error ? cause.message : String(cause);
    throw new LaunchError(
      `Cannot fill the tmpfs for "${mount.destination}": ${said ?? what}`,
      125,
      {
        cause,
      },
    );
  } finally {
    context.close();
  }
}

/** fsopen(2): what went wrong is read from the context itself. */
function kernelSays(context: Fd): string | undefined {
  try {
    return readText(`/proc/self/fd/${context.number}`).trim() || undefined;
  } catch (error) {
    if (hasErrno(error, "ENODATA", "ENXIO", "ENOENT", "EOPNOTSUPP", "EINVAL")) return undefined;
    throw error;
  }
}
