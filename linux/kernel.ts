/** Raw system calls, and memory that the kernel and machine code may see. */

import { openBunDriver } from "./bun.ffi.ts";
import { errnoName } from "./errno.ts";
import { SyscallError } from "./errors.ts";
import type { Fd } from "./fd.ts";
import type { FfiDriver, NativeFunction } from "./ffi.ts";
import { interpreterX86_64 } from "./generated/interpreter-x86-64.ts";
import { openKoffiDriver } from "./koffi.ffi.ts";
import { machineCode } from "./machine-code.ts";
import { type SyscallName, syscallsX86_64 } from "./syscalls.ts";

/** Strings become NUL-terminated copies; bytes are passed by address and may be written to. */
export type SyscallArgument = number | bigint | string | Uint8Array | Fd | null;

/** Memory that stays where it is. Using `bytes` after disposal is a fault of the process. */
export interface Memory extends Disposable {
  readonly address: number;
  readonly bytes: Uint8Array;
}

/** Where strings lie while a call reads them. */
interface Scratch {
  readonly address: number;
  readonly bytes: Uint8Array;
}

interface Native {
  readonly driver: FfiDriver;
  readonly scratch: Scratch;
  readonly call: NativeFunction;
  readonly interpret: NativeFunction;
  readonly codeAddress: number;
}

const codeSizeBytes = 4096;
let loaded: Native | undefined;

/** Loaded by the first system call, so that verbs that make none do not pay for it. */
function native(): Native {
  loaded ??= loadNative("Bun" in globalThis ? openBunDriver() : openKoffiDriver());
  return loaded;
}

function loadNative(driver: FfiDriver): Native {
  if (process.platform !== "linux" || process.arch !== "x64")
    throw new Error(
      `Cannot make system calls on ${process.platform}/${process.arch}: expected linux/x64`,
    );
  const address = driver.mapAnonymous(codeSizeBytes);
  const scratch = driver.mapAnonymous(scratchSize);
  driver.view(address, codeSizeBytes).set(machineCode());
  driver.makeExecutable(address, codeSizeBytes);
  return {
    driver,
    scratch: { address: scratch, bytes: driver.view(scratch, scratchSize) },
    call: driver.functionAt(address + interpreterX86_64.syscall),
    interpret: driver.functionAt(address + interpreterX86_64.interpret),
    codeAddress: address,
  };
}

/** Whether system calls can be made: false where native code may not be loaded. */
export function hasNativeCode(): boolean {
  try {
    native();
    return true;
  } catch {
    return false;
  }
}

export function ffiDriverName(): FfiDriver["name"] {
  return native().driver.name;
}

type Arg = SyscallArgument;

/**
 * Makes the call and returns its result, or -errno. Arguments that are left out are 0. Written
 * out for six: a start makes some hundred calls in code that no compiler has warmed up.
 */
export function syscall(
  name: SyscallName,
  a: Arg = 0,
  b: Arg = 0,
  c: Arg = 0,
  d: Arg = 0,
  e: Arg = 0,
  f: Arg = 0,
): number {
  const ready = loaded ?? native();
  scratchUsed = 0;
  const result = ready.call(
    syscallsX86_64[name],
    typeof a === "number" ? a : toNative(a, ready),
    typeof b === "number" ? b : toNative(b, ready),
    typeof c === "number" ? c : toNative(c, ready),
    typeof d === "number" ? d : toNative(d, ready),
    typeof e === "number" ? e : toNative(e, ready),
    typeof f === "number" ? f : toNative(f, ready),
  );
  return typeof result === "number" ? result : Number(result);
}

/** As `syscall`, but a failure is thrown as SyscallError. */
export function call(
  name: SyscallName,
  a: Arg = 0,
  b: Arg = 0,
  c: Arg = 0,
  d: Arg = 0,
  e: Arg = 0,
  f: Arg = 0,
): number {
  const result = syscall(name, a, b, c, d, e, f);
  if (result < 0 && result >= -4095) throw failureOf(name, trimmed([a, b, c, d, e, f]), result);
  return result;
}

/** Without the zeros at the end, which are mostly arguments that the call does not have. */
function trimmed(args: readonly Arg[]): readonly Arg[] {
  return args.slice(0, args.findLastIndex((arg) => arg !== 0) + 1);
}

