/**
 * Containers as users know them. What needs the network, the store or the kernel is behind
 * import(), so that each verb of the command line loads only what it uses.
 */

export type { Diagnosis, Finding, Rung } from "./doctor/index.ts";
export { ContainerError, ImageNotFoundError } from "./errors.ts";
export type * from "./options.ts";
export type * from "./progress.ts";
export { VERSION } from "./version.ts";

/** Tries what this machine can do. */
export async function diagnose(stateRoot?: string): Promise<import("./doctor/index.ts").Diagnosis> {
  return (await import("./doctor/index.ts")).diagnose(stateRoot);
}

export type { ForegroundRequest, ForegroundResult } from "./run.ts";

/** Runs a container on this process's own descriptors and terminal, until it ends. */
export async function runForeground(
  request: import("./run.ts").ForegroundRequest,
): Promise<import("./run.ts").ForegroundResult> {
  return (await import("./run.ts")).runForeground(request);
}
