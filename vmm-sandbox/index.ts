/** Virtual machines: a board, devices, two kinds of CPU, a guest with our agent. */
import type { SoftwareBackend, SoftwareOptions } from "./translator/index.ts";

export { BootError, KernelImageError } from "./boot/index.ts";
export {
  type ConfinedProcess,
  type ConfinedStart,
  ConfinementError,
  type SharedDirectory,
  sealMonitor,
  startConfined,
} from "./confine/index.ts";
export { Console, FileBackend, type VirtioDevice, VirtioFs, Vsock } from "./devices/index.ts";
export {
  GuestError,
  type GuestLaunch,
  GuestLaunchError,
  type GuestProcess,
  GuestRefusal,
  type HostPorts,
  MissingModuleError,
  planModules,
  REPORT,
  RemoteKernel,
  startGuestProcess,
} from "./guest/index.ts";
export { encodeInitramfs } from "./guest/initramfs.ts";
export { GUEST_ROOTFS, type GuestRootOptions, planGuestRoot } from "./guest-root.ts";
export { type FileMapping, mapWholeFile } from "./host/file-mapping.ts";
export { type OpenTap, openTap, type TapOptions } from "./host/tap.ts";
export {
  hasHardwareVirtualization,
  KvmBackend,
  KvmUnavailableError,
  kvmRequests,
} from "./kvm/index.ts";
export {
  type CpuBackend,
  type CpuReport,
  parseCpuReport,
  type StopReason,
} from "./machine/index.ts";
export type { MonitorNet } from "./monitor/config.ts";
export {
  type ConfinedSandboxConfig,
  startConfinedSandbox,
} from "./monitor/confined-sandbox.ts";
export { runMonitor } from "./monitor/monitor.ts";
export { openSocket } from "./monitor/socket.ts";
export {
  type GuestKernel,
  GuestNotReadyError,
  type Sandbox,
  type SandboxConfig,
  startSandbox,
} from "./sandbox.ts";
export { type SaveResult, type SnapshotConfig, SnapshotError } from "./snapshot/index.ts";
export type { Classification } from "./translator/classify.ts";
export type { SoftwareBackend } from "./translator/index.ts";

/** The software CPU, half of our code, which machines on KVM start without. */
export async function openSoftwareBackend(options: SoftwareOptions): Promise<SoftwareBackend> {
  const { SoftwareBackend } = await import("./translator/index.ts");
  return new SoftwareBackend(options);
}

/** Counts a program's sensitive instructions; loads the decoder only now. */
export async function classifyProgram(
  file: Uint8Array,
): Promise<import("./translator/classify.ts").Classification> {
  return (await import("./translator/classify.ts")).classifyProgram(file);
}
export { type Disk, Vm, type VmConfig } from "./vm.ts";
