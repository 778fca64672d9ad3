/**
 * `exec` in the door: starts the container's program for it (exec-program.ts) from a sealed memfd,
 * so that nothing of the host can be reached through /proc/PID/exe in there, and waits for what it
 * becomes, passing signals on. When it becomes nothing, the executable tries again and says why.
 */
import {
  AF_UNIX,
  AT_EMPTY_PATH,
  CLONE_VFORK,
  CLONE_VM,
  F_ADD_SEALS,
  F_DUPFD_CLOEXEC,
  F_GETFD,
  F_SEAL_GROW,
  F_SEAL_SEAL,
  F_SEAL_SHRINK,
  F_SEAL_WRITE,
  MFD_ALLOW_SEALING,
  MFD_CLOEXEC,
  SIG_BLOCK,
  SIG_SETMASK,
  SIGCHLD,
  SIGKILL,
  SOCK_CLOEXEC,
  SOCK_SEQPACKET,
  sigsetSizeBytes,
} from "../../linux/index.ts";
import { message, messageSizeBytes, reportSizeLimit } from "../launch/sync.ts";
import { planFindProcess, planNotFrozen, planOpenPrivate, planReadFacts } from "./container.ts";
import type { DoorRows } from "./door-rows.ts";
import { execDescriptors } from "./exec-program.ts";
import { execFile } from "./files.ts";
import { awaitedSignals, planWaitFor } from "./wait.ts";

const MFD_EXEC = 0x10;
const seals = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
const programLimit = 1024 * 1024;
/** Where descriptors are out of the way of those that the program expects. */
const lifted = 8;

/** With a standard stream closed, what we open would become it. */
export function planStandardStreams(rows: DoorRows): void {
  for (const stream of [0, 1, 2]) rows.call("fcntl", [stream, F_GETFD, 0]);
}

/** `id_slot`: address of the container's name in argv; the command stands behind it. */
export function planExecVerb(rows: DoorRows): void {
  planReadFacts(rows);
  planFindProcess(rows, "fallback");
  planNotFrozen(rows);
  planSealedProgram(rows);
  const pair = rows.buffer("pair", 8);
  rows.call("socketpair", [AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair]);
  rows.set("ours", { load: pair.buffer, width: 4 });
  rows.set("theirs", lift(rows, { load: pair.buffer, offset: 4, width: 4 }));
  rows.set("target", lift(rows, rows.get("pidfd")));
  rows.set("exec_name", "manyworlds-exec");
  planClone(rows);
  planConverse(rows);
  planWaitFor(rows, "exec", "child");
  rows.call("exit_group", [rows.get("status")]);
}

function lift(rows: DoorRows, descriptor: Parameters<DoorRows["set"]>[1]) {
  return rows.result("fcntl", [descriptor, F_DUPFD_CLOEXEC, lifted]);
}

function planSealedProgram(rows: DoorRows): void {
  const file = planOpenPrivate(rows, execFile);
  const [made, copy, sealed] = ["memfd_made", "copy_program", "program_copied"] as const;
  const flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
  rows.result("memfd_create", ["manyworlds", flags | MFD_EXEC], { ignore: ["EINVAL"] });
  rows.gotoIfDone(made);
  rows.result("memfd_create", ["manyworlds", flags]); // before Linux 6.3
  rows.label(made);
  rows.set("program", lift(rows, { last: true }));
  rows.label(copy);
  rows.call("sendfile", [rows.get("program"), file, 0, programLimit]);
  rows.gotoIf(sealed, { last: true }, "==", 0);
  rows.goto(copy);
  rows.label(sealed);
  rows.call("fcntl", [rows.get("program"), F_ADD_SEALS, seals]);
}

