// Loaded before everything else, in workers too: whoever loads native code from here on fails.
import { createRequire } from "node:module";

const forbid = (what) => () => {
  throw new Error(`Native code is forbidden here: ${what}`);
};
process.dlopen = forbid("process.dlopen");
if ("Bun" in globalThis) {
  const ffi = createRequire(import.meta.url)("bun:ffi");
  for (const name of ["dlopen", "linkSymbols", "CFunction", "cc"]) ffi[name] = forbid(`bun:ffi ${name}`);
}
globalThis.nativeIsForbidden = true;
