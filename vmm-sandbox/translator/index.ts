/** The software CPU: x86-64 in WebAssembly. The processor itself loads on its own thread. */
export { SoftwareBackend, type SoftwareOptions } from "./backend.ts";
