/**
 * Far jumps, calls and returns (SDM volume 3A §5.8): between code segments of one privilege level,
 * and returns to an outer one. Gates and task switches raise #GP: no 64-bit system uses them.
 */
import { type Instruction, operandKind } from "../isa/decode.ts";
import { state } from "../state.ts";
import type { Cpu } from "./cpu.ts";
import { GuestFault, generalProtection, vector } from "./fault.ts";
import { attribute, type DescriptorCache, segmentIndex } from "./registers.ts";
import {
  canonical,
  dropPrivilegedSegments,
  loadCodeSegment,
  readDescriptor,
  realSegment,
  stackDescriptor,
} from "./segments.ts";
import { flatStack, GuestStack, stackShape } from "./stack.ts";
import type { Helper } from "./system-instructions.ts";

/** 64-bit code ignores the base, and no other code has addresses above 4 GiB. */
export function checkTarget(descriptor: DescriptorCache, offset: bigint, cpu: Cpu): void {
  const is64 = cpu.isLongMode && (descriptor.attributes & attribute.long) !== 0;
  if (is64 ? !canonical(offset) : offset > BigInt(descriptor.limit >>> 0))
    throw generalProtection();
}

/** The code segment a jump or call may go to, at the current privilege level. */
function targetSegment(cpu: Cpu, selector: number): DescriptorCache {
  const descriptor = readDescriptor(cpu, selector, vector.generalProtection);
  const { attributes } = descriptor;
  const dpl = (attributes >> attribute.dplShift) & 3;
  const conforming = (attributes & 4) !== 0;
  const { cpl } = cpu.registers;
  if ((attributes & 0x18) !== 0x18) throw generalProtection(selector & ~3);
  if (conforming ? dpl > cpl : dpl !== cpl || (selector & 3) > cpl)
    throw generalProtection(selector & ~3);
  if (cpu.isLongMode && (attributes & 0x6000) === 0x6000) throw generalProtection(selector & ~3);
  return descriptor;
}

function enter(cpu: Cpu, selector: number, offset: bigint): void {
  if (cpu.isReal) {
    cpu.registers.setSegment(segmentIndex.cs, selector, realSegment(selector, segmentIndex.cs));
    cpu.modeChanged();
    cpu.jumpTo(offset);
    return;
  }
  const descriptor = targetSegment(cpu, selector);
  checkTarget(descriptor, offset, cpu);
  const { cpl } = cpu.registers;
  loadCodeSegment(cpu, (selector & ~3) | cpl, descriptor, cpl);
  cpu.jumpTo(offset);
}

/** A far pointer in memory or in the instruction. */
function pointer(cpu: Cpu, it: Instruction): { offset: bigint; selector: number } {
  if (it.kinds[0] !== operandKind.memory)
    return {
      offset: BigInt.asUintN(it.size, BigInt(it.immediate)),
      selector: it.immediate2 & 0xffff,
    };
  const at = cpu.registers.get64(state.ea);
  const offset = cpu.readData(at, it.size / 8);
  return { offset, selector: Number(cpu.readData(at + BigInt(it.size / 8), 2)) };
}

const jump: Helper = (cpu, it) => {
  const { offset, selector } = pointer(cpu, it);
  enter(cpu, selector, offset);
  return "leave";
};

const call: Helper = (cpu, it) => {
  const { offset, selector } = pointer(cpu, it);
  const bytes = it.size / 8;
  const stack = new GuestStack(cpu);
  stack.push(bytes, BigInt(cpu.registers.selector(segmentIndex.cs)));
  stack.push(bytes, cpu.codeOffset);
  enter(cpu, selector, offset);
  stack.commit();
  return "leave";
};

const returnFar: Helper = (cpu, it) => {
  const { registers } = cpu;
  const bytes = it.size / 8;
  const extra = it.operandCount > 0 ? it.immediate & 0xffff : 0;
  const stack = new GuestStack(cpu);
  const offset = stack.pop(bytes);
  const selector = Number(stack.pop(bytes) & 0xffffn);
  stack.drop(extra);
  if (cpu.isReal) {
    enter(cpu, selector, offset);
    stack.commit();
    return "leave";
  }
  const cpl = selector & 3;
  if (cpl < registers.cpl) throw generalProtection(selector & ~3);
  const descriptor = returnSegment(cpu, selector);
  checkTarget(descriptor, offset, cpu);
  if (cpl === registers.cpl) {
    loadCodeSegment(cpu, selector, descriptor, cpl);
    stack.commit();
    cpu.jumpTo(offset);
    return "leave";
  }
  const pointer = stack.pop(bytes);
  const ss = Number(stack.pop(bytes) & 0xffffn);
  const outer = stackDescriptor(cpu, ss, descriptor, cpl);
  loadCodeSegment(cpu, selector, descriptor, cpl);
  registers.setSegment(segmentIndex.ss, ss, outer);
  cpu.modeChanged();
  const shape = cpu.is64 ? flatStack : stackShape(outer);
  const moved = (pointer + BigInt(extra)) & shape.mask;
  registers.setGpr(4, moved);
  cpu.jumpTo(offset);
  dropPrivilegedSegments(cpu, cpl);
  return "leave";
};

/** The code segment that a far return or IRET names. */
export function returnSegment(cpu: Cpu, selector: number): DescriptorCache {
  const descriptor = readDescriptor(cpu, selector, vector.generalProtection);
  const { attributes } = descriptor;
  const dpl = (attributes >> attribute.dplShift) & 3;
  const conforming = (attributes & 4) !== 0;
  if ((attributes & 0x18) !== 0x18) throw generalProtection(selector & ~3);
  if (conforming ? dpl > (selector & 3) : dpl !== (selector & 3))
    throw generalProtection(selector & ~3);
  if (cpu.isLongMode && (attributes & 0x6000) === 0x6000) throw generalProtection(selector & ~3);
  if (!(attributes & attribute.present))
    throw new GuestFault(vector.segmentNotPresent, selector & ~3);
  return descriptor;
}

export const farHelpers: Readonly<Record<string, Helper>> = {
  jmpfar: jump,
  jmpptr: jump,
  callfar: call,
  callptr: call,
  retfar: returnFar,
};
