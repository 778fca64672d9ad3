/**
 * Delivery of exceptions and interrupts in IA-32e mode, and the way back (SDM volume 3A §6.14).
 *
 *   frame, pushed downwards from a 16-byte aligned stack: SS, RSP, RFLAGS, CS, RIP [, error code]
 */
import { state } from "../state.ts";
import type { Cpu } from "./cpu.ts";
import { GuestFault, generalProtection, hasErrorCode, vector } from "./fault.ts";
import { segmentIndex } from "./registers.ts";
import { canonical, loadCodeSegment, readDescriptor } from "./segments.ts";

const flag = { tf: 0x100, if: 0x200, nt: 0x4000, rf: 0x1_0000, vm: 0x2_0000 } as const;

export type InterruptKind = "exception" | "software" | "external";

/** Takes the gate of `number`; faults while doing so are thrown. RIP must be what to return to. */
export function deliver(cpu: Cpu, number: number, errorCode: number, kind: InterruptKind): void {
  const { registers } = cpu;
  const code = number * 8 + 2 + (kind === "external" ? 1 : 0);
  if (number * 16 + 15 > registers.idt.limit) throw generalProtection(code);
  const gate = registers.idt.base + BigInt(number * 16);
  const low = cpu.readSystem(gate, 8);
  const high = cpu.readSystem(gate + 8n, 8);
  const type = Number((low >> 40n) & 0xfn);
  const dpl = Number((low >> 45n) & 3n);
  if (type !== 14 && type !== 15) throw generalProtection(code);
  if (kind === "software" && dpl < registers.cpl) throw generalProtection(code);
  if (!((low >> 47n) & 1n)) throw new GuestFault(vector.segmentNotPresent, code);
  const target = (low & 0xffffn) | ((low >> 32n) & 0xffff_0000n) | ((high & 0xffff_ffffn) << 32n);
  const selector = Number((low >> 16n) & 0xffffn);
  const ist = Number((low >> 32n) & 7n);
  const descriptor = readDescriptor(cpu, selector, vector.generalProtection);
  const newCpl = descriptor.attributes & 4 ? registers.cpl : (descriptor.attributes >> 5) & 3;
  if (!(descriptor.attributes & 0x2000)) throw generalProtection(selector & ~7);

  const oldRsp = registers.gpr(4);
  const oldSs = registers.selector(segmentIndex.ss);
  const oldCs = registers.selector(segmentIndex.cs);
  let rsp = oldRsp;
  if (ist !== 0) rsp = cpu.readSystem(taskState(cpu, 0x1c + ist * 8), 8);
  else if (newCpl < registers.cpl) rsp = cpu.readSystem(taskState(cpu, 4 + newCpl * 8), 8);
  rsp &= ~15n;
  const rflags = BigInt(registers.rflags);
  const words = [BigInt(oldSs), oldRsp, rflags, BigInt(oldCs), registers.rip];
  if (kind === "exception" && hasErrorCode(number)) words.push(BigInt(errorCode >>> 0));
  for (const word of words) {
    rsp = BigInt.asUintN(64, rsp - 8n);
    cpu.writeSystem(rsp, 8, word, newCpl === 3);
  }
  registers.setGpr(4, rsp);
  if (newCpl !== registers.cpl)
    registers.setSegment(segmentIndex.ss, newCpl, { base: 0n, limit: -1, attributes: 0 });
  loadCodeSegment(cpu, (selector & ~3) | newCpl, descriptor, newCpl);
  const cleared = flag.tf | flag.nt | flag.rf | flag.vm | (type === 14 ? flag.if : 0);
  registers.set32(state.eflags, registers.get32(state.eflags) & ~cleared);
  registers.rip = target;
}

function taskState(cpu: Cpu, offset: number): bigint {
  const task = cpu.registers.segment(segmentIndex.tr);
  if (offset + 7 > task.limit >>> 0)
    throw new GuestFault(vector.invalidTss, cpu.registers.selector(segmentIndex.tr) & ~7);
  return task.base + BigInt(offset);
}

/** IRETQ and IRETD in 64-bit mode. */
export function interruptReturn(cpu: Cpu, size: number): void {
  const { registers } = cpu;
  const bytes = size / 8;
  if (registers.get32(state.eflags) & flag.nt) throw generalProtection();
  let rsp = registers.gpr(4);
  const pop = (): bigint => {
    const value = cpu.readData(rsp, bytes);
    rsp = BigInt.asUintN(64, rsp + BigInt(bytes));
    return value;
  };
  const rip = pop();
  const cs = Number(pop() & 0xffffn);
  const rflags = Number(pop() & 0xffff_ffffn);
  const newRsp = pop();
  const ss = Number(pop() & 0xffffn);
  const newCpl = cs & 3;
  if (newCpl < registers.cpl) throw generalProtection(cs & ~3);
  const descriptor = readDescriptor(cpu, cs, vector.generalProtection);
  if ((descriptor.attributes & 0x18) !== 0x18) throw generalProtection(cs & ~3);
  if (descriptor.attributes & 0x2000 && !canonical(rip)) throw generalProtection();
  const stack = (ss & ~3) === 0 ? undefined : readDescriptor(cpu, ss, vector.generalProtection);
  if (!stack && newCpl === 3) throw generalProtection();

  const oldCpl = registers.cpl;
  let changeable = 0x24_4dd5 | flag.rf;
  if (size === 16) changeable &= 0xffff;
  if (oldCpl === 0) changeable |= 0x3000 | 0x18_0000;
  if (oldCpl <= ((registers.get32(state.eflags) >> 12) & 3)) changeable |= flag.if;
  registers.rflags = (registers.rflags & ~changeable) | (rflags & changeable);
  loadCodeSegment(cpu, cs, descriptor, newCpl);
  registers.setSegment(segmentIndex.ss, ss, stack ?? { base: 0n, limit: -1, attributes: 0 });
  registers.setGpr(4, newRsp);
  registers.rip = rip;
  if (newCpl > oldCpl) dropPrivilegedSegments(cpu, newCpl);
}

/** SDM volume 2, IRET: data segments more privileged than the new CPL become null. */
function dropPrivilegedSegments(cpu: Cpu, cpl: number): void {
  for (const segment of [segmentIndex.es, segmentIndex.ds, segmentIndex.fs, segmentIndex.gs]) {
    const { attributes } = cpu.registers.segment(segment);
    const dpl = (attributes >> 5) & 3;
    const conforming = (attributes & 0x1c) === 0x1c;
    if (cpu.registers.selector(segment) !== 0 && dpl < cpl && !conforming)
      cpu.registers.setSegment(segment, 0, { base: 0n, limit: 0, attributes: 0 });
  }
}
