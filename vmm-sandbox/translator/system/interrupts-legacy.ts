/**
 * Delivery of exceptions and interrupts outside IA-32e mode: 8-byte gates in protected mode
 * (SDM volume 3A §6.12), the vector table of real mode (§20.1.4). Task gates raise #GP.
 *
 *   protected  [SS, ESP of an inner level,] EFLAGS, CS, EIP [, error code], 2 or 4 bytes each
 *   real       FLAGS, CS, IP
 */
import { state } from "../state.ts";
import type { Cpu } from "./cpu.ts";
import { checkTarget } from "./far-transfers.ts";
import { GuestFault, generalProtection, hasErrorCode, vector } from "./fault.ts";
import { type InterruptKind, pushedFlags } from "./interrupts.ts";
import { segmentIndex } from "./registers.ts";
import { loadCodeSegment, readDescriptor, realSegment, stackDescriptor } from "./segments.ts";
import { GuestStack, stackShape } from "./stack.ts";

const flag = { tf: 0x100, if: 0x200, nt: 0x4000, rf: 0x1_0000, vm: 0x2_0000 } as const;

export function deliverLegacy(
  cpu: Cpu,
  number: number,
  errorCode: number,
  kind: InterruptKind,
): void {
  if (cpu.isReal) deliverReal(cpu, number);
  else deliverProtected(cpu, number, errorCode, kind);
}

function deliverReal(cpu: Cpu, number: number): void {
  const { registers } = cpu;
  if (number * 4 + 3 > registers.idt.limit) throw generalProtection();
  const entry = cpu.readSystem(registers.idt.base + BigInt(number * 4), 4);
  const stack = new GuestStack(cpu);
  stack.push(2, BigInt(registers.rflags & 0xffff));
  stack.push(2, BigInt(registers.selector(segmentIndex.cs)));
  stack.push(2, cpu.codeOffset);
  stack.commit();
  const cs = Number(entry >> 16n);
  registers.setSegment(segmentIndex.cs, cs, realSegment(cs, segmentIndex.cs));
  cpu.modeChanged();
  clearFlags(cpu, true);
  cpu.jumpTo(entry & 0xffffn);
}

function clearFlags(cpu: Cpu, interrupts: boolean): void {
  const cleared = flag.tf | flag.nt | flag.rf | flag.vm | (interrupts ? flag.if : 0);
  cpu.registers.set32(state.eflags, cpu.registers.get32(state.eflags) & ~cleared);
}

function deliverProtected(cpu: Cpu, number: number, errorCode: number, kind: InterruptKind): void {
  const { registers } = cpu;
  const code = number * 8 + 2 + (kind === "external" ? 1 : 0);
  if (number * 8 + 7 > registers.idt.limit) throw generalProtection(code);
  const gate = cpu.readSystem(registers.idt.base + BigInt(number * 8), 8);
  const type = Number((gate >> 40n) & 0x1fn);
  const is32 = (type & 8) !== 0;
  const dpl = Number((gate >> 45n) & 3n);
  if (![6, 7, 14, 15].includes(type)) throw generalProtection(code);
  if (kind === "software" && dpl < registers.cpl) throw generalProtection(code);
  if (!((gate >> 47n) & 1n)) throw new GuestFault(vector.segmentNotPresent, code);
  const selector = Number((gate >> 16n) & 0xffffn);
  const offset = (gate & 0xffffn) | (is32 ? (gate >> 32n) & 0xffff_0000n : 0n);
  const descriptor = readDescriptor(cpu, selector, vector.generalProtection);
  const codeDpl = (descriptor.attributes >> 5) & 3;
  if ((descriptor.attributes & 0x18) !== 0x18 || codeDpl > registers.cpl)
    throw generalProtection(selector & ~3);
  if (!(descriptor.attributes & 0x80))
    throw new GuestFault(vector.segmentNotPresent, selector & ~3);
  checkTarget(descriptor, offset, cpu);
  const cpl = descriptor.attributes & 4 ? registers.cpl : codeDpl;

  const bytes = is32 ? 4 : 2;
  const [oldSs, oldRsp] = [registers.selector(segmentIndex.ss), registers.gpr(4)];
  const inner = cpl < registers.cpl ? innerStack(cpu, cpl, descriptor) : undefined;
  const stack = inner
    ? new GuestStack(cpu, inner.pointer, stackShape(inner.segment), false)
    : new GuestStack(cpu);
  if (inner) {
    stack.push(bytes, BigInt(oldSs));
    stack.push(bytes, oldRsp);
  }
  stack.push(bytes, BigInt(pushedFlags(cpu, number, kind)));
  stack.push(bytes, BigInt(registers.selector(segmentIndex.cs)));
  stack.push(bytes, cpu.codeOffset);
  if (kind === "exception" && hasErrorCode(number)) stack.push(bytes, BigInt(errorCode >>> 0));
  stack.commit();
  if (inner) registers.setSegment(segmentIndex.ss, inner.selector, inner.segment);
  loadCodeSegment(cpu, (selector & ~3) | cpl, descriptor, cpl);
  clearFlags(cpu, (type & 1) === 0);
  cpu.jumpTo(offset);
}

/** SS and ESP of an inner level, from a 32- or 16-bit TSS. */
function innerStack(cpu: Cpu, cpl: number, code: Parameters<typeof stackDescriptor>[2]) {
  const task = cpu.registers.segment(segmentIndex.tr);
  const is32 = (task.attributes & 8) !== 0;
  const at = is32 ? 4 + cpl * 8 : 2 + cpl * 4;
  if (at + (is32 ? 5 : 3) > task.limit >>> 0)
    throw new GuestFault(vector.invalidTss, cpu.registers.selector(segmentIndex.tr) & ~3);
  const pointer = cpu.readSystem(task.base + BigInt(at), is32 ? 4 : 2);
  const selector = Number(cpu.readSystem(task.base + BigInt(at + (is32 ? 4 : 2)), 2));
  return { pointer, selector, segment: stackDescriptor(cpu, selector, code, cpl) };
}
