/**
 * `run` in the door: the executable makes the container as our child, and while it takes itself
 * down again, which takes as long as a short container, we wait for the container and remove it.
 *
 * ```
 * door ── socket, descriptor 200 ──► executable, called manyworlds-oci:200
 *      ◄── ran: PID, root, name ───  it has made the container and needs no more of us (handover.ts)
 *      ◄── stay ──────────────────  it looks after the container itself: we only pass signals on
 *      ◄── end of file ───────────  it has ended: its status is ours
 * ```
 */
import {
  AF_UNIX,
  CLONE_VFORK,
  CLONE_VM,
  F_DUPFD,
  PR_SET_PDEATHSIG,
  SIG_BLOCK,
  SIG_SETMASK,
  SIGCHLD,
  SIGKILL,
  SOCK_CLOEXEC,
  SOCK_SEQPACKET,
  sigsetSizeBytes,
} from "../../linux/index.ts";
import type { DoorRows } from "./door-rows.ts";
import { doorName } from "./fallback.ts";
import { awaitedSignals, planWaitFor } from "./wait.ts";

/** Out of the way of descriptors that are passed on to the container. */
export const handoverDescriptor = 200;
export const handoverMessage = { ran: 1, stay: 2 } as const;
/** u32 code, u32 PID, two C strings: the root of the state, the container's name. */
export const handoverSizeLimit = 8 * 1024;
const textOffset = 8;

/** Ends with the executable's or the container's status; the fallback before anything is begun. */
export function planRun(rows: DoorRows): void {
  planNotActivated(rows);
  const pair = rows.buffer("pair", 8);
  rows.call("socketpair", [AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair]);
  const [ours, theirs] = [0, 4].map((offset) => ({ load: "pair", offset, width: 4 }) as const);
  if (ours === undefined || theirs === undefined) throw new Error("A pair has two ends");
  rows.call("rt_sigaction", [SIGCHLD, new Uint8Array(32), 0, sigsetSizeBytes]); // children are kept
  // Signals wait until it is known whom they are for; none gets lost, or ends us too soon.
  const mask = rows.buffer("old_mask", sigsetSizeBytes);
  rows.call("rt_sigprocmask", [SIG_BLOCK, awaitedSignals, mask, sigsetSizeBytes]);
  rows.set("helper", -1);
  // With memory of its own: it may become the frozen executable there.
  const child = rows.result("clone", [SIGCHLD, 0, 0, 0, 0], { onError: "run_alone" });
  rows.set("helper", child);
  rows.gotoIf("run_parent", { last: true }, "!=", 0);
  rows.label("run_alone");
  rows.call("rt_sigprocmask", [SIG_SETMASK, mask, 0, sigsetSizeBytes]);
  rows.gotoIf("fallback", rows.get("helper"), "<", 0);
  rows.call("prctl", [PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0]);
  const lifted = rows.result("fcntl", [theirs, F_DUPFD, handoverDescriptor]);
  rows.gotoIf("fallback", lifted, "!=", handoverDescriptor); // taken: then without it
  rows.set("name", `${doorName}:${handoverDescriptor}`);
  rows.goto("fallback");
  rows.label("run_parent");
  // From here on nothing may lead to the fallback: the container would run twice.
  const ended = { onError: "run_ended" };
  rows.call("close", [theirs], ended);
  const message = rows.buffer("handover", handoverSizeLimit);
  const size = rows.result("read", [ours, message, handoverSizeLimit], ended);
  rows.gotoIf("run_ended", size, "<=", textOffset);
  const code = rows.read(message, 4);
  rows.gotoIf("run_ran", code, "==", handoverMessage.ran);
  planWaitFor(rows, "helped", "helper", { sharesTerminal: true });
  rows.call("exit_group", [rows.get("status")]);
  rows.label("run_ended");
  planWaitFor(rows, "unhelped", "helper");
  rows.call("exit_group", [rows.get("status")]);
  planRan(rows);
}

/** sd_listen_fds(3): sockets are passed to the process with our PID, which the executable must have. */
function planNotActivated(rows: DoorRows): void {
  const [next, none] = ["run_variable", "run_not_activated"];
  rows.set("entry", rows.get("environment"));
  rows.label(next);
  rows.set("variable", rows.read(rows.get("entry"), 8));
  rows.gotoIf(none, rows.get("variable"), "==", 0);
  rows.gotoIfBegins("fallback", rows.get("variable"), "LISTEN_PID=");
  rows.advance("entry", 8);
  rows.goto(next);
  rows.label(none);
}

/** The container's end, its removal by the rows of `delete`, and the executable's end. */
function planRan(rows: DoorRows): void {
  rows.label("run_ran");
  rows.set("child", rows.read({ buffer: "handover", offset: 4 }, 4));
  planWaitFor(rows, "container", "child", { other: "helper" });
  rows.set("run_status", rows.get("status"));
  rows.set("root", rows.compute({ buffer: "handover" }, "+", textOffset));
  rows.scan("length", rows.get("root"), () => {});
  const behind = rows.compute(rows.get("root"), "+", rows.get("length"));
  rows.set("id", rows.compute(behind, "+", 1));
  rows.set("force", 1);
  rows.set("thaws", 0); // it shares our memory
  const [reaped, removed] = [{ onError: "run_reaped" }, { onError: "run_removed" }];
  const flags = CLONE_VM | CLONE_VFORK | SIGCHLD;
  const cleaner = rows.result("clone", [flags, 0, 0, 0, 0], removed);
  rows.gotoIf("run_clean", { last: true }, "==", 0);
  rows.call("wait4", [cleaner, 0, 0, 0], removed);
  rows.label("run_removed");
  rows.call("wait4", [rows.get("helper"), 0, 0, 0], reaped);
  rows.label("run_reaped");
  rows.call("exit_group", [rows.get("run_status")]);
  planCleaner(rows);
}

/** A process of its own, so that it may become the executable when `delete` is more than rows. */
function planCleaner(rows: DoorRows): void {
  rows.label("run_clean");
  const words = ["--root", rows.get("root"), "delete", "--force", rows.get("id")];
  const argv = rows.buffer("delete_words", 8 * (words.length + 2));
  words.forEach((word, index) => {
    rows.add({ store: { ...argv, offset: 8 * (index + 1) }, value: word, width: 8 });
  });
  rows.set("argv", argv);
  rows.set("name", doorName);
  const mask = rows.buffer("old_mask", sigsetSizeBytes);
  rows.call("rt_sigprocmask", [SIG_SETMASK, mask, 0, sigsetSizeBytes]);
  rows.goto("delete_container");
}
