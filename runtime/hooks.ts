/** Hooks: programs of the engine that run at fixed moments (runtime-spec 1.3 config.md, "Hooks"). */
import {
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
  SIGKILL,
  sigsetSizeBytes,
  syscall,
} from "../linux/index.ts";
import type { ContainerState, Hook } from "../oci/index.ts";
import { LaunchError } from "./errors.ts";
import { planSignals } from "./launch/plan.ts";
import { RowList } from "./launch/row-list.ts";
import { spawnProgram } from "./launch/spawn.ts";
import { decodeStatus } from "./wait.ts";

/** A namespace set to run in: that of a container's process. */
export interface HookPlace {
  readonly pidfd: Fd;
  /** CLONE_NEW* to join. */
  readonly flags: number;
}

const outputLimit = 4096;

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
      throw new LaunchError(`error running ${name} hook #${index} "${hook.path}": ${problem}`);
  });
}

/** What went wrong, or undefined. */
function runHook(hook: Hook, stdin: string, place: HookPlace | undefined): string | undefined {
  using input = memoryFile(stdin);
  using output = memoryFile("");
  using nowhere = Fd.from("openat", AT_FDCWD, "/dev/null", O_RDWR | O_CLOEXEC);
  const rows = new RowList();
  if (place !== undefined) rows.call("setns", [place.pidfd.number, place.flags]);
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
  const inTime = waitFor(process, hook.timeout === undefined ? -1 : hook.timeout * 1000);
  if (!inTime) syscall("kill", pid, SIGKILL);
  const status = new Uint8Array(4);
  call("wait4", pid, status, 0, 0);
  if (!inTime) return `took longer than ${hook.timeout} s`;
  const { code, signal } = decodeStatus(status);
  if (code === 0) return undefined;
  const said = readAll(output).trim();
  const how = signal === undefined ? `exit status ${code}` : `signal ${signal}`;
  return `${how}${code > 0 && code < 14 && said === "" ? ` (${errnoText(codeName(code))})` : ""}${said === "" ? "" : `: ${said}`}`;
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
