/** Hooks: programs of the engine that run at fixed moments (runtime-spec 1.3 config.md, "Hooks"). */
import {
  type Argument,
  AT_FDCWD,
  call,
  errnoText,
  Fd,
  MFD_CLOEXEC,
  O_CLOEXEC,
  O_RDWR,
  POLLIN,
  pollfd,
  SIG_SETMASK,
  SIGCHLD,
  SIGKILL,
  sigsetSizeBytes,
  spawnProgram,
  syscall,
  timespec,
} from "../linux/index.ts";
import type { ContainerState, Hook, RuntimeConfig } from "../oci/index.ts";
import { LaunchError } from "./errors.ts";
import { RowList } from "./launch/row-list.ts";
import { planSignals } from "./launch/surroundings.ts";
import { type ContainerRecord, ociState } from "./state.ts";
import { decodeStatus } from "./wait.ts";

/** A namespace set to run in: that of a container's process. */
export interface HookPlace {
  readonly pidfd: Fd;
  /** CLONE_NEW* to join. */
  readonly flags: number;
}

const outputLimit = 4096;

/** A hook failed, and with it the operation it belongs to. */
export class HookError extends LaunchError {}

/** All of them, whatever each says; returns what the first failure said. */
export function runPoststopHooks(container: ContainerRecord): string | undefined {
  let problem: string | undefined;
  const state = ociState(container, "stopped", 0);
  for (const hook of container.config.hooks?.poststop ?? [])
    try {
      runHooks("poststop", [hook], state);
    } catch (error) {
      problem ??= error instanceof Error ? error.message : String(error);
    }
  return problem;
}

/** Runs hooks one after another; the first that fails throws. */
export function runHooks(
  name: string,
  hooks: readonly Hook[] | undefined,
  state: ContainerState,
  place?: HookPlace,
): void {
  (hooks ?? []).forEach((hook, index) => {
    const problem = runHook(hook, JSON.stringify(state), place);
    if (problem !== undefined)
      throw new HookError(`error running ${name} hook #${index} "${hook.path}": ${problem}`);
  });
}

/** What went wrong, or undefined. */
function runHook(hook: Hook, stdin: string, place: HookPlace | undefined): string | undefined {
  using input = memoryFile(stdin);
  using output = memoryFile("");
  using nowhere = Fd.from("openat", AT_FDCWD, "/dev/null", O_RDWR | O_CLOEXEC);
  const rows = new RowList();
  if (place !== undefined) planEntry(rows, place, hook.timeout);
  planSignals(rows);
  rows.call("rt_sigprocmask", [SIG_SETMASK, new Uint8Array(8), 0, sigsetSizeBytes]);
  const argv = { strings: hook.args?.length ? hook.args : [hook.path] };
  rows.result("execve", [hook.path, argv, { strings: hook.env ?? [] }], {
    ignore: ["ENOENT", "EACCES", "ENOEXEC", "ENOTDIR"],
  });
  rows.add({ compute: [0, "-", { last: true }], as: "errno" }, { end: { result: "errno" } });
  const { pid, pidfd } = spawnProgram(
    { rows: rows.rows, buffers: rows.buffers },
    {
      stdio: [input.number, nowhere.number, output.number],
      keep: place === undefined ? [] : [place.pidfd.number],
      name: "manyworlds-hook",
    },
  );
  using process = pidfd;
  const timeoutMs = hook.timeout === undefined ? -1 : hook.timeout * 1000;
  const began = performance.now();
  let inTime = waitFor(process, place === undefined ? timeoutMs : -1);
  if (!inTime) syscall("kill", pid, SIGKILL);
  const status = new Uint8Array(4);
  call("wait4", pid, status, 0, 0);
  const { code, signal } = decodeStatus(status);
  if (code === 128 + SIGKILL && timeoutMs >= 0 && performance.now() - began >= timeoutMs)
    inTime = false;
  if (!inTime) return `took longer than ${hook.timeout} s`;
  if (code === 0) return undefined;
  const said = readAll(output).trim();
  const how = signal === undefined ? `exit status ${code}` : `signal ${signal}`;
  return `${how}${code > 0 && code < 14 && said === "" ? ` (${errnoText(codeName(code))})` : ""}${said === "" ? "" : `: ${said}`}`;
}

