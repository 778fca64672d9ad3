/**
 * What engines take for a container that runs in a machine: a process that has the container's root
 * file system as its own, waits for the machine's keeper, its child, and ends with its status.
 *
 * Engines look into the process whose PID they have, and enter its mount namespace: podman cp does. In
 * the keeper's they would find the host's files.
 */
import {
  CLONE_NEWNS,
  MNT_DETACH,
  MS_BIND,
  MS_PRIVATE,
  MS_REC,
  PR_SET_PDEATHSIG,
  SIGKILL,
} from "../../linux/index.ts";
import { planInit } from "./init.ts";
import type { RowList } from "./row-list.ts";

/** Forks; rows added after this run in the child, which dies with its parent. */
export function planStandIn(rows: RowList, rootfs: string, terminal: boolean): void {
  planInit(rows, {
    terminal,
    dropPrivileges() {
      rows.call("unshare", [CLONE_NEWNS]);
      rows.call("mount", [0, "/", 0, MS_REC | MS_PRIVATE, 0], { note: "mounts stay ours" });
      rows.call("mount", [rootfs, rootfs, 0, MS_BIND | MS_REC, 0]);
      rows.call("chdir", [rootfs]);
      rows.call("pivot_root", [".", "."], { note: "who enters us finds the container's files" });
      rows.call("umount2", [".", MNT_DETACH]);
      rows.call("chdir", ["/"]);
    },
  });
  rows.call("prctl", [PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0], { note: "end with the stand-in" });
}
