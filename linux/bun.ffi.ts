/** FFI driver for Bun, and so for the compiled executable. https://bun.sh/docs/api/ffi */
import { createRequire } from "node:module";
import { bootstrapProtection as bits, type FfiDriver, type NativeFunction } from "./ffi.ts";

type Types = { readonly args: readonly number[]; readonly returns: number };
type Functions = Readonly<Record<string, NativeFunction>>;

/** What both `Bun.FFI` and the module "bun:ffi" have. */
interface BunFfi {
  dlopen(library: string, symbols: Readonly<Record<string, Types>>): { symbols: Functions };
  linkSymbols(symbols: Readonly<Record<string, Types & { ptr: number }>>): { symbols: Functions };
  ptr(bytes: Uint8Array): number;
  toArrayBuffer(address: number, offset: number, sizeBytes: number): ArrayBuffer;
}

/** FFIType in bun:ffi. i64_fast: a number where it fits, so no BigInt for usual results. */
const i64Fast = 15;
const sixIntegers = { args: [15, 15, 15, 15, 15, 15], returns: i64Fast };
const sevenIntegers = { args: [15, 15, 15, 15, 15, 15, 15], returns: i64Fast };

export function openBunDriver(): FfiDriver {
  const ffi = openFfi();
  const { mmap, mprotect } = ffi.dlopen("libc.so.6", {
    mmap: sixIntegers,
    mprotect: sixIntegers,
  }).symbols;
  if (mmap === undefined || mprotect === undefined) throw new Error("libc.so.6 lacks mmap");
  return {
    name: "bun:ffi",
    mapAnonymous: (sizeBytes) =>
      Number(mmap(0, sizeBytes, bits.readWrite, bits.privateAnonymous, -1, 0, 0)),
    makeExecutable(address, sizeBytes) {
      if (Number(mprotect(address, sizeBytes, bits.readExecute, 0, 0, 0, 0)) !== 0)
        throw new Error("Cannot make our machine code executable: mprotect(PROT_EXEC) was refused");
    },
    addressOf: (bytes) => ffi.ptr(bytes),
    view: (address, sizeBytes) => new Uint8Array(ffi.toArrayBuffer(address, 0, sizeBytes)),
    functionAt(address) {
      const { linked } = ffi.linkSymbols({ linked: { ptr: address, ...sevenIntegers } }).symbols;
      if (linked === undefined) throw new Error("Cannot call our machine code through bun:ffi");
      return linked;
    },
  };
}

/**
 * The module wraps this object's functions in checks of their arguments, and takes 0.7 ms to load:
 * most of what comes before the first system call. A Bun that hides the object has the module.
 */
function openFfi(): BunFfi {
  // SAFE: both have the documented functions, and the tests of linux/ exercise each of them.
  const { FFI } = (globalThis as unknown as { readonly Bun: { readonly FFI?: BunFfi } }).Bun;
  if (typeof FFI?.linkSymbols === "function" && typeof FFI.toArrayBuffer === "function") return FFI;
  return createRequire(import.meta.url)("bun:ffi") as BunFfi;
}