export function failureOf(
  name: SyscallName,
  args: readonly SyscallArgument[],
  result: number,
): SyscallError {
  return new SyscallError({ call: name, args: args.map(toReadable), errno: errnoName(-result) });
}

function toNative(arg: Exclude<Arg, number>, { driver, scratch }: Native): number | bigint {
  if (typeof arg === "string")
    return placeString(arg, scratch) ?? driver.addressOf(terminated(arg));
  if (typeof arg === "bigint") return BigInt.asIntN(64, arg);
  if (arg === null) return 0;
  if (arg instanceof Uint8Array) return arg.length === 0 ? 0 : driver.addressOf(arg);
  return arg.number;
}

function toReadable(arg: SyscallArgument): string | number | bigint {
  if (arg === null) return 0;
  if (arg instanceof Uint8Array) return `${arg.length} bytes`;
  return typeof arg === "object" ? arg.number : arg;
}

const scratchSize = 64 * 1024;
/** UTF-8 needs at most three bytes for each unit of a string. */
const bytesPerUnit = 3;
const encoder = new TextEncoder();
let scratchUsed = 0;

/** Copies a string into memory whose address is known; undefined when there is no room left. */
function placeString(text: string, scratch: Scratch): number | undefined {
  const at = scratchUsed;
  if (at + text.length * bytesPerUnit + 1 > scratchSize) return undefined;
  refuseNul(text);
  const { written } = encoder.encodeInto(text, scratch.bytes.subarray(at));
  scratch.bytes[at + written] = 0;
  scratchUsed = at + written + 1;
  return scratch.address + at;
}

/** Bytes of the latest long strings, so that none is collected while the kernel reads it. */
const recentStrings: Uint8Array[] = Array(6).fill(new Uint8Array(1));
let nextString = 0;

function refuseNul(text: string): void {
  if (text.includes("\0"))
    throw new TypeError(`Cannot pass ${JSON.stringify(text)} to the kernel: it contains a NUL`);
}

/** UTF-8 with a NUL behind; a NUL inside would silently name another file, so it is refused. */
function terminated(text: string): Uint8Array {
  refuseNul(text);
  const bytes = encoder.encode(`${text}\0`);
  recentStrings[nextString++ % recentStrings.length] = bytes;
  return bytes;
}

/** Address of bytes that the caller keeps reachable, for structs that hold pointers. */
export function addressOf(bytes: Uint8Array): number {
  return native().driver.addressOf(bytes);
}

const protection = 3; // PROT_READ | PROT_WRITE
const mapPrivate = 2;
const mapShared = 1;
const mapAnonymous = 0x20;

/** Maps zeroed memory; `shared` memory is seen by forked children as well. */
export function mapMemory(sizeBytes: number, { shared = false } = {}): Memory {
  const flags = mapAnonymous | (shared ? mapShared : mapPrivate);
  const address = call("mmap", 0, sizeBytes, protection, flags, -1, 0);
  return mapped(address, sizeBytes);
}

/** Maps a file or device; `flags` are MAP_*, `protectionBits` PROT_*. */
export function mapFile(
  fd: Fd,
  sizeBytes: number,
  { flags, protectionBits, offset = 0 }: { flags: number; protectionBits: number; offset?: number },
): Memory {
  const address = call("mmap", 0, sizeBytes, protectionBits, flags, fd, offset);
  return mapped(address, sizeBytes);
}

function mapped(address: number, sizeBytes: number): Memory {
  return {
    address,
    bytes: native().driver.view(address, sizeBytes),
    [Symbol.dispose]: () => void syscall("munmap", address, sizeBytes),
  };
}

/** Memory at an address that a kernel interface handed out. */
export function viewMemory(address: number, sizeBytes: number): Uint8Array {
  return native().driver.view(address, sizeBytes);
}

/** Runs an encoded program; returns what it ended with. */
export function interpret(blockAddress: number): number {
  return Number(native().interpret(blockAddress, 0, 0, 0, 0, 0, 0));
}

/** What `freeze` writes: the registers that a function keeps, the stack and where to go on. */
export const frozenRegistersSize = 64;

/**
 * Waits for ever, having told the descriptor `frozenRegistersSize` bytes, which also lie at
 * `address`. Returns in a process with the same memory that executes the row `resume`.
 */
export function freeze(address: number, fd: number): void {
  const { driver, codeAddress } = native();
  driver.functionAt(codeAddress + interpreterX86_64.freeze)(address, fd, 0, 0, 0, 0, 0);
}
