/**
 * Model-specific registers (SDM volume 4; KVM's in https://docs.kernel.org/virt/kvm/x86/msr.html).
 * An unknown one is #GP: Linux reads those it is not sure of with a handler for that.
 */
import { state } from "../state.ts";
import type { Cpu } from "./cpu.ts";
import { generalProtection } from "./fault.ts";
import { writeSystemTime, writeWallClock } from "./pv-clock.ts";
import { segmentIndex } from "./registers.ts";
import { canonical } from "./segments.ts";

/** 64-bit registers that live in `state`. */
const inState: Readonly<Record<number, number>> = {
  3221225601: state.star,
  3221225602: state.lstar,
  3221225603: state.cstar,
  3221225604: state.sfmask,
  3221225728: state.segmentBase + segmentIndex.fs * 8,
  3221225729: state.segmentBase + segmentIndex.gs * 8,
  3221225730: state.kernelGsBase,
  3221225731: state.tscAux,
  372: state.sysenterCs,
  373: state.sysenterEsp,
  374: state.sysenterEip,
};
const addresses = new Set([
  0xc000_0082, 0xc000_0083, 0xc000_0100, 0xc000_0101, 0xc000_0102, 0x175, 0x176,
]);

/** Stored and given back, without effect here. */
const plain = new Map<number, bigint>([
  [0x8b, 0n], // microcode revision
  [0x1a0, 1n], // MISC_ENABLE: fast strings
  [0x277, 0x0007_0406_0007_0406n], // PAT
  [0x140, 0n], // MISC_FEATURE_ENABLES
]);

const msr = {
  tsc: 0x10,
  apicBase: 0x1b,
  platformInfo: 0xce,
  mtrrCap: 0xfe,
  mtrrDefType: 0x2ff,
  tscDeadline: 0x6e0,
  x2apic: 0x800,
  efer: 0xc000_0080,
  kvmWallClock: 0x4b56_4d00,
  kvmSystemTime: 0x4b56_4d01,
} as const;

export class Msrs {
  private readonly stored = new Map(plain);
  /** Bootstrap processor, x2APIC already on, as firmware may leave it. */
  private apicBase = 0xfee0_0d00n;
  private kvmSystemTime = 0n;
  private kvmWallClock = 0n;
  private readonly cpu: Cpu;

  constructor(cpu: Cpu) {
    this.cpu = cpu;
  }

  read(index: number): bigint {
    const { registers, apic } = this.cpu;
    const offset = inState[index];
    if (offset !== undefined) return registers.get64(offset);
    const stored = this.stored.get(index);
    if (stored !== undefined) return stored;
    if (index >= msr.x2apic && index < msr.x2apic + 0x100) return this.readX2apic(index);
    switch (index) {
      case msr.efer:
        return registers.get64(state.efer);
      case msr.tsc:
        return BigInt(this.cpu.tsc.now());
      case msr.apicBase:
        return this.apicBase;
      case msr.mtrrCap:
      case msr.mtrrDefType:
      case msr.platformInfo:
        return 0n;
      case msr.tscDeadline:
        return BigInt(apic.tscDeadline) && this.cpu.tsc.fromClock(apic.tscDeadline);
      case msr.kvmSystemTime:
        return this.kvmSystemTime;
      case msr.kvmWallClock:
        return this.kvmWallClock;
      default:
        this.cpu.statistics.countMsr(index);
        throw generalProtection();
    }
  }

  write(index: number, value: bigint): void {
    const { registers, apic } = this.cpu;
    const offset = inState[index];
    if (offset !== undefined) {
      if (addresses.has(index) && !canonical(value)) throw generalProtection();
      registers.set64(offset, value);
      return;
    }
    if (this.stored.has(index)) {
      this.stored.set(index, value);
      return;
    }
    if (index >= msr.x2apic && index < msr.x2apic + 0x100) {
      this.writeX2apic(index, value);
      return;
    }
    switch (index) {
      case msr.efer:
        this.cpu.setEfer(value);
        return;
      case msr.tsc:
        this.cpu.tsc.set(value);
        return;
      case msr.apicBase:
        this.apicBase = value;
        return;
      case msr.tscDeadline:
        apic.setTscDeadline(this.cpu.tsc.toClock(value));
        return;
      case msr.kvmSystemTime:
        this.kvmSystemTime = value;
        if (value & 1n) writeSystemTime(this.cpu, Number(value & ~1n));
        return;
      case msr.kvmWallClock:
        this.kvmWallClock = value;
        writeWallClock(this.cpu, Number(value));
        return;
      case msr.mtrrDefType:
        return;
      default:
        this.cpu.statistics.countMsr(index);
        throw generalProtection();
    }
  }

  /** The counter before the deadline that is compared with it. */
  save(): readonly (readonly [index: number, value: bigint])[] {
    const kept = [...Object.keys(inState).map(Number), ...this.stored.keys()];
    const indices = [msr.tsc, ...kept, msr.kvmWallClock, msr.kvmSystemTime, msr.tscDeadline];
    return indices.map((index) => [index, this.read(index)]);
  }

  /** kvm-clock's pages are in RAM and go on with the counter: only their addresses are taken. */
  restore(values: readonly (readonly [index: number, value: bigint])[]): void {
    for (const [index, value] of values)
      if (index === msr.kvmSystemTime) this.kvmSystemTime = value;
      else if (index === msr.kvmWallClock) this.kvmWallClock = value;
      else this.write(index, value);
  }

  private readX2apic(index: number): bigint {
    if (!(this.apicBase & 0x400n)) throw generalProtection();
    const offset = (index - msr.x2apic) * 16;
    if (offset === 0x300)
      return BigInt(this.cpu.apic.read(0x300)) | (BigInt(this.cpu.apic.read(0x310) >>> 24) << 32n);
    // The logical id follows from the id, which is 0.
    if (offset === 0xd0) return 1n;
    return BigInt(this.cpu.apic.read(offset) >>> 0);
  }

  private writeX2apic(index: number, value: bigint): void {
    if (!(this.apicBase & 0x400n)) throw generalProtection();
    const offset = (index - msr.x2apic) * 16;
    if (offset === 0x300)
      this.cpu.apic.writeIcr(Number(value & 0xffff_ffffn), Number(value >> 32n));
    else this.cpu.apic.write(offset, Number(value & 0xffff_ffffn));
    this.cpu.interruptsChanged();
  }
}
