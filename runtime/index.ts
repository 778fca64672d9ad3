/** The OCI runtime, for the engine: make, find, signal and remove containers. */
export { deviceFilterBuffers, planDeviceFilter } from "./cgroups/device-filter.ts";
export { deviceRules } from "./cgroups/resources.ts";
export { createContainer } from "./create.ts";
export type { CreatedContainer, CreateOptions } from "./create-options.ts";
export { LaunchError, NoContainerError, StatusError } from "./errors.ts";

export { type ExecedProcess, execInContainer, planExec } from "./exec.ts";
export { type ExplainOptions, explainLaunch, formatLaunch } from "./explain.ts";
export {
  type LaunchContext,
  type LaunchPlan,
  MACHINE_STARTER,
  planLaunch,
  type RootMount,
} from "./launch/plan.ts";
export { executionError } from "./launch/report.ts";
export { message } from "./launch/sync.ts";
export { deleteContainer, destroyContainer, killContainer } from "./lifecycle.ts";
export { isBind } from "./machine/check-guest.ts";
export { MACHINE_SOCKET } from "./machine/client.ts";
export * from "./machine/frames.ts";
export { makeRaw } from "./pty.ts";
export { rootResolver } from "./root-facts.ts";
export { cachedSeccomp } from "./seccomp/cache.ts";
export type { EncodedFilter } from "./seccomp/compile.ts";
export { dockerSeccompProfile } from "./seccomp/default-profile.ts";
export { dockerSeccompFilter } from "./seccomp/docker-filter.ts";
export { receiveDescriptor, socketPair } from "./sockets.ts";
export { type Container, type MachineRecord, readContainer } from "./state.ts";
export { readBundle } from "./verbs/bundle.ts";
export { decodeStatus, type ExitStatus, waitForChild } from "./wait.ts";