/** Signals wait from here on: none must get lost before we know whom to pass it on to. */
function planClone(rows: DoorRows): void {
  const [ignored, child] = [new Uint8Array(32), "exec_child"] as const;
  rows.call("rt_sigaction", [SIGCHLD, ignored, 0, sigsetSizeBytes]); // SIG_DFL: children are kept
  const mask = rows.buffer("old_mask", sigsetSizeBytes);
  rows.call("rt_sigprocmask", [SIG_BLOCK, awaitedSignals, mask, sigsetSizeBytes]);
  planName(rows, "exec_name");
  const flags = CLONE_VM | CLONE_VFORK | SIGCHLD;
  rows.set("maker", rows.result("clone", [flags, 0, 0, 0, 0], { onError: "exec_failed" }));
  rows.gotoIf(child, { last: true }, "==", 0);
  planName(rows, "id");
  for (const fd of ["theirs", "target"])
    rows.call("close", [rows.get(fd)], { onError: "exec_failed" });
  // The pair's own end was lifted: close both, or its end of file never comes.
  rows.call("close", [{ load: "pair", offset: 4, width: 4 }], { onError: "exec_failed" });
  rows.goto("exec_parent");
  rows.label(child);
  const failing = { onError: "exec_child_failed" };
  rows.call("dup3", [rows.get("theirs"), execDescriptors.sync, 0], failing);
  rows.call("dup3", [rows.get("target"), execDescriptors.target, 0], failing);
  const argv = rows.get("id_slot");
  rows.call("execveat", [rows.get("program"), "", argv, { strings: [] }, AT_EMPTY_PATH], failing);
  rows.label("exec_child_failed");
  rows.call("exit", [1]);
  rows.label("exec_parent");
}

/** The program's first word is a name for ps; for the fallback it is the container again. */
function planName(rows: DoorRows, variable: string): void {
  rows.get(variable);
  rows.add({ copy: { buffer: variable }, to: rows.get("id_slot"), length: 8 });
}

/** launch/sync.ts: first the process, then the end of file when it has become the command. */
function planConverse(rows: DoorRows): void {
  const report = rows.buffer("report", reportSizeLimit);
  const [more, begun, other] = ["exec_message", "exec_begun", "exec_other"];
  rows.set("child", 0);
  rows.set("failed", 0);
  rows.label(more);
  const size = rows.result("read", [rows.get("ours"), report, reportSizeLimit], {
    onError: "exec_failed",
  });
  rows.gotoIf(begun, size, "==", 0);
  rows.gotoIf(other, size, "!=", messageSizeBytes);
  rows.gotoIf(other, rows.read(report, 4), "!=", message.pid);
  rows.set("child", rows.read({ buffer: "report", offset: 4 }, 4));
  rows.gotoIf("exec_failed", rows.get("failed"), "!=", 0);
  rows.goto(more);
  // A failure; it may come before its maker has told who has failed and must be reaped.
  rows.label(other);
  rows.set("failed", 1);
  rows.gotoIf(more, rows.get("child"), "==", 0);
  rows.goto("exec_failed");
  planGiveUp(rows);
  rows.label(begun);
  rows.gotoIf("exec_failed", rows.get("failed"), "!=", 0);
  rows.gotoIf("exec_failed", rows.get("child"), "==", 0);
  rows.call("wait4", [rows.get("maker"), 0, 0, 0], { ignore: ["ECHILD"], onError: "exec_failed" });
}

function planGiveUp(rows: DoorRows): void {
  const [none, restored] = ["exec_no_child", "exec_restored"];
  rows.label("exec_failed");
  planName(rows, "id");
  rows.gotoIf(none, rows.get("child"), "<=", 0);
  rows.call("kill", [rows.get("child"), SIGKILL], { onError: none });
  rows.call("wait4", [rows.get("child"), 0, 0, 0], { onError: none });
  rows.label(none);
  rows.gotoIf(restored, rows.get("maker"), "<=", 0);
  rows.call("wait4", [rows.get("maker"), 0, 0, 0], { onError: restored });
  rows.label(restored);
  const mask = rows.buffer("old_mask", sigsetSizeBytes);
  rows.call("rt_sigprocmask", [SIG_SETMASK, mask, 0, sigsetSizeBytes]);
  rows.goto("fallback");
}
