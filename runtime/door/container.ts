/** Rows that find a container and look whether its process is there. */
import {
  AT_EMPTY_PATH,
  AT_FDCWD,
  LOCK_EX,
  O_CLOEXEC,
  O_DIRECTORY,
  O_NOFOLLOW,
  O_PATH,
  O_RDONLY,
  POLLIN,
  S_IFREG,
} from "../../linux/index.ts";
import type { Result } from "../launch/row-list.ts";
import type { DoorRows } from "./door-rows.ts";
import { facts, factsFile, factsMagic, factsSizeLimit } from "./facts.ts";

/** struct stat, x86-64: st_mode, st_uid. */
const statOffsets = { mode: 24, uid: 28 } as const;
const statSize = 144;
const privateMode = 0o600;
const statTextLimit = 1024;
/** proc(5): from the parenthesis behind the name to field 22, starttime. */
const spacesBeforeStart = 20;

/** A field of facts.ts. */
export function fact(rows: DoorRows, offset: number, width: 4 | 8 = 4) {
  return { load: rows.buffer("facts", factsSizeLimit).buffer, offset, width } as const;
}

/** Address of what an offset in the facts names. */
export function factAddress(rows: DoorRows, offset: number): Result {
  return rows.compute(fact(rows, offset), "+", rows.buffer("facts", factsSizeLimit));
}

/**
 * Opens the state of the container `id` below `root` (variables) and reads its facts. They are
 * believed only when they are ours alone, as state.json is. Descriptors: `root_fd`, `state_fd`.
 */
export function planOpenContainer(rows: DoorRows): void {
  // One name: what has a slash is for the executable to refuse.
  rows.scan("length", rows.get("id"), (byte) =>
    rows.gotoIf("fallback", byte, "==", "/".charCodeAt(0)),
  );
  const where = O_DIRECTORY | O_CLOEXEC;
  rows.set("root_fd", rows.result("openat", [AT_FDCWD, rows.get("root"), O_PATH | where]));
  const state = [rows.get("root_fd"), rows.get("id"), O_RDONLY | where];
  rows.set("state_fd", rows.result("openat", state));
}

/** As state.ts does: whoever changes a container holds it. */
export function planLock(rows: DoorRows): void {
  rows.call("flock", [rows.get("state_fd"), LOCK_EX]);
}

export function planReadFacts(rows: DoorRows): void {
  const buffer = rows.buffer("facts", factsSizeLimit);
  const file = planOpenPrivate(rows, factsFile);
  const size = rows.result("read", [file, buffer, factsSizeLimit]);
  rows.gotoIf("fallback", size, "<", facts.size);
  rows.gotoIf("fallback", size, "==", factsSizeLimit);
  rows.gotoIf("fallback", fact(rows, facts.magic, 8), "!=", factsMagic);
}

/** A regular file in the state directory that only we could have written, or the fallback. */
export function planOpenPrivate(rows: DoorRows, name: string): Result {
  const flags = O_RDONLY | O_NOFOLLOW | O_CLOEXEC;
  const file = rows.result("openat", [rows.get("state_fd"), name, flags]);
  const stat = rows.buffer("stat", statSize);
  rows.call("newfstatat", [file, "", stat, AT_EMPTY_PATH]);
  const mode = { load: stat.buffer, offset: statOffsets.mode, width: 4 } as const;
  rows.gotoIf("fallback", mode, "!=", S_IFREG | privateMode);
  const owner = { load: stat.buffer, offset: statOffsets.uid, width: 4 } as const;
  rows.gotoIf("fallback", owner, "!=", rows.result("geteuid", []));
  return file;
}

/** A frozen container needs more than the door does. */
export function planNotFrozen(rows: DoorRows): void {
  const thawed = rows.freshLabel("thawed");
  rows.gotoIf(thawed, fact(rows, facts.freezer), "==", 0);
  const path = factAddress(rows, facts.freezer);
  const file = rows.result("openat", [AT_FDCWD, path, O_RDONLY | O_CLOEXEC]);
  const state = rows.buffer("freezer", 8);
  rows.call("read", [file, state, 1]);
  rows.call("close", [file]);
  rows.gotoIf("fallback", rows.read(state, 1), "==", fact(rows, facts.frozen));
  rows.label(thawed);
}

