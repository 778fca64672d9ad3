/** The kernel's interface, for every other folder. */
export * from "./bpf.ts";
export * from "./constants.ts";
export * from "./elf.ts";
export * from "./encode.ts";
export * from "./errno.ts";
export * from "./errors.ts";
export * from "./fd.ts";
export * from "./format-row.ts";
export * from "./kernel.ts";
export * from "./program.ts";
export * from "./root.ts";
export * from "./run-program.ts";
export * from "./spawn-program.ts";
export * from "./struct.ts";
export * from "./structs.ts";
export * from "./syscalls.ts";
export * from "./utf8.ts";
