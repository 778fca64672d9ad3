/** Rows that build a container's view of files and move into it. */
import {
  type Argument,
  AT_FDCWD,
  MNT_DETACH,
  MOUNT_ATTR_RDONLY,
  MS_BIND,
  MS_MOVE,
  MS_PRIVATE,
  MS_REC,
  MS_SHARED,
  MS_SLAVE,
  MS_UNBINDABLE,
  O_CLOEXEC,
  O_DIRECTORY,
  O_PATH,
  O_RDONLY,
} from "../../linux/index.ts";
import type { RuntimeConfig } from "../../oci/index.ts";
import { Destinations } from "./destinations.ts";
import { planDeviceLinks, planDevices } from "./devices.ts";
import { labelMounts } from "./labels.ts";
import { isBind, isSealedLater, planMounts, setAttributes } from "./mounts.ts";
import type { NamespacePlan } from "./namespaces.ts";
import { planMaskedPaths, planReadonlyPaths } from "./paths.ts";
import type { LaunchContext } from "./plan.ts";
import type { RowList } from "./row-list.ts";
import { message, planRendezvous } from "./sync.ts";
import { planTerminal } from "./terminal.ts";

// biome-ignore format: table
const rootPropagations: Readonly<Record<string, number>> = {
  private: MS_PRIVATE, rprivate: MS_PRIVATE | MS_REC, slave: MS_SLAVE, rslave: MS_SLAVE | MS_REC,
  shared: MS_SHARED, rshared: MS_SHARED | MS_REC,
  unbindable: MS_UNBINDABLE, runbindable: MS_UNBINDABLE | MS_REC,
};

/** Builds the container's view of files and moves into it; returns the terminal's inner end. */
export function planRootFileSystem(
  rows: RowList,
  config: RuntimeConfig,
  namespaces: NamespacePlan,
  context: LaunchContext,
): Argument | undefined {
  const { linux = {}, mounts = [], process } = config;
  const { rootfs } = context;
  if (!namespaces.has("mount")) {
    const root = rows.result("openat", [AT_FDCWD, rootfs, O_PATH | O_DIRECTORY | O_CLOEXEC]);
    if (context.hooks) planRendezvous(rows, message.hooks);
    rows.call("fchdir", [root]);
    rows.call("chroot", ["."]);
    return undefined;
  }
  const root = planNewRoot(rows, linux.rootfsPropagation, context);
  const destinations = new Destinations(rows, root, context);
  const labelled = context.labelsMounts === true ? labelMounts(mounts, linux.mountLabel) : mounts;
  planMounts(rows, root, destinations, labelled, context);
  const devIsBound = mounts.some((mount) => mount.destination === "/dev" && isBind(mount));
  if (!devIsBound) {
    rows.call("umask", [0]);
    const how = namespaces.has("user") || context.rootless ? "bind" : "mknod";
    planDevices(rows, destinations, linux.devices ?? [], how);
    planDeviceLinks(rows, destinations, context.hasKcore);
  }
  if (context.hooks) planRendezvous(rows, message.hooks);
  if (process?.cwd !== undefined) rows.call("close", [destinations.directory(process.cwd)]);
  const tty =
    process?.terminal === true && context.console !== undefined
      ? planTerminal(rows, { root, destinations }, context.console, process.consoleSize)
      : undefined;
  planMaskedPaths(rows, root, linux.maskedPaths ?? []);
  planReadonlyPaths(rows, root, linux.readonlyPaths ?? []);
  for (const mount of mounts.filter(isSealedLater))
    setAttributes(rows, rows.openInRoot(root, mount.destination, O_PATH), readOnly, false);
  planPivot(rows, root, context.noPivot);
  if (config.root?.readonly === true) {
    const top = rows.result("openat", [AT_FDCWD, "/", O_PATH | O_DIRECTORY | O_CLOEXEC]);
    setAttributes(rows, top, readOnly, false);
  }
  const propagation = rootPropagations[linux.rootfsPropagation ?? ""];
  if (propagation !== undefined) rows.call("mount", [0, "/", 0, propagation, 0]);
  return tty;
}

const readOnly = { set: MOUNT_ATTR_RDONLY, clear: 0 };

/** A mount of the root file system of its own, so that it can be pivoted to. */
function planNewRoot(
  rows: RowList,
  propagation: string | undefined,
  { rootfs, rootMount, mountAbove = "/" }: LaunchContext,
): Argument {
  const isPrivate = propagation === "private" || propagation === "rprivate";
  if (isShared(propagation))
    // Volumes stay in the host's peer groups; but a new mount must not reach the host, nor
    // pivot_root(2) find a shared mount under the new root.
    rows.call("mount", [0, mountAbove, 0, MS_PRIVATE, 0], {
      note: "the mount of the root stays here",
    });
  else
    rows.call("mount", [0, "/", 0, MS_REC | (isPrivate ? MS_PRIVATE : MS_SLAVE), 0], {
      note: "mounts made here stay here",
    });
  if (rootMount === undefined) rows.call("mount", [rootfs, rootfs, 0, MS_BIND | MS_REC, 0]);
  else for (const row of rootMount.rows) rows.add(row);
  return rows.result("openat", [AT_FDCWD, rootfs, O_PATH | O_DIRECTORY | O_CLOEXEC]);
}

/** Whether mounts of the container are to be seen outside. */
export function isShared(propagation: string | undefined): boolean {
  return propagation === "shared" || propagation === "rshared";
}

function planPivot(rows: RowList, root: Argument, noPivot: boolean): void {
  rows.call("fchdir", [root]);
  if (noPivot) {
    rows.call("mount", [".", "/", 0, MS_MOVE, 0]);
    rows.call("chroot", ["."]);
    rows.call("chdir", ["/"]);
    return;
  }
  const old = rows.result("openat", [AT_FDCWD, "/", O_RDONLY | O_DIRECTORY | O_CLOEXEC]);
  rows.call("pivot_root", [".", "."], { note: "the old root lies on the new one" });
  rows.call("fchdir", [old]);
  rows.call("mount", [0, ".", 0, MS_SLAVE | MS_REC, 0]);
  rows.call("umount2", [".", MNT_DETACH], { note: "and is taken away" });
  rows.call("chdir", ["/"]);
}
