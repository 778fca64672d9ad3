/**
 * Times a whole command, from before fork until it is waited for, and its first byte of output.
 *
 * A syscall program does it, not JavaScript: the clock is read between two system calls, and the
 * event loop has no part in it. This thread waits meanwhile.
 */
import { existsSync } from "node:fs";
import { delimiter, join } from "node:path";
import {
  type Argument,
  CLONE_VFORK,
  CLONE_VM,
  call,
  Fd,
  O_CLOEXEC,
  O_RDONLY,
  POLLIN,
  type Program,
  pollfd,
  type Row,
  runProgram,
  SIGCHLD,
  SIGKILL,
} from "../linux/index.ts";

export interface TimedCommand {
  readonly command: readonly string[];
  readonly env?: Readonly<Record<string, string | undefined>>;
  readonly timeoutMs?: number;
  readonly cwd?: string;
  /** User and group that run it, without supplementary groups. */
  readonly user?: number;
}

export interface Timing {
  /** Exit status as a shell reports it. */
  readonly status: number;
  readonly timedOut: boolean;
  /** Before fork, on CLOCK_MONOTONIC. */
  readonly startedNs: number;
  /** When the first byte of output arrived; undefined when none did. */
  readonly firstOutputMs: number | undefined;
  readonly wholeMs: number;
  /** Processor time of the command and of the descendants it waited for. */
  readonly cpuMs: number;
  /** The first 64 KiB each. */
  readonly stdout: string;
  readonly stderr: string;
}

const CLOCK_MONOTONIC = 1;
const OUTPUT_BYTES = 64 * 1024;
const PIECE_BYTES = 4096;
const timespecBytes = 16;
const rusageBytes = 144;
const MFD_CLOEXEC = 1;
const DEFAULT_TIMEOUT_MS = 60_000;
const NOT_EXECUTED = 127;
const inChild: readonly string[] = ["execve", "chdir", "setgroups", "setgid", "setuid"];

/** Throws when the program does not exist; any other end is in the result. */
export function timeCommand({
  command,
  env = process.env,
  timeoutMs = DEFAULT_TIMEOUT_MS,
  user,
  cwd,
}: TimedCommand): Timing {
  const [name = "", ...args] = command;
  const file = findProgram(name, env);
  using errors = Fd.from("memfd_create", "stderr", MFD_CLOEXEC);
  using nothing = Fd.from("openat", -100, "/dev/null", O_RDONLY | O_CLOEXEC);
  const outcome = runProgram(
    planTiming({
      file,
      args: [name, ...args],
      env: Object.entries(env).flatMap(([key, value]) =>
        value === undefined ? [] : [`${key}=${value}`],
      ),
      stdin: nothing.number,
      stderr: errors.number,
      timeoutMs,
      user,
      cwd,
    }),
  );
  const { failure } = outcome;
  // a failure in the child is its status 127; it shares this report
  if (failure !== undefined && !inChild.includes(failure.call)) {
    throw new Error(`Cannot time "${name}": ${failure.call}() failed with ${failure.errno}`);
  }
  const number = (buffer: string, offset = 0): number =>
    Number(viewOf(outcome.buffer(buffer)).getBigInt64(offset, true));
  const clock = (buffer: string): number => number(buffer) * 1e9 + number(buffer, 8);
  const started = clock("started");
  const first = clock("first");
  const used = number("used");
  const wait = viewOf(outcome.buffer("status")).getInt32(0, true);
  return {
    status: (wait & 0x7f) === 0 ? (wait >> 8) & 0xff : 128 + (wait & 0x7f),
    timedOut: number("late") === 1,
    startedNs: started,
    firstOutputMs: first === 0 ? undefined : (first - started) / 1e6,
    wholeMs: (clock("ended") - started) / 1e6,
    // struct rusage, getrusage(2): ru_utime, ru_stime
    cpuMs:
      (number("usage") + number("usage", 16)) * 1000 +
      (number("usage", 8) + number("usage", 24)) / 1000,
    stdout: textOf(outcome.buffer("output").subarray(0, used)),
    stderr: readText(errors),
  };
}

/** The path that a shell would find. */
export function findProgram(
  name: string,
  env: Readonly<Record<string, string | undefined>> = process.env,
): string {
  if (name.includes("/")) {
    if (existsSync(name)) return name;
    throw new Error(`Cannot run "${name}": no such file`);
  }
  for (const folder of (env["PATH"] ?? "/usr/bin:/bin").split(delimiter)) {
    if (folder !== "" && existsSync(join(folder, name))) return join(folder, name);
  }
  throw new Error(`Cannot run "${name}": expected it in a folder of PATH`);
}

