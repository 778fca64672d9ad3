/**
 * What a kind of CPU offers to whoever puts a machine together: RAM and interrupt lines to build
 * devices on, then threads that run the vCPUs. KVM and the translator each implement it once.
 */
import type { CpuReport } from "./cpu-report.ts";
import type { GuestMemory } from "./guest-memory.ts";
import type { InterruptController } from "./interrupts.ts";
import type { Machine } from "./machine.ts";
import type { GeneralRegisters, SystemRegisters, VcpuState, VmExit } from "./vcpu.ts";

/** A register of a device whose 4-byte writes need no answer: a doorbell. */
export interface Bell {
  readonly address: number;
  readonly value: number;
  readonly ring: () => void;
}

export interface VcpuRegisters {
  readonly general: GeneralRegisters;
  readonly system: SystemRegisters;
}

/** Plain data, fit for structuredClone. */
export interface CpuState {
  readonly vcpus: readonly VcpuState[];
  /** What the backend keeps besides: interrupt controllers, clock. */
  readonly chips: unknown;
}

export interface CpuBackend extends AsyncDisposable {
  readonly name: "kvm" | "software";
  readonly memory: GuestMemory;
  readonly interrupts: InterruptController;
  readonly cpus: number;
  /**
   * Puts part of an open file into RAM without copying, if this backend can; false: copy it.
   * The file must stay as it is while the machine runs.
   */
  mapFile?(fd: unknown, fileOffset: number, guestAddress: number, sizeBytes: number): boolean;
  /** Gives whole pages of RAM back to the host: zeros, when they are touched again. */
  discard(guestAddress: number, sizeBytes: number): void;
  /** Makes the vCPUs of this machine, each on a thread of its own; none runs yet. */
  attach(machine: Machine): Promise<void>;
  /** The first vCPU's registers at boot; the others wait for its start-up signal. */
  setEntry(registers: {
    readonly general: Partial<GeneralRegisters>;
    readonly system: Partial<SystemRegisters>;
  }): Promise<void>;
  /** Rings without stopping the vCPU where the backend can do that, else by way of the bus. */
  bindBell(bell: Bell): void;
  unbindBells(): void;
  /**
   * Words for the interrupt status of the virtio-mmio device whose registers begin at `base`: where the
   * backend offers them, its vCPUs answer that register and take its acknowledgement by themselves.
   */
  shareInterruptStatus?(base: number): Int32Array;
  /** Lets all vCPUs run; resolves when all have come to rest, with each one's last exit. */
  run(): Promise<readonly VmExit[]>;
  /** Brings running vCPUs to rest. */
  pause(): void;
  /** Only at rest. */
  registers(vcpu: number): Promise<VcpuRegisters>;
  save(): Promise<CpuState>;
  /** What the CPU counts, as plain data; a processor that executes guests itself counts nothing. */
  report?(): Promise<CpuReport>;
  /** What it has made of the guest's code, if it makes anything: for backends of the same build. */
  saveCode?(): Promise<Uint8Array>;
  /** Into a backend with as many vCPUs, whose RAM is what it was. */
  restore(state: CpuState): Promise<void>;
}
