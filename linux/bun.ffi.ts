/** FFI driver for Bun, and so for the compiled executable. https://bun.sh/docs/api/ffi */
import { createRequire } from "node:module";
import { bootstrapProtection as bits, type FfiDriver, type NativeFunction } from "./ffi.ts";

interface BunFfi {
  dlopen(
    library: string,
    symbols: Readonly<Record<string, { args: readonly string[]; returns: string }>>,
  ): { readonly symbols: Readonly<Record<string, (...args: unknown[]) => number>> };
  ptr(bytes: Uint8Array): number;
  toArrayBuffer(address: number, offset: number, sizeBytes: number): ArrayBuffer;
  CFunction(definition: { ptr: number; args: readonly string[]; returns: string }): NativeFunction;
}

export function openBunDriver(): FfiDriver {
  // SAFE: the shape is the documented interface of bun:ffi, and the tests of linux/ exercise it.
  const ffi = createRequire(import.meta.url)("bun:ffi") as BunFfi;
  const { mmap, mprotect } = ffi.dlopen("libc.so.6", {
    mmap: { args: ["u64", "u64", "i32", "i32", "i32", "i64"], returns: "ptr" },
    mprotect: { args: ["ptr", "u64", "i32"], returns: "i32" },
  }).symbols;
  if (mmap === undefined || mprotect === undefined) throw new Error("libc.so.6 lacks mmap");
  return {
    name: "bun:ffi",
    mapAnonymous: (sizeBytes) => mmap(0, sizeBytes, bits.readWrite, bits.privateAnonymous, -1, 0),
    makeExecutable(address, sizeBytes) {
      if (mprotect(address, sizeBytes, bits.readExecute) !== 0)
        throw new Error("Cannot make our machine code executable: mprotect(PROT_EXEC) was refused");
    },
    addressOf: (bytes) => ffi.ptr(bytes),
    view: (address, sizeBytes) => new Uint8Array(ffi.toArrayBuffer(address, 0, sizeBytes)),
    functionAt: (address) =>
      // i64_fast: a number where it fits, so that no BigInt is made for usual results.
      ffi.CFunction({ ptr: address, args: Array(7).fill("i64_fast"), returns: "i64_fast" }),
  };
}
