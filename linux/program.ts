/**
 * Syscall programs: lists of system calls as plain data.
 *
 * Nothing may run JavaScript between clone and execve, so whatever must happen there is planned
 * beforehand as rows, encoded into memory (encode.ts) and run by a few hundred bytes of machine
 * code (generated/interpreter-x86-64.ts). The same rows run in a container's child, in its
 * monitor, and inside a guest.
 */
import type { Errno } from "./errno.ts";
import type { SyscallName } from "./syscalls.ts";

/** What a row's argument can be; the encoder turns each into a number the kernel understands. */
export type Argument =
  | number
  | bigint
  /** Address of a NUL-terminated UTF-8 copy. A string with a NUL inside is refused. */
  | string
  /** Address of a copy of these bytes (a kernel struct, a cpumask, a BPF program). */
  | Uint8Array
  /** Address of a vector of string pointers that ends with NULL (argv, envp). */
  | { readonly strings: readonly string[] }
  /** Address of a struct whose pointer fields are filled in: offset in bytes → what it points to. */
  | { readonly struct: Uint8Array; readonly pointers: Readonly<Record<number, Argument>> }
  /**
   * Result of the row that carries this `as`. Of clone it is the child's number, also where the child
   * reads it: which of the two processes runs, only `last` says.
   */
  | { readonly result: string }
  /** Result of the syscall or operation that ran last in this process, before any jump. */
  | { readonly last: true }
  /** Address inside a named writable buffer. */
  | { readonly buffer: string; readonly offset?: number }
  /** Content of a named writable buffer: 4 bytes (sign-extended) or 8 bytes, little endian. */
  | { readonly load: string; readonly offset?: number; readonly width: 4 | 8 };

export type Comparison = "==" | "!=" | "<" | "<=" | ">" | ">=" | "&";
export type Operation = "+" | "-" | "*" | "&" | "|" | "^" | "<<" | ">>";

export interface CallRow {
  readonly call: SyscallName;
  readonly args: readonly Argument[];
  /** Name by which later rows refer to the result. */
  readonly as?: string;
  /** Errnos after which the program goes on as if the call had succeeded (at most 8). */
  readonly ignore?: readonly Errno[];
  /** Label to jump to on any other errno; without it, the program's `onError`, else it ends. */
  readonly onError?: string;
  /** Why the call is made; shown by `explain` and in error messages. */
  readonly note?: string;
}

export type Row =
  | CallRow
  | { readonly label: string }
  | { readonly jump: string; readonly if?: readonly [Argument, Comparison, Argument] }
  /** Writes `value` to a buffer: 1, 2, 4 or 8 bytes, little endian. */
  | {
      readonly store: { readonly buffer: string; readonly offset?: number };
      readonly value: Argument;
      readonly width: 1 | 2 | 4 | 8;
    }
  /** Reads `width` bytes (zero-extended) at a computed address. */
  | { readonly read: Argument; readonly width: 1 | 2 | 4 | 8; readonly as: string }
  | {
      readonly compute: readonly [Argument, Operation, Argument];
      readonly as: string;
    }
  /** memmove-free copy: `length` bytes from address `from` to address `to`, ascending. */
  | { readonly copy: Argument; readonly to: Argument; readonly length: Argument }
  /** Runs another encoded program at this address, and takes what it ends with as result. */
  | { readonly run: Argument; readonly as?: string }
  /** Goes on where `freeze` (kernel.ts) was called, with the registers at this address. */
  | { readonly resume: Argument }
  /** Stops the interpreter; the value is what `runProgram` returns. */
  | { readonly end: Argument };

export interface Program {
  readonly rows: readonly Row[];
  /**
   * Writable memory, in bytes, zeroed; 16-byte aligned. The name "header" is taken: it is the
   * block's own header (interpreter-layout.ts), for programs that send their failure elsewhere.
   */
  readonly buffers?: Readonly<Record<string, number>>;
  /**
   * Where a failing call jumps when its row names no `onError`. The report (row and errno) is
   * already written to shared memory then, so the target need only clean up and exit.
   */
  readonly onError?: string;
}

/** How a program ended. */
export interface ProgramOutcome {
  /** Value of the `end` row, or -errno of the call that ended it. */
  readonly value: number;
  /** The call that failed last with an errno that its row does not ignore, in whichever process. */
  readonly failure: ProgramFailure | undefined;
  /** Result of the row with this `as`. */
  result(name: string): number;
  /** Content of a named buffer. */
  buffer(name: string): Uint8Array;
}

export interface ProgramFailure {
  readonly row: number;
  readonly call: SyscallName;
  /** Arguments as the row wrote them, results filled in. */
  readonly args: readonly (string | number | bigint)[];
  readonly errno: Errno;
  readonly note?: string;
}
