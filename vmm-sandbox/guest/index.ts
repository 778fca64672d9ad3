/** What runs inside a machine, and how the host talks to it. README.md has the ideas. */
export { type AgentOptions, planAgent, powerOff } from "./agent-program.ts";
export {
  type GuestLaunch,
  GuestLaunchError,
  type GuestProcess,
  GuestRefusal,
  type HostPorts,
  type PendingConnection,
  REPORT,
  startGuestProcess,
} from "./guest-process.ts";
export { encodeInitramfs } from "./initramfs.ts";
export { MissingModuleError, planModules } from "./kernel-modules.ts";
export { encodeRehearsal, REHEARSAL_FILE, rehearse } from "./rehearsal.ts";
export { type Connection, GuestError, RemoteKernel, type RemoteProcess } from "./remote-kernel.ts";
export { connectionOf } from "./socket-connection.ts";
export type { HostAddress } from "./stdio-program.ts";
export { planWake } from "./wake-program.ts";
