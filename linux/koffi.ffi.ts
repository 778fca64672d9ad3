/** FFI driver for Node. https://koffi.dev */
import { createRequire } from "node:module";
import { bootstrapProtection as bits, type FfiDriver } from "./ffi.ts";

/** Loads koffi; throws when the optional package is missing or has no build for this platform. */
export function openKoffiDriver(): FfiDriver {
  // SAFE: `typeof import` is the type of the very package that is loaded.
  const koffi = createRequire(import.meta.url)("koffi") as typeof import("koffi").default;
  const libc = koffi.load("libc.so.6");
  const mmap = libc.func("void *mmap(uintptr_t, size_t, int, int, int, int64_t)");
  const mprotect = libc.func("int mprotect(void *, size_t, int)");
  // koffi keeps one list of names for all threads of the process, each of which loads us anew.
  const name = `manyworlds_${process.hrtime.bigint()}`;
  const prototype = koffi.proto(
    `int64_t ${name}(int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, int64_t)`,
  );
  return {
    name: "koffi",
    mapAnonymous: (sizeBytes) =>
      Number(mmap(0, sizeBytes, bits.readWrite, bits.privateAnonymous, -1, 0)),
    makeExecutable(address, sizeBytes) {
      if (mprotect(BigInt(address), sizeBytes, bits.readExecute) !== 0)
        throw new Error("Cannot make our machine code executable: mprotect(PROT_EXEC) was refused");
    },
    addressOf: (bytes) => Number(koffi.address(bytes)),
    view: (address, sizeBytes) => new Uint8Array(koffi.view(BigInt(address), sizeBytes)),
    functionAt: (address) => koffi.decode(BigInt(address), prototype),
  };
}