/**
 * Goes on with a descriptor of the container's process in `pidfd`, or jumps to `dead`. The
 * descriptor is opened before the process is recognised by when it began, so a later namesake can
 * take its place no more.
 */
export function planFindProcess(rows: DoorRows, dead: string): void {
  const pid = fact(rows, facts.pid);
  const pidfd = rows.result("pidfd_open", [pid, 0], { ignore: ["ESRCH", "EINVAL"] });
  rows.gotoIf(dead, pidfd, "<", 0);
  rows.set("pidfd", pidfd);
  planHasNotEnded(rows, dead);
  const path = factAddress(rows, facts.stat);
  const file = rows.result("openat", [AT_FDCWD, path, O_RDONLY | O_CLOEXEC], {
    ignore: ["ENOENT"],
  });
  rows.gotoIf(dead, file, "<", 0);
  const text = rows.buffer("process", statTextLimit + 8);
  const size = rows.result("read", [file, text, statTextLimit], { ignore: ["ESRCH"] });
  rows.gotoIf(dead, size, "<=", 0);
  rows.call("close", [file]);
  planFindStart(rows, size);
  planCompareStart(rows, dead);
}

/** pidfd_open(2): readable once the process has ended, also while it is a zombie. */
function planHasNotEnded(rows: DoorRows, dead: string): void {
  planPoll(rows, 0);
  rows.gotoIf(dead, { last: true }, "==", 1);
}

/** Waits for the end of the process of `pidfd`; the last result is 1 when it has come. */
export function planPoll(rows: DoorRows, timeoutMs: number): void {
  const poll = rows.buffer("poll", 8);
  const [low, half] = [0xffff_ffffn, 32];
  const fd = rows.compute(rows.get("pidfd"), "&", low);
  rows.set("poll", rows.compute(fd, "|", BigInt(POLLIN) << BigInt(half)));
  rows.call("poll", [poll, 1, timeoutMs], { ignore: ["EINTR"] });
}

/** Leaves in `at` the address of the start time in the text of /proc/PID/stat. */
function planFindStart(rows: DoorRows, size: Result): void {
  const text = rows.buffer("process", statTextLimit + 8);
  const [back, found, next, done] = ["name", "name_end", "field", "start_time"].map((what) =>
    rows.freshLabel(what),
  ) as [string, string, string, string]; // SAFE: one for each
  // The name may hold anything, a parenthesis too: the last one ends it.
  rows.set("at", rows.compute(size, "+", text));
  rows.label(back);
  rows.set("at", rows.compute(rows.get("at"), "-", 1));
  rows.gotoIf("fallback", rows.get("at"), "<", text);
  rows.gotoIf(found, rows.read(rows.get("at"), 1), "==", ")".charCodeAt(0));
  rows.goto(back);
  rows.label(found);
  rows.set("spaces", 0);
  rows.label(next);
  rows.advance("at", 1);
  const byte = rows.read(rows.get("at"), 1);
  rows.gotoIf("fallback", byte, "==", 0);
  rows.gotoIf(next, byte, "!=", " ".charCodeAt(0));
  rows.advance("spaces", 1);
  rows.gotoIf(done, rows.get("spaces"), "==", spacesBeforeStart);
  rows.goto(next);
  rows.label(done);
  rows.advance("at", 1);
}

/** Another start time is another process. */
function planCompareStart(rows: DoorRows, dead: string): void {
  const [same, next] = [rows.freshLabel("same_process"), rows.freshLabel("digit")];
  rows.set("wanted", factAddress(rows, facts.startTime));
  rows.label(next);
  const wanted = rows.read(rows.get("wanted"), 1);
  rows.gotoIf(same, wanted, "==", 0);
  rows.gotoIf(dead, rows.read(rows.get("at"), 1), "!=", wanted);
  rows.advance("wanted", 1);
  rows.advance("at", 1);
  rows.goto(next);
  rows.label(same);
}
