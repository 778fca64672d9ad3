/** Errors of the kernel interface, and the names by which callers tell them apart. */
import { type Errno, errnos, errnoText } from "./errno.ts";

export interface SyscallFailure {
  readonly call: string;
  readonly args: readonly (string | number | bigint)[];
  readonly errno: Errno;
  /** What the user can do about it. */
  readonly hint?: string;
}

/** A system call that failed; `failure` holds the facts. */
export class SyscallError extends Error {
  override readonly name = "SyscallError";
  readonly failure: SyscallFailure;
  constructor(failure: SyscallFailure, options?: ErrorOptions) {
    const args = failure.args.map(formatArgument).join(", ");
    super(
      `${failure.call}(${args}) failed with ${failure.errno}: ${errnoText(failure.errno)}`,
      options,
    );
    this.failure = failure;
  }
  get errno(): Errno {
    return this.failure.errno;
  }
  /** As Node's system errors have it, so that callers can treat both alike. */
  get code(): Errno {
    return this.failure.errno;
  }
}

/** Whether this is a system error with one of these names, ours or Node's. */
export function hasErrno(error: unknown, ...names: readonly Errno[]): boolean {
  const code: unknown = error instanceof Error && "code" in error ? error.code : undefined;
  return names.some((name) => name === code);
}

/** Numbers beyond this are flags or addresses and read better in hexadecimal. */
const largestDecimal = 0xffff;

export function formatArgument(value: string | number | bigint): string {
  if (typeof value === "string") return JSON.stringify(value);
  return value > largestDecimal ? `0x${value.toString(16)}` : String(value);
}

/** Positive error number of a name. */
export function errnoNumber(name: Errno): number {
  return errnos[name][0];
}
