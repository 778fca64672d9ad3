// Loaded before everything else, in workers too: whoever loads native code from here on fails.
import { createRequire } from "node:module";

const forbid = (what) => () => {
  throw new Error(`Native code is forbidden here: ${what}`);
};
process.dlopen = forbid("process.dlopen");
if ("Bun" in globalThis) {
  const names = ["dlopen", "linkSymbols", "CFunction", "cc"];
  for (const ffi of [globalThis.Bun.FFI, createRequire(import.meta.url)("bun:ffi")])
    for (const name of names)
      if (ffi !== undefined && name in ffi) ffi[name] = forbid(`bun:ffi ${name}`);
}
globalThis.nativeIsForbidden = true;