interface TimingPlan {
  readonly file: string;
  readonly args: readonly string[];
  readonly env: readonly string[];
  readonly stdin: number;
  readonly stderr: number;
  readonly timeoutMs: number;
  readonly user: number | undefined;
  readonly cwd: string | undefined;
}

function planTiming(plan: TimingPlan): Program {
  const { file, args, env, stdin, stderr, timeoutMs } = plan;
  const readEnd: Argument = { load: "pipe", width: 4 };
  const writeEnd: Argument = { load: "pipe", offset: 4, width: 4 };
  const used: Argument = { load: "used", width: 8 };
  const watched = { buffer: "poll" } as const;
  return {
    rows: [
      { call: "pipe2", args: [{ buffer: "pipe" }, O_CLOEXEC] },
      readClock("started"),
      { call: "clone", args: [CLONE_VM | CLONE_VFORK | SIGCHLD, 0, 0, 0, 0], as: "pid" },
      { jump: "parent", if: [{ last: true }, "!=", 0] },
      { call: "dup2", args: [stdin, 0] },
      { call: "dup2", args: [writeEnd, 1] },
      { call: "dup2", args: [stderr, 2] },
      ...becomeUser(plan),
      {
        call: "execve",
        args: [file, { strings: args }, { strings: env }],
        onError: "child-failed",
      },
      { label: "child-failed" },
      { call: "exit_group", args: [NOT_EXECUTED] },
      { label: "parent" },
      { call: "close", args: [writeEnd] },
      { store: watched, value: readEnd, width: 4 },
      { store: { buffer: "poll", offset: pollfd.offsets.events }, value: POLLIN, width: 2 },
      { label: "wait" },
      { call: "poll", args: [watched, 1, timeoutMs], as: "ready", ignore: ["EINTR"] },
      { jump: "wait", if: [{ last: true }, "<", 0] },
      { jump: "late", if: [{ last: true }, "==", 0] },
      { compute: [{ buffer: "output" }, "+", used], as: "at" },
      {
        call: "read",
        args: [readEnd, { result: "at" }, PIECE_BYTES],
        as: "count",
        ignore: ["EINTR"],
      },
      { jump: "wait", if: [{ last: true }, "<", 0] },
      { jump: "end", if: [{ last: true }, "==", 0] },
      { jump: "more", if: [{ load: "first", width: 8 }, "!=", 0] },
      readClock("first"),
      { label: "more" },
      { compute: [used, "+", { result: "count" }], as: "total" },
      { store: { buffer: "used" }, value: { last: true }, width: 8 },
      { jump: "wait", if: [{ last: true }, "<=", OUTPUT_BYTES] },
      { store: { buffer: "used" }, value: OUTPUT_BYTES, width: 8 }, // the rest is read and lost
      { jump: "wait" },
      { label: "late" },
      { store: { buffer: "late" }, value: 1, width: 8 },
      { call: "kill", args: [{ result: "pid" }, SIGKILL] },
      { label: "end" },
      {
        call: "wait4",
        args: [{ result: "pid" }, { buffer: "status" }, 0, { buffer: "usage" }],
        as: "waited",
        ignore: ["EINTR"],
      },
      { jump: "end", if: [{ last: true }, "<", 0] },
      readClock("ended"),
      { call: "close", args: [readEnd] },
      { end: 0 },
    ],
    buffers: {
      pipe: 8,
      poll: pollfd.sizeBytes,
      started: timespecBytes,
      first: timespecBytes,
      ended: timespecBytes,
      used: 8,
      late: 8,
      status: 8,
      usage: rusageBytes,
      output: OUTPUT_BYTES + PIECE_BYTES,
    },
  };
}

/** The raw calls change this task alone, even while it shares its parent's memory. */
function becomeUser({ user, cwd }: TimingPlan): readonly Row[] {
  const calls: (readonly ["chdir" | "setgroups" | "setgid" | "setuid", Argument, number?])[] = [];
  if (cwd !== undefined) calls.push(["chdir", cwd]);
  if (user !== undefined) calls.push(["setgroups", 0, 0], ["setgid", user], ["setuid", user]);
  return calls.map(([call, first, second = 0]) => ({
    call,
    args: [first, second],
    onError: "child-failed",
  }));
}

function readClock(buffer: string): Row {
  return { call: "clock_gettime", args: [CLOCK_MONOTONIC, { buffer }] };
}

function readText(file: Fd): string {
  const bytes = new Uint8Array(OUTPUT_BYTES);
  const count = call("pread64", file, bytes, bytes.length, 0);
  return textOf(bytes.subarray(0, count));
}

function textOf(bytes: Uint8Array): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("utf8");
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
