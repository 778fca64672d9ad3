/** The software CPU: x86-64 in WebAssembly. */
export { createSoftwareMachine, type SoftwareMachine, SoftwareVcpu } from "./vcpu.ts";
