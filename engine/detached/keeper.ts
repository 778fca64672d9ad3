/**
 * Stays with a detached container: a process of a few rows, its parent, which nothing of JavaScript is
 * left in.
 *
 * ```
 * container's output, errors ──► frames ──► log          its end ──► exit-status, then a sweep
 * ```
 * `run -d` starts itself once more; that one makes the container and becomes this. It holds the container's
 * input or terminal, and its lock, which says that it runs.
 */
import { openSync } from "node:fs";
import {
  type Argument,
  AT_EMPTY_PATH,
  AT_FDCWD,
  encodeElf,
  encodeProgram,
  F_SETFD,
  F_SETFL,
  O_APPEND,
  O_CLOEXEC,
  O_CREAT,
  O_NONBLOCK,
  O_RDONLY,
  O_TRUNC,
  O_WRONLY,
  POLLIN,
  type Program,
  pollfd,
  programError,
  type Row,
  runProgram,
  SIG_SETMASK,
  sealedFile,
  sigsetSizeBytes,
} from "../../linux/index.ts";
import { FRAME_HEADER_BYTES, LOG_LIMIT_BYTES } from "./log-frames.ts";

export interface KeptContainer {
  readonly pid: number;
  readonly pidfd: number;
  /** Ends that the container writes to; of a terminal there is one. */
  readonly outputs: readonly [output: number, errors?: number];
  /** Other descriptors that stay open as long as it runs: of its input. */
  readonly held: readonly number[];
  readonly lock: number;
  readonly log: string;
  readonly exitStatus: string;
  /** Executed at the end; it finds the container ended. */
  readonly atEnd: readonly string[];
  readonly env: readonly string[];
}

const CHUNK_BYTES = 16 * 1024;
const CLOCK_REALTIME = 0;
const LOG_FD = 200;
const nothing = new Uint8Array(sigsetSizeBytes);
const everything = new Uint8Array(sigsetSizeBytes).fill(0xff);

/** This process becomes the keeper. Returns only by throwing. */
export function becomeKeeper(kept: KeptContainer): never {
  const program = keeperProgram(kept);
  const file = sealedFile(encodeElf(program, encodeProgram(program)));
  const none = openSync("/dev/null", "r+");
  const stay = [kept.pidfd, kept.lock, ...kept.held, ...kept.outputs].filter(
    (fd) => fd !== undefined,
  );
  const outcome = runProgram({
    rows: [
      { call: "setsid", args: [], ignore: ["EPERM"] },
      ...[0, 1, 2].map((fd): Row => ({ call: "dup3", args: [none, fd, 0] })),
      ...stay.map((fd): Row => ({ call: "fcntl", args: [fd, F_SETFD, 0] })),
      { call: "rt_sigprocmask", args: [SIG_SETMASK, everything, 0, sigsetSizeBytes] },
      {
        call: "execveat",
        args: [file.number, "", { strings: ["manyworlds-keeper"] }, { strings: [] }, AT_EMPTY_PATH],
        note: "become the container's keeper",
      },
    ],
  });
  if (outcome.failure !== undefined) throw programError(outcome.failure);
  throw new Error("Cannot become the container's keeper: the program came back");
}

/** Pure. */
export function keeperProgram(kept: KeptContainer): Program {
  const { outputs, pidfd, pid, lock, exitStatus, atEnd, env } = kept;
  const streams = outputs.filter((fd) => fd !== undefined);
  const fds = [...streams, pidfd];
  const buffers = {
    polls: fds.length * pollfd.sizeBytes,
    frame: FRAME_HEADER_BYTES + CHUNK_BYTES,
    written: 8,
    status: 8,
  };
  return {
    buffers,
    rows: [
      ...openLog(kept.log, "first"),
      ...fds.flatMap((fd, at): readonly Row[] => [
        { store: { buffer: "polls", offset: at * pollfd.sizeBytes }, value: fd, width: 4 },
        { store: { buffer: "polls", offset: at * pollfd.sizeBytes + 4 }, value: POLLIN, width: 4 },
      ]),
      { label: "wait" },
      { call: "poll", args: [{ buffer: "polls" }, fds.length, -1], ignore: ["EINTR"] },
      ...streams.flatMap((fd, at) => carry(fd, at, kept.log)),
      ready(streams.length),
      { jump: "wait", if: [{ result: `ready${streams.length}` }, "==", 0] },
      ...streams.flatMap((fd, at) => drain(fd, at)),
      { call: "wait4", args: [pid, { buffer: "status" }, 0, 0], ignore: ["ECHILD"] },
      {
        call: "openat",
        args: [AT_FDCWD, exitStatus, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600],
        as: "file",
        onError: "end",
      },
      { call: "write", args: [{ result: "file" }, { buffer: "status" }, 4], onError: "end" },
      { label: "end" },
      { call: "close", args: [lock], onError: "leave" },
      { call: "rt_sigprocmask", args: [SIG_SETMASK, nothing, 0, sigsetSizeBytes] },
      {
        call: "execve",
        args: [atEnd[0] ?? "", { strings: atEnd }, { strings: env }],
        onError: "leave",
        note: "take away what is left",
      },
      { label: "leave" },
      { call: "exit_group", args: [0] },
    ],
  };
}

