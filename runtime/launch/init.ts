/**
 * `--init`: the launch program itself stays as PID 1, a few pages of memory, and the command runs
 * as its child. PID 1 passes signals on, reaps whatever is orphaned in the container, and ends
 * with the command's status, as tini does.
 */
import { SIGCHLD, sigsetSizeBytes, WNOHANG } from "../../linux/index.ts";
import type { RowList } from "./row-list.ts";

const TIOCSPGRP = 0x5410;
const lastDescriptor = 0x7fff_ffff;
const siginfoSize = 128;
const signalBits = 0x7f;

/**
 * Forks; rows added after this run in the child. All signals are blocked here: none is lost
 * between two waits, and a blocked one reaches PID 1 whatever its disposition.
 */
export function planInit(
  rows: RowList,
  { terminal, dropPrivileges }: { readonly terminal: boolean; dropPrivileges(): void },
): void {
  const [command, wait, reap, next, dead] = ["command", "wait", "reap", "reaped", "command_died"];
  const child = rows.result("clone", [SIGCHLD, 0, 0, 0, 0], { note: "PID 1 makes the command" });
  rows.add({ jump: command, if: [{ last: true }, "==", 0] });
  dropPrivileges();
  rows.call("close_range", [3, lastDescriptor, 0]);
  rows.label(wait);
  const info = rows.buffer("siginfo", siginfoSize);
  const every = new Uint8Array(sigsetSizeBytes).fill(0xff);
  const signal = rows.result("rt_sigtimedwait", [every, info, 0, sigsetSizeBytes], {
    ignore: ["EINTR"],
  });
  rows.gotoIfFailed(wait);
  rows.add({ jump: reap, if: [signal, "==", SIGCHLD] });
  rows.call("kill", [child, signal], { ignore: ["ESRCH", "EPERM"], note: "pass the signal on" });
  rows.goto(wait);
  rows.label(reap);
  const status = rows.buffer("status", 8);
  const ended = rows.result("wait4", [-1, status, WNOHANG, 0], { ignore: ["ECHILD", "EINTR"] });
  rows.add({ jump: wait, if: [ended, "<=", 0] });
  rows.add({ jump: next, if: [ended, "==", child] });
  rows.goto(reap);
  rows.label(next);
  rows.add({ compute: [{ load: "status", width: 4 }, "&", signalBits], as: "killed_by" });
  rows.add({ jump: dead, if: [{ result: "killed_by" }, "!=", 0] });
  rows.add({ compute: [{ load: "status", width: 4 }, ">>", 8], as: "status_byte" });
  rows.add({ compute: [{ result: "status_byte" }, "&", 0xff], as: "exit_status" });
  rows.call("exit_group", [{ result: "exit_status" }]);
  rows.label(dead);
  rows.add({ compute: [{ result: "killed_by" }, "+", 128], as: "shell_status" });
  rows.call("exit_group", [{ result: "shell_status" }]);
  rows.label(command);
  rows.call("setpgid", [0, 0]);
  if (!terminal) return;
  rows.call("getpid", []);
  rows.add({ store: rows.buffer("group", 8), value: { last: true }, width: 4 });
  rows.call("ioctl", [0, TIOCSPGRP, { buffer: "group" }], { note: "the command is in front" });
}
