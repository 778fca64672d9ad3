/**
 * Starts a process before its program is known: namespaces are made, and the executable is mapped,
 * on another processor while we still plan.
 *
 * ```
 * we       clone ── plan, encode ── block into a memory file ── its size over a socket ─► …
 * loader     └─ execveat ── unshare ── read ──────────────────────────────┘ mmap, run
 * ```
 * A PID namespace is made by the clone. The others take longer than the clone itself, and are made
 * by the loader; when it cannot, it says so in eight bytes: u32 code, u32 errno.
 * The child has a stack of its own in memory that stays mapped until somebody knows that it has
 * executed the loader: until then it shares ours (CLONE_VM), and runs rows, never JavaScript.
 */
import {
  CLONE_PIDFD,
  CLONE_VM,
  F_DUPFD_CLOEXEC,
  MAP_FIXED,
  MAP_PRIVATE,
  MFD_CLOEXEC,
  MSG_NOSIGNAL,
  PROT_READ,
  PROT_WRITE,
  SIG_SETMASK,
  SIGCHLD,
} from "./constants.ts";
import { encodeElf } from "./elf.ts";
import { type EncodedProgram, encodeProgram } from "./encode.ts";
import { Fd } from "./fd.ts";
import { header } from "./interpreter-layout.ts";
import { call, syscall } from "./kernel.ts";
import type { Program, Row } from "./program.ts";
import { type LoadedProgram, loadProgram, programError } from "./run-program.ts";
import { childRows, everySignal, type SpawnOptions, sealedFile } from "./spawn-program.ts";
import { sigsetSizeBytes } from "./structs.ts";

/** Where the loader puts the program; executables of elf.ts lie elsewhere. */
const blockAddress = 0x2000_0000;
const stackBytes = 4096;
const messageBytes = 8;
const EPIPE = -32;
const ECONNRESET = -104;

export interface LoaderOptions extends SpawnOptions {
  /** Our end of the loader's socket, and its own (a SOCK_SEQPACKET pair). */
  readonly ours: Fd;
  readonly theirs: number;
  /** Namespaces (CLONE_NEW*) that the loader makes for itself. */
  readonly unshare: number;
  /** The code under which it reports that it cannot. */
  readonly failureCode: number;
  /** Descriptors below this one are for what the program executes in the end. */
  readonly lowest: number;
}

export interface Loader extends Disposable {
  readonly pid: number;
  readonly pidfd: Fd;
  /** Lets it run the program; it reports by its own block, as any program does. */
  load(program: Program): EncodedProgram;
}

/** Disposed when the loader has spoken or ended. */
export function spawnLoader(options: LoaderOptions): Loader {
  const memory = Fd.from("memfd_create", "manyworlds-program", MFD_CLOEXEC);
  using lifted = liftAbove(memory, options.lowest);
  const block = lifted ?? memory;
  const bytes = encodeElf(loaderProgram(options, block.number));
  using file = sealedFile(bytes);
  const keep = [...(options.keep ?? []), block.number];
  const cloning = loadProgram(cloneProgram(file.number, { ...options, keep }));
  const outcome = cloning.run();
  if (outcome.value < 0) {
    memory.close();
    const { failure } = outcome;
    throw failure === undefined ? new Error("Cannot start a process") : programError(failure);
  }
  return new RunningLoader(outcome.value, takePidfd(outcome.buffer("pidfd")), {
    memory,
    cloning,
    socket: options.ours,
  });
}

function liftAbove(fd: Fd, lowest: number): Fd | undefined {
  return fd.number >= lowest ? undefined : Fd.from("fcntl", fd, F_DUPFD_CLOEXEC, lowest);
}

function takePidfd(buffer: Uint8Array): Fd {
  return Fd.take(new DataView(buffer.slice().buffer).getInt32(0, true));
}

interface LoaderParts {
  readonly memory: Fd;
  readonly cloning: LoadedProgram;
  readonly socket: Fd;
}

class RunningLoader implements Loader {
  readonly pid: number;
  readonly pidfd: Fd;
  readonly #parts: LoaderParts;

  constructor(pid: number, pidfd: Fd, parts: LoaderParts) {
    this.pid = pid;
    this.pidfd = pidfd;
    this.#parts = parts;
  }

  load(program: Program): EncodedProgram {
    const { memory, socket } = this.#parts;
    const encoded = encodeProgram(program);
    const block = new Uint8Array(encoded.sizeBytes);
    encoded.write(block, blockAddress);
    call("ftruncate", memory, encoded.sizeBytes);
    call("pwrite64", memory, block, encoded.storedBytes, 0);
    const message = new Uint8Array(messageBytes);
    new DataView(message.buffer).setUint32(0, encoded.sizeBytes, true);
    const sent = syscall("sendto", socket, message, message.length, MSG_NOSIGNAL);
    // One that has ended is found out by whoever reads from the socket, with what it said before.
    if (sent < 0 && sent !== EPIPE && sent !== ECONNRESET)
      call("sendto", socket, message, message.length, MSG_NOSIGNAL);
    return encoded;
  }

  [Symbol.dispose](): void {
    this.#parts.memory.close();
    this.#parts.cloning[Symbol.dispose]();
  }
}

/** The whole loader; what it is not told it does not run. */
function loaderProgram({ theirs, unshare, failureCode }: LoaderOptions, memory: number): Program {
  const message = { buffer: "message" };
  const size = { load: "message", width: 8 } as const;
  const flags = MAP_PRIVATE | MAP_FIXED;
  const errno = { load: "header", offset: header.errno, width: 4 } as const;
  const separate: readonly Row[] =
    unshare === 0 ? [] : [{ call: "unshare", args: [unshare], onError: "together" }];
  return {
    rows: [
      ...separate,
      { call: "read", args: [theirs, message, messageBytes] },
      { jump: "alone", if: [{ last: true }, "!=", messageBytes] },
      { call: "mmap", args: [blockAddress, size, PROT_READ | PROT_WRITE, flags, memory, 0] },
      { run: blockAddress },
      { jump: "alone" },
      { label: "together" },
      { store: message, value: failureCode, width: 4 },
      { store: { ...message, offset: 4 }, value: errno, width: 4 },
      { call: "write", args: [theirs, message, messageBytes] },
      { label: "alone" },
      { call: "exit_group", args: [1] },
    ],
    buffers: { message: messageBytes },
    onError: "alone",
  };
}

function cloneProgram(file: number, options: SpawnOptions): Program {
  const cloneFlags = (options.flags ?? 0) + CLONE_VM + CLONE_PIDFD + SIGCHLD;
  const mask = { buffer: "mask" };
  const restore: Row = { call: "rt_sigprocmask", args: [SIG_SETMASK, mask, 0, sigsetSizeBytes] };
  const stack = { buffer: "stack", offset: stackBytes - 16 };
  return {
    rows: [
      { call: "rt_sigprocmask", args: [SIG_SETMASK, everySignal, mask, sigsetSizeBytes] },
      {
        call: "clone",
        args: [cloneFlags, stack, { buffer: "pidfd" }, 0, 0],
        as: "pid",
        onError: "failed",
      },
      { jump: "child", if: [{ last: true }, "==", 0] },
      restore,
      { end: { result: "pid" } },
      { label: "failed" },
      restore,
      { end: -1 },
      { label: "child" },
      ...childRows(file, options),
    ],
    buffers: { mask: sigsetSizeBytes, pidfd: 8, stack: stackBytes },
  };
}