/** `use` tells the places apart where rows like these stand. */
function openLog(path: string, use: string): readonly Row[] {
  const flags = O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC;
  return [
    { call: "openat", args: [AT_FDCWD, path, flags, 0o600], as: `log_${use}` },
    { call: "dup3", args: [{ result: `log_${use}` }, LOG_FD, O_CLOEXEC] },
    { call: "close", args: [{ result: `log_${use}` }] },
  ];
}

/** revents, the upper half of what follows the descriptor. */
function ready(at: number): Row {
  const events = { load: "polls", offset: at * pollfd.sizeBytes + 4, width: 4 } as const;
  return { compute: [events, ">>", 16], as: `ready${at}` };
}

/** One read, when there is something; a descriptor at its end is not looked at any more. */
function carry(fd: number, at: number, log: string): readonly Row[] {
  const [closed, next] = [`closed${at}`, `next${at}`];
  return [
    ready(at),
    { jump: next, if: [{ result: `ready${at}` }, "==", 0] },
    ...readFrame(fd, at, { use: `carry${at}`, atEnd: closed, failed: next }),
    // Full: the file gets another name, and a new one takes its place.
    { jump: next, if: [{ load: "written", width: 8 }, "<=", LOG_LIMIT_BYTES] },
    { call: "rename", args: [log, `${log}.1`], onError: next },
    { store: { buffer: "written" }, value: 0, width: 8 },
    ...openLog(log, String(at)).map((row) => ("call" in row ? { ...row, onError: next } : row)),
    { jump: next },
    { label: closed },
    { store: { buffer: "polls", offset: at * pollfd.sizeBytes }, value: -1, width: 4 },
    { label: next },
  ];
}

/** What was written last. */
function drain(fd: number, at: number): readonly Row[] {
  const [again, done] = [`drain${at}`, `drained${at}`];
  return [
    { call: "fcntl", args: [fd, F_SETFL, O_RDONLY | O_NONBLOCK], onError: done },
    { label: again },
    ...readFrame(fd, at, { use: again, atEnd: done, failed: done }),
    { jump: again },
    { label: done },
  ];
}

interface Ways {
  readonly use: string;
  /** Labels to go on at. */
  readonly atEnd: string;
  readonly failed: string;
}

/** Reads into a frame and writes that to the log. */
function readFrame(fd: number, at: number, { use, atEnd, failed }: Ways): readonly Row[] {
  const frame = (offset: number): Argument => ({ buffer: "frame", offset });
  const [read, size, total] = [`${use}_read`, `${use}_size`, `${use}_total`];
  return [
    { call: "read", args: [fd, frame(FRAME_HEADER_BYTES), CHUNK_BYTES], as: read, onError: atEnd },
    { jump: atEnd, if: [{ result: read }, "<=", 0] },
    { store: { buffer: "frame", offset: 4 }, value: { result: read }, width: 4 },
    { store: { buffer: "frame" }, value: at + 1, width: 4 },
    { call: "clock_gettime", args: [CLOCK_REALTIME, frame(8)] },
    { compute: [{ result: read }, "+", FRAME_HEADER_BYTES], as: size },
    { call: "write", args: [LOG_FD, frame(0), { result: size }], onError: failed },
    { compute: [{ load: "written", width: 8 }, "+", { result: size }], as: total },
    { store: { buffer: "written" }, value: { result: total }, width: 8 },
  ];
}
