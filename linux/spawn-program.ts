/** Starts a syscall program as a process of its own, from a sealed memfd. */
import {
  AT_EMPTY_PATH,
  CLONE_PIDFD,
  CLONE_VFORK,
  CLONE_VM,
  F_ADD_SEALS,
  F_SEAL_GROW,
  F_SEAL_SEAL,
  F_SEAL_SHRINK,
  F_SEAL_WRITE,
  F_SETFD,
  MFD_ALLOW_SEALING,
  MFD_CLOEXEC,
  SIG_SETMASK,
  SIGCHLD,
} from "./constants.ts";
import { encodeElf } from "./elf.ts";
import { type EncodedProgram, encodeProgram } from "./encode.ts";
import { Fd } from "./fd.ts";
import { call, syscall } from "./kernel.ts";
import type { Argument, Program, Row } from "./program.ts";
import { programError, runProgram } from "./run-program.ts";
import { sigsetSizeBytes } from "./structs.ts";

export interface SpawnOptions {
  /** CLONE_NEW* of the new process. */
  readonly flags?: number;
  /** Descriptors that become 0, 1 and 2; without it they are inherited. */
  readonly stdio?: readonly [number, number, number];
  /** Descriptors, by our numbers, that stay open in the program. */
  readonly keep?: readonly number[];
  /** Shown by ps until the program executes something else. */
  readonly name?: string;
}

export interface Spawned {
  readonly pid: number;
  readonly pidfd: Fd;
  readonly encoded: EncodedProgram;
}

export const everySignal = new Uint8Array(sigsetSizeBytes).fill(0xff);
const seals = F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE;
/** memfd_create(2), Linux 6.3: asked for where vm.memfd_noexec makes it necessary. */
const MFD_EXEC = 0x10;
const EINVAL = -22;

/**
 * The child shares our memory until it executes the program (CLONE_VM | CLONE_VFORK), so no page
 * table is copied; we go on when it has. Signals are blocked around the clone: a handler of ours
 * must not run in the child. They stay blocked in the program until it unblocks them itself.
 */
export function spawnProgram(program: Program, options: SpawnOptions = {}): Spawned {
  const encoded = encodeProgram(program);
  const bytes = encodeElf(program, encoded);
  using file = sealedFile(bytes);
  const outcome = runProgram(cloneProgram(file.number, options));
  if (outcome.value < 0 || outcome.failure !== undefined) {
    const failure = outcome.failure;
    if (outcome.value > 0) syscall("wait4", outcome.value, 0, 0, 0);
    throw failure === undefined
      ? new Error("Cannot start a process: the program ended early")
      : programError(failure);
  }
  const pidfd = Fd.take(new DataView(outcome.buffer("pidfd").slice().buffer).getInt32(0, true));
  return { pid: outcome.value, pidfd, encoded };
}

/** An executable that nobody can change any more. */
export function sealedFile(bytes: Uint8Array): Fd {
  const flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;
  const executable = syscall("memfd_create", "manyworlds", flags | MFD_EXEC);
  const file = Fd.take(
    executable === EINVAL ? call("memfd_create", "manyworlds", flags) : executable,
  );
  call("write", file, bytes, bytes.length);
  call("fcntl", file, F_ADD_SEALS, seals);
  return file;
}

function cloneProgram(file: number, options: SpawnOptions): Program {
  const { flags = 0 } = options;
  const cloneFlags = flags + CLONE_VM + CLONE_VFORK + CLONE_PIDFD + SIGCHLD;
  const mask = { buffer: "mask" };
  const restore: Row = { call: "rt_sigprocmask", args: [SIG_SETMASK, mask, 0, sigsetSizeBytes] };
  const rows: Row[] = [
    { call: "rt_sigprocmask", args: [SIG_SETMASK, everySignal, mask, sigsetSizeBytes] },
    {
      call: "clone",
      args: [cloneFlags, 0, { buffer: "pidfd" }, 0, 0],
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
  ];
  return { rows, buffers: { mask: sigsetSizeBytes, pidfd: 8 } };
}

/** What a cloned child does until it executes the file. */
export function childRows(file: number, options: SpawnOptions): readonly Row[] {
  const { stdio, keep = [], name = "manyworlds-init" } = options;
  const argv: Argument = { strings: [name] };
  return [
    ...[0, 1, 2].map((target): Row => {
      const source = stdio?.[target] ?? target;
      // dup3 refuses equal numbers; for those, and for stdio as it is, close-on-exec goes.
      return source === target
        ? { call: "fcntl", args: [target, F_SETFD, 0], ignore: ["EBADF"] }
        : { call: "dup3", args: [source, target, 0] };
    }),
    ...keep.map((fd): Row => ({ call: "fcntl", args: [fd, F_SETFD, 0] })),
    { call: "execveat", args: [file, "", argv, { strings: [] }, AT_EMPTY_PATH] },
    { label: "died" },
    { call: "exit", args: [1] },
  ];
}
