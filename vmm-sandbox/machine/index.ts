/** What devices, boot code and both CPUs share. */
export { type AccessSize, Bus, type BusDevice, type BusWindow } from "./bus.ts";
export { type Clock, MachineClock } from "./clock.ts";
export type { Bell, CpuBackend, CpuState, VcpuRegisters } from "./cpu-backend.ts";
export {
  type CpuReport,
  type ExitName,
  exitNames,
  parseCpuReport,
  type SensitiveCount,
} from "./cpu-report.ts";
export { MAILBOX_BYTES, RemoteBus } from "./exit-mailbox.ts";
export {
  GuestMemory,
  GuestMemoryError,
  type MemoryRegion,
  type RamRange,
  ramRanges,
} from "./guest-memory.ts";
export type { InterruptController, InterruptLine } from "./interrupts.ts";
export * from "./layout.ts";
export { Machine, type MachineParts, type StopReason } from "./machine.ts";
export { walkPageTables } from "./page-walk.ts";
export {
  type DescriptorTable,
  type GeneralRegisters,
  generalRegisterNames,
  type MpState,
  type PendingEvents,
  type Segment,
  type SystemRegisters,
  segmentNames,
  type Vcpu,
  type VcpuState,
  type VmExit,
} from "./vcpu.ts";
export { type Command, type RegisterChanges, type Reply, VcpuThread } from "./vcpu-thread.ts";
