/**
 * What a native driver must do for us: the four things JavaScript cannot. Everything else is
 * system calls through our own machine code.
 */

/** Calls machine code with the System V ABI: seven 64-bit integers in, one out. */
export type NativeFunction = (
  a: number | bigint,
  b: number | bigint,
  c: number | bigint,
  d: number | bigint,
  e: number | bigint,
  f: number | bigint,
  g: number | bigint,
) => number | bigint;

export interface FfiDriver {
  readonly name: "bun:ffi" | "koffi";
  /** Maps private anonymous memory, readable and writable; returns its address. */
  mapAnonymous(sizeBytes: number): number;
  /** Makes mapped memory readable and executable, no longer writable (mprotect). */
  makeExecutable(address: number, sizeBytes: number): void;
  /** Address of the bytes; valid while the array is reachable. */
  addressOf(bytes: Uint8Array): number;
  /** The memory at this address, not copied. The caller keeps it mapped while the view is used. */
  view(address: number, sizeBytes: number): Uint8Array;
  functionAt(address: number): NativeFunction;
}

/** Protection bits for the drivers' bootstrap; mmap(2). */
export const bootstrapProtection = {
  readWrite: 3,
  readExecute: 5,
  privateAnonymous: 0x22,
} as const;