/**
 * Joins the namespaces. A PID namespace is only entered by a child: it runs the hook, and the
 * process that we wait for ends as it does.
 */
function planEntry(rows: RowList, { pidfd, flags }: HookPlace, timeout: number | undefined): void {
  rows.call("setns", [pidfd.number, flags], { note: "join the container's namespaces" });
  const child = rows.result("clone", [SIGCHLD, 0, 0, 0, 0]);
  rows.add({ jump: "hook", if: [{ last: true }, "==", 0] });
  if (timeout !== undefined) planPatience(rows, child, timeout);
  const status = rows.buffer("status", 8);
  rows.call("wait4", [child, status, 0, 0]);
  rows.add({ compute: [{ load: "status", width: 4 }, "&", 0x7f], as: "hook_signal" });
  rows.add({ jump: "killed", if: [{ last: true }, "!=", 0] });
  rows.add({ compute: [{ load: "status", width: 4 }, ">>", 8], as: "hook_status" });
  rows.add({ end: { result: "hook_status" } }, { label: "killed" });
  rows.add({ compute: [{ result: "hook_signal" }, "+", 128], as: "hook_killed" });
  rows.add({ end: { result: "hook_killed" } }, { label: "hook" });
}

/**
 * Who is in the PID namespace can only be reaped by its parent, without which the namespace would
 * never end; so the parent, not the runtime, watches the clock. SIGCHLD is blocked and so waits.
 */
function planPatience(rows: RowList, child: Argument, seconds: number): void {
  const ended = new Uint8Array(sigsetSizeBytes);
  new DataView(ended.buffer).setBigUint64(0, 1n << BigInt(SIGCHLD - 1), true);
  const time = timespec.encode({ tv_sec: seconds, tv_nsec: 0 });
  rows.call("rt_sigtimedwait", [ended, 0, time, sigsetSizeBytes], { ignore: ["EAGAIN", "EINTR"] });
  rows.gotoIfDone("ended");
  rows.call("kill", [child, SIGKILL]);
  rows.label("ended");
}

function codeName(code: number): "ENOENT" | "EACCES" | "ENOEXEC" | "EPERM" {
  return code === 2 ? "ENOENT" : code === 13 ? "EACCES" : code === 8 ? "ENOEXEC" : "EPERM";
}

/** A file in memory serves as stdin: it cannot block whoever writes it. */
function memoryFile(content: string): Fd {
  const file = Fd.from("memfd_create", "hook", MFD_CLOEXEC);
  const bytes = Buffer.from(content);
  if (bytes.length > 0) {
    call("write", file, bytes, bytes.length);
    call("lseek", file, 0, 0);
  }
  return file;
}

function readAll(file: Fd): string {
  const bytes = new Uint8Array(outputLimit);
  const count = syscall("pread64", file, bytes, bytes.length, 0);
  return Buffer.from(bytes.subarray(0, Math.max(0, count))).toString();
}

function waitFor(process: Fd, timeoutMs: number): boolean {
  const poll = pollfd.encode({ fd: process.number, events: POLLIN });
  const until = Date.now() + timeoutMs;
  for (;;) {
    const left = timeoutMs < 0 ? -1 : Math.max(0, until - Date.now());
    const count = syscall("poll", poll, 1, left);
    if (count === 1) return true;
    if (count === 0) return false;
  }
}

/** Whether something is to be done while the old root is still there. */
export function hasEarlyHooks({ hooks, linux }: RuntimeConfig): boolean {
  if (Object.keys(linux?.netDevices ?? {}).length > 0) return true;
  const early = [hooks?.prestart, hooks?.createRuntime, hooks?.createContainer];
  return early.some((list) => (list?.length ?? 0) > 0);
}
