/**
 * Delivery of exceptions and interrupts in IA-32e mode, and the way back (SDM volume 3A §6.14).
 *
 *   frame, pushed downwards from a 16-byte aligned stack: SS, RSP, RFLAGS, CS, RIP [, error code]
 */
import { state } from "../state.ts";
import type { Cpu } from "./cpu.ts";
import { checkTarget, returnSegment } from "./far-transfers.ts";
import {
  combinesToDoubleFault,
  GuestFault,
  generalProtection,
  hasErrorCode,
  vector,
} from "./fault.ts";
import { deliverLegacy } from "./interrupts-legacy.ts";
import { deliverQuickly, returnQuickly } from "./quick-interrupts.ts";
import { segmentIndex } from "./registers.ts";
import {
  canonical,
  dropPrivilegedSegments,
  loadCodeSegment,
  readDescriptor,
  realSegment,
  stackDescriptor,
} from "./segments.ts";
import { flatStack, GuestStack, stackShape } from "./stack.ts";

const flag = { tf: 0x100, if: 0x200, nt: 0x4000, rf: 0x1_0000, vm: 0x2_0000 } as const;

export type InterruptKind = "exception" | "software" | "external";

/** Takes the gate of `number`; faults while doing so are thrown. RIP must be what to return to. */
export function deliver(cpu: Cpu, number: number, errorCode: number, kind: InterruptKind): void {
  const { registers } = cpu;
  if (!cpu.isLongMode) {
    deliverLegacy(cpu, number, errorCode, kind);
    return;
  }
  if (deliverQuickly(cpu, number, errorCode, kind)) return;
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
  const dplOfCode = (descriptor.attributes >> 5) & 3;
  const newCpl = descriptor.attributes & 4 ? registers.cpl : dplOfCode;
  if ((descriptor.attributes & 0x6018) !== 0x2018 || dplOfCode > registers.cpl)
    throw generalProtection(selector & ~3);
  if (!(descriptor.attributes & 0x80))
    throw new GuestFault(vector.segmentNotPresent, selector & ~3);

  const oldRsp = registers.gpr(4);
  const oldSs = registers.selector(segmentIndex.ss);
  const oldCs = registers.selector(segmentIndex.cs);
  let rsp = oldRsp;
  if (ist !== 0) rsp = cpu.readSystem(taskState(cpu, 0x1c + ist * 8), 8);
  else if (newCpl < registers.cpl) rsp = cpu.readSystem(taskState(cpu, 4 + newCpl * 8), 8);
  if (!canonical(rsp)) throw new GuestFault(vector.stackFault);
  rsp &= ~15n;
  const rflags = BigInt(pushedFlags(cpu, number, kind));
  const words = [BigInt(oldSs), oldRsp, rflags, BigInt(oldCs), cpu.codeOffset];
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

/** An exception, and what becomes of the faults that delivering it raises. SDM volume 3A §6.15. */
export function deliverFault(cpu: Cpu, first: GuestFault): "delivered" | "triple fault" {
  const counts = cpu.statistics.exceptions;
  let fault = first;
  for (;;) {
    counts[fault.vector] = (counts[fault.vector] ?? 0) + 1;
    if (fault.vector === vector.pageFault) {
      cpu.registers.set32(state.cr2, fault.low);
      cpu.registers.set32(state.cr2 + 4, fault.high);
    }
    try {
      deliver(cpu, fault.vector, hasErrorCode(fault.vector) ? fault.errorCode : 0, "exception");
      return "delivered";
    } catch (second) {
      if (!(second instanceof GuestFault)) throw second;
      if (fault.vector === vector.doubleFault) return "triple fault";
      const combines = combinesToDoubleFault(fault.vector, second.vector);
      fault = combines ? new GuestFault(vector.doubleFault) : second;
    }
  }
}

/** Faults push RF set, so that coming back does not break at the same place. SDM vol. 3B §17.3.1.1. */
export function pushedFlags(cpu: Cpu, number: number, kind: InterruptKind): number {
  const isFault = kind === "exception" && number !== vector.debug;
  return cpu.registers.rflags | (isFault ? flag.rf : 0);
}

function taskState(cpu: Cpu, offset: number): bigint {
  const task = cpu.registers.segment(segmentIndex.tr);
  if (offset + 7 > task.limit >>> 0)
    throw new GuestFault(vector.invalidTss, cpu.registers.selector(segmentIndex.tr) & ~7);
  return task.base + BigInt(offset);
}

/** IRET. In IA-32e mode 64-bit code always pops SS:RSP, all other code only to an outer level. */
export function interruptReturn(cpu: Cpu, size: number): void {
  if (size === 64 && returnQuickly(cpu)) return;
  const { registers } = cpu;
  const bytes = size / 8;
  if (!cpu.isReal && registers.get32(state.eflags) & flag.nt) throw generalProtection();
  const stack = new GuestStack(cpu);
  const offset = stack.pop(bytes);
  const cs = Number(stack.pop(bytes) & 0xffffn);
  const rflags = Number(stack.pop(bytes) & 0xffff_ffffn);
  if (cpu.isReal) {
    const changeable = size === 16 ? 0x7fd5 : 0x24_7fd5 | flag.rf;
    registers.rflags = (registers.rflags & ~changeable) | (rflags & changeable);
    registers.setSegment(segmentIndex.cs, cs, realSegment(cs, segmentIndex.cs));
    stack.commit();
    cpu.modeChanged();
    cpu.jumpTo(offset);
    return;
  }
  const oldCpl = registers.cpl;
  const newCpl = cs & 3;
  // Virtual-8086 mode exists only outside IA-32e mode, and not here.
  if (!cpu.isLongMode && rflags & flag.vm && oldCpl === 0) throw generalProtection();
  if (newCpl < oldCpl) throw generalProtection(cs & ~3);
  const descriptor = returnSegment(cpu, cs);
  const popsStack = cpu.is64 || newCpl !== oldCpl;
  const pointer = popsStack ? stack.pop(bytes) : 0n;
  const ss = popsStack ? Number(stack.pop(bytes) & 0xffffn) : 0;
  checkTarget(descriptor, offset, cpu);
  const outer = popsStack ? stackDescriptor(cpu, ss, descriptor, newCpl) : undefined;

  let changeable = 0x24_4dd5 | flag.rf;
  if (size === 16) changeable &= 0xffff;
  if (oldCpl === 0) changeable |= 0x3000 | (size === 16 ? 0 : 0x18_0000);
  if (oldCpl <= ((registers.get32(state.eflags) >> 12) & 3)) changeable |= flag.if;
  registers.rflags = (registers.rflags & ~changeable) | (rflags & changeable);
  const from64 = cpu.is64;
  loadCodeSegment(cpu, cs, descriptor, newCpl);
  if (outer) {
    registers.setSegment(segmentIndex.ss, ss, outer);
    cpu.modeChanged();
    const mask = from64 && size === 64 ? flatStack.mask : stackShape(outer).mask;
    registers.setGpr(4, from64 ? pointer : (registers.gpr(4) & ~mask) | (pointer & mask));
  } else stack.commit();
  cpu.jumpTo(offset);
  if (newCpl > oldCpl) dropPrivilegedSegments(cpu, newCpl);
}
