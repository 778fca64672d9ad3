/** Paths hidden from a container or shown read-only: config-linux.md, "Masked paths". */
import {
  type Argument,
  AT_EMPTY_PATH,
  AT_FDCWD,
  AT_RECURSIVE,
  MOUNT_ATTR_RDONLY,
  MOVE_MOUNT_F_EMPTY_PATH,
  MOVE_MOUNT_T_EMPTY_PATH,
  MS_RDONLY,
  O_CLOEXEC,
  O_PATH,
  OPEN_TREE_CLOEXEC,
  OPEN_TREE_CLONE,
} from "../../linux/index.ts";
import { attach, cloneFlags, setAttributes } from "./mounts.ts";
import type { RowList } from "./row-list.ts";

/** Nothing is there to hide; runc passes over the same. */
const absent = ["ENOENT", "ENOTDIR", "EACCES", "ELOOP"] as const;

/**
 * Files are covered by the host's /dev/null, directories by an empty read-only tmpfs. The
 * container's own /dev/null is never trusted for it: it may be a symlink (CVE-2025-31133).
 */
export function planMaskedPaths(rows: RowList, root: Argument, paths: readonly string[]): void {
  if (paths.length === 0) return;
  const nothing = rows.result("openat", [AT_FDCWD, "/dev/null", O_PATH | O_CLOEXEC]);
  const note = "hide a path";
  rows.forEach("masked", paths, (path, next) => {
    const target = rows.openInRoot(root, path, O_PATH, { ignore: absent, note });
    rows.gotoIfFailed(next);
    const cover = rows.result("open_tree", [nothing, "", cloneFlags(false) | AT_EMPTY_PATH], {
      note,
    });
    const both = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH;
    // A file cannot cover a directory: then it is one.
    rows.call("move_mount", [cover, "", target, "", both], { ignore: ["ENOTDIR", "EINVAL"], note });
    rows.gotoIfDone(next);
    rows.call("fchdir", [target], { note });
    rows.call("mount", ["tmpfs", ".", "tmpfs", MS_RDONLY, "nr_blocks=1,nr_inodes=1"], { note });
  });
}

/** Each path is mounted on itself, and that mount made read-only with all below it. */
export function planReadonlyPaths(rows: RowList, root: Argument, paths: readonly string[]): void {
  const note = "make a path read-only";
  rows.forEach("readonly", paths, (path, next) => {
    const target = rows.openInRoot(root, path, O_PATH, { ignore: absent, note });
    rows.gotoIfFailed(next);
    const flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | AT_RECURSIVE;
    const tree = rows.result("open_tree", [target, "", flags], { note });
    setAttributes(rows, tree, { set: MOUNT_ATTR_RDONLY, clear: 0 }, true);
    attach(rows, tree, target, note);
  });
}
