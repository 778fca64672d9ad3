/**
 * What only 16- and 32-bit code has, and the stack instructions too rare for emitters: decimal
 * arithmetic, BOUND, ARPL, PUSHA, ENTER, far pointers into segment registers (SDM volume 2, by name).
 */
import { operandKind } from "../isa/decode.ts";
import { state } from "../state.ts";
import type { Cpu } from "./cpu.ts";
import { GuestFault, vector } from "./fault.ts";
import { loadDataSegment } from "./segments.ts";
import { GuestStack } from "./stack.ts";
import type { Helper } from "./system-instructions.ts";

const [cf, pf, af, zf, sf] = [1, 4, 0x10, 0x40, 0x80];

const al = (cpu: Cpu): number => cpu.registers.gpr32(0) & 0xff;
const ah = (cpu: Cpu): number => (cpu.registers.gpr32(0) >> 8) & 0xff;

function setAx(cpu: Cpu, value: number): void {
  cpu.registers.setGpr(0, (cpu.registers.gpr(0) & ~0xffffn) | BigInt(value & 0xffff));
}

/** The flags in `changed`, computed from a byte where they follow from the result. */
function setFlags(cpu: Cpu, values: number, result?: number): void {
  let flags = (cpu.registers.rflags & ~(cf | af)) | values;
  if (result !== undefined) {
    flags &= ~(pf | zf | sf);
    let parity = result ^ (result >> 4);
    parity ^= parity >> 2;
    parity ^= parity >> 1;
    flags |= (parity & 1 ? 0 : pf) | (result === 0 ? zf : 0) | (result & 0x80);
  }
  cpu.registers.rflags = flags;
}

/** DAA and DAS. */
function decimalAdjust(sign: 1 | -1): Helper {
  return (cpu) => {
    const old = al(cpu);
    const { rflags } = cpu.registers;
    let value = old;
    let flags = 0;
    if ((old & 15) > 9 || rflags & af) {
      value += 6 * sign;
      flags |= af;
      // A carry out of AL here survives only when nothing is added below.
      if (sign === -1 && value < 0) flags |= cf;
    }
    if (old > 0x99 || rflags & cf) {
      value += 0x60 * sign;
      flags |= cf;
    }
    setAx(cpu, (ah(cpu) << 8) | (value & 0xff));
    setFlags(cpu, flags, value & 0xff);
    return "continue";
  };
}

/** AAA and AAS. */
function asciiAdjust(sign: 1 | -1): Helper {
  return (cpu) => {
    const adjust = (al(cpu) & 15) > 9 || (cpu.registers.rflags & af) !== 0;
    const ax = cpu.registers.gpr32(0) & 0xffff;
    const value = adjust ? ax + sign * 0x106 : ax;
    setAx(cpu, value & 0xff0f);
    setFlags(cpu, adjust ? cf | af : 0);
    return "continue";
  };
}

const aam: Helper = (cpu, it) => {
  const base = it.immediate & 0xff;
  if (base === 0) throw new GuestFault(vector.divideError);
  const low = al(cpu) % base;
  setAx(cpu, (Math.floor(al(cpu) / base) << 8) | low);
  setFlags(cpu, 0, low);
  return "continue";
};

const aad: Helper = (cpu, it) => {
  const low = (al(cpu) + ah(cpu) * (it.immediate & 0xff)) & 0xff;
  setAx(cpu, low);
  setFlags(cpu, 0, low);
  return "continue";
};

const salc: Helper = (cpu) => {
  setAx(cpu, (ah(cpu) << 8) | (cpu.registers.rflags & cf ? 0xff : 0));
  return "continue";
};

const pushAll: Helper = (cpu, it) => {
  const stack = new GuestStack(cpu);
  const bytes = it.size / 8;
  const pointer = cpu.registers.gpr(4);
  for (let i = 0; i < 8; i++) stack.push(bytes, i === 4 ? pointer : cpu.registers.gpr(i));
  stack.commit();
  return "continue";
};

