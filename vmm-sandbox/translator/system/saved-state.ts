/**
 * A software CPU as plain data, and back: what a snapshot holds of it besides RAM.
 *
 *   XSAVE area: the 512 bytes of FXSAVE, then a header whose first word says x87 and SSE are valid
 *   local APIC page: one register in 16 bytes, as the hardware lays them out
 */
import type { MpState, PendingEvents, VcpuState } from "../../machine/vcpu.ts";
import { layout, state } from "../state.ts";
import type { Cpu } from "./cpu.ts";
import { tscKhz } from "./cpuid.ts";
import { mxcsrChanged } from "./soft-sse.ts";

const xsaveBytes = 576;
const xstateBv = 512;
const offsets = { fcw: 0, fsw: 2, tags: 4, fop: 6, fip: 8, fdp: 16, mxcsr: 24, st: 32, xmm: 160 };

type Saved = Omit<VcpuState, "general" | "system">;

export function saveCpu(cpu: Cpu): Saved {
  const mpState: MpState = cpu.halted ? "halted" : "running";
  const events: PendingEvents = {
    interruptShadow: cpu.shadowUntil === cpu.registers.rip,
    nmiPending: cpu.apic.nmi,
    nmiMasked: cpu.nmiMasked,
  };
  return {
    mpState,
    xsave: saveVectors(cpu),
    xcr0: 3n,
    debug: [0, 1, 2, 3, 6, 7].map((number) => cpu.registers.debug[number] ?? 0n),
    msrs: cpu.msrs.save(),
    lapic: cpu.apic.save(),
    events,
    tscKhz,
  };
}

/** General and system registers are set already. RAM holds what the saved machine's held. */
export function restoreCpu(cpu: Cpu, saved: Saved): void {
  if (saved.tscKhz !== tscKhz)
    throw new RangeError(
      `Cannot restore a vCPU whose time-stamp counter runs at ${saved.tscKhz} kHz: expected ${tscKhz}`,
    );
  cpu.forgetTranslations();
  restoreVectors(cpu, saved.xsave);
  for (const [i, number] of [0, 1, 2, 3, 6, 7].entries())
    cpu.registers.debug[number] = saved.debug[i] ?? 0n;
  cpu.apic.restore(saved.lapic);
  cpu.msrs.restore(saved.msrs);
  cpu.halted = saved.mpState === "halted";
  cpu.shadowUntil = saved.events.interruptShadow ? cpu.registers.rip : -1n;
  cpu.apic.nmi = saved.events.nmiPending;
  cpu.nmiMasked = saved.events.nmiMasked;
  cpu.modeChanged();
  cpu.interruptsChanged();
  cpu.registers.set32(state.fuel, 0);
}

function saveVectors(cpu: Cpu): Uint8Array {
  const { registers } = cpu;
  const area = new Uint8Array(xsaveBytes);
  const view = new DataView(area.buffer);
  const top = registers.get32(state.ftop);
  view.setUint16(offsets.fcw, registers.get32(state.fcw), true);
  view.setUint16(offsets.fsw, (registers.get32(state.fsw) & 0xc7ff) | (top << 11), true);
  view.setUint8(offsets.tags, registers.get32(state.ftags));
  view.setUint16(offsets.fop, registers.get32(state.fop), true);
  view.setBigUint64(offsets.fip, registers.get64(state.fip), true);
  view.setBigUint64(offsets.fdp, registers.get64(state.fdp), true);
  view.setUint32(offsets.mxcsr, registers.get32(state.mxcsr), true);
  view.setUint32(offsets.mxcsr + 4, 0xffff, true);
  for (let i = 0; i < 8; i++) {
    const at = state.st + ((top + i) & 7) * 16;
    view.setBigUint64(offsets.st + i * 16, registers.get64(at), true);
    view.setUint16(offsets.st + i * 16 + 8, registers.get32(at + 8), true);
  }
  const xmm = layout.state + state.xmm;
  area.set(registers.bytes.subarray(xmm, xmm + 256), offsets.xmm);
  view.setBigUint64(xstateBv, 3n, true);
  return area;
}

function restoreVectors(cpu: Cpu, area: Uint8Array): void {
  if (area.length < xsaveBytes)
    throw new RangeError(`Cannot restore ${area.length} bytes of XSAVE: expected ${xsaveBytes}`);
  const { registers } = cpu;
  const view = new DataView(area.buffer, area.byteOffset, area.byteLength);
  const status = view.getUint16(offsets.fsw, true);
  const top = (status >> 11) & 7;
  registers.set32(state.fcw, view.getUint16(offsets.fcw, true));
  registers.set32(state.fsw, status & 0xc7ff);
  registers.set32(state.ftop, top);
  registers.set32(state.ftags, view.getUint8(offsets.tags));
  registers.set32(state.fop, view.getUint16(offsets.fop, true));
  registers.set64(state.fip, view.getBigUint64(offsets.fip, true));
  registers.set64(state.fdp, view.getBigUint64(offsets.fdp, true));
  registers.set32(state.mxcsr, view.getUint32(offsets.mxcsr, true));
  mxcsrChanged(cpu);
  for (let i = 0; i < 8; i++) {
    const at = state.st + ((top + i) & 7) * 16;
    registers.set64(at, view.getBigUint64(offsets.st + i * 16, true));
    registers.set64(at + 8, BigInt(view.getUint16(offsets.st + i * 16 + 8, true)));
  }
  registers.bytes.set(area.subarray(offsets.xmm, offsets.xmm + 256), layout.state + state.xmm);
}