const popAll: Helper = (cpu, it) => {
  const stack = new GuestStack(cpu);
  const values = Array.from({ length: 8 }, () => stack.pop(it.size / 8));
  for (const [i, value] of values.entries()) {
    const register = 7 - i;
    const kept = it.size === 16 ? cpu.registers.gpr(register) & ~0xffffn : 0n;
    if (register !== 4) cpu.registers.setGpr(register, kept | value);
  }
  stack.commit();
  return "continue";
};

const bound: Helper = (cpu, it) => {
  const at = cpu.registers.get64(state.ea);
  const size = it.size;
  const index = BigInt.asIntN(size, cpu.registers.gpr(it.values[0] as number));
  const low = BigInt.asIntN(size, cpu.readData(at, size / 8));
  const high = BigInt.asIntN(size, cpu.readData(at + BigInt(size / 8), size / 8));
  if (index < low || index > high) throw new GuestFault(vector.boundRange);
  return "continue";
};

/** ARPL raises a selector's privilege number to that of another. */
const arpl: Helper = (cpu, it) => {
  if (cpu.isReal) throw new GuestFault(vector.invalidOpcode);
  const { registers } = cpu;
  const inMemory = it.kinds[0] === operandKind.memory;
  const at = registers.get64(state.ea);
  const register = it.values[0] as number;
  const old = Number((inMemory ? cpu.readData(at, 2) : registers.gpr(register)) & 0xffffn);
  const wanted = registers.gpr32(it.values[1] as number) & 3;
  const lower = (old & 3) < wanted;
  if (lower) {
    const value = BigInt((old & ~3) | wanted);
    if (inMemory) cpu.writeData(at, 2, value);
    else registers.setGpr(register, (registers.gpr(register) & ~0xffffn) | value);
  }
  registers.rflags = lower ? registers.rflags | zf : registers.rflags & ~zf;
  return "continue";
};

/** LDS, LES, LSS, LFS, LGS. */
const loadFarPointer: Helper = (cpu, it) => {
  const { registers } = cpu;
  const at = registers.get64(state.ea);
  const bytes = it.size / 8;
  const offset = cpu.readData(at, bytes);
  const selector = Number(cpu.readData(at + BigInt(bytes), 2));
  const segments: Readonly<Record<number, number>> = {
    196: 0,
    197: 3,
    178: 2,
    180: 4,
    181: 5,
  };
  loadDataSegment(cpu, segments[it.opcode] as number, selector);
  const register = it.values[0] as number;
  const kept = it.size === 16 ? registers.gpr(register) & ~0xffffn : 0n;
  registers.setGpr(register, kept | offset);
  if (it.opcode === 0xb2) cpu.shadowUntil = registers.rip;
  return "leave";
};

/** ENTER: a frame with copies of the frame pointers of the procedures around it. */
const enter: Helper = (cpu, it) => {
  const { registers } = cpu;
  const bytes = it.size / 8;
  const level = it.immediate2 & 31;
  const stack = new GuestStack(cpu);
  stack.push(bytes, registers.gpr(5));
  const frame = stack.top;
  if (level > 0) {
    const outer = new GuestStack(cpu, registers.gpr(5));
    for (let i = 1; i < level; i++) stack.push(bytes, outer.peek(-bytes * i, bytes));
    stack.push(bytes, frame);
  }
  stack.drop(-(it.immediate & 0xffff));
  // The processor faults here when the new top cannot be written.
  cpu.checkWritable(stack.linearTop, bytes);
  const kept = it.size === 16 ? registers.gpr(5) & ~0xffffn : 0n;
  registers.setGpr(5, kept | BigInt.asUintN(it.size, frame));
  stack.commit();
  return "continue";
};

export const legacyHelpers: Readonly<Record<string, Helper>> = {
  daa: decimalAdjust(1),
  das: decimalAdjust(-1),
  aaa: asciiAdjust(1),
  aas: asciiAdjust(-1),
  aam,
  aad,
  salc,
  pusha: pushAll,
  popa: popAll,
  bound,
  arpl,
  lfar: loadFarPointer,
  enter,
};
