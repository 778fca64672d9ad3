/**
 * x87's control instructions, which ignore pending exceptions or only move state: FNINIT, FNCLEX,
 * FLDCW, FNSTCW, FNSTSW, FNSTENV, FLDENV, FNSAVE, FRSTOR (SDM volume 1 §8.1.10, figures 8-9 to
 * 8-12: images of 14 or 28 bytes, in protected and real mode).
 */
import type { Instruction } from "../isa/decode.ts";
import { state } from "../state.ts";
import type { Cpu } from "../system/cpu.ts";
import { GuestFault, vector } from "../system/fault.ts";

function statusWord(cpu: Cpu): number {
  const { registers } = cpu;
  return (registers.get32(state.fsw) & 0xc7ff) | (registers.get32(state.ftop) << 11);
}

function setStatusWord(cpu: Cpu, value: number): void {
  cpu.registers.set32(state.fsw, value & 0xc7ff);
  cpu.registers.set32(state.ftop, (value >> 11) & 7);
}

function initialize(cpu: Cpu): void {
  const { registers } = cpu;
  registers.set32(state.fcw, 0x37f);
  setStatusWord(cpu, 0);
  registers.set32(state.ftags, 0);
  registers.set32(state.fop, 0);
  registers.set64(state.fip, 0n);
  registers.set64(state.fdp, 0n);
}

/** The full tag word: 0 valid, 1 zero, 2 special, 3 empty. */
function tagWord(cpu: Cpu): number {
  let word = 0;
  for (let i = 0; i < 8; i++) word |= tagOf(cpu, i) << (i * 2);
  return word;
}

function tagOf(cpu: Cpu, physical: number): number {
  const { registers } = cpu;
  if (!((registers.get32(state.ftags) >> physical) & 1)) return 3;
  const mantissa = registers.get64(state.st + physical * 16);
  const exponent = registers.get32(state.st + physical * 16 + 8) & 0x7fff;
  if (exponent === 0 && mantissa === 0n) return 1;
  return exponent === 0 || exponent === 0x7fff || !(mantissa >> 63n) ? 2 : 0;
}

/** Seven fields, of 2 or 4 bytes; real mode splits the linear addresses of the pointers. */
function environmentFields(cpu: Cpu): readonly number[] {
  const { registers } = cpu;
  const [fip, fdp] = [state.fip, state.fdp].map((at) => Number(registers.get64(at) & 0xffff_ffffn));
  const opcode = registers.get32(state.fop) & 0x7ff;
  const words = [registers.get32(state.fcw) & 0xffff, statusWord(cpu), tagWord(cpu)];
  if (!cpu.isReal) return [...words, fip ?? 0, opcode << 16, fdp ?? 0, 0];
  const high = (address = 0): number => (address >>> 4) & 0xf000;
  return [...words, (fip ?? 0) & 0xffff, high(fip) | opcode, (fdp ?? 0) & 0xffff, high(fdp)];
}

/** `size`: 16 or 32, the operand's; 64-bit code uses the 32-bit form. Returns the image's length. */
function storeEnvironment(cpu: Cpu, at: bigint, size: number): number {
  const bytes = size === 16 ? 2 : 4;
  for (const [i, field] of environmentFields(cpu).entries()) {
    // The upper halves of the words are reserved and written as ones.
    const isPointer = i === 3 || i === 5 || (i === 4 && !cpu.isReal);
    const value = bytes === 2 || isPointer ? field : field | 0xffff_0000;
    cpu.writeData(at + BigInt(i * bytes), bytes, BigInt.asUintN(bytes * 8, BigInt(value >>> 0)));
  }
  return bytes * 7;
}

function loadEnvironment(cpu: Cpu, at: bigint, size: number): number {
  const { registers } = cpu;
  const bytes = size === 16 ? 2 : 4;
  const word = (i: number): number => Number(cpu.readData(at + BigInt(i * bytes), bytes));
  const [control, status, tags, fip, fdp] = [word(0), word(1), word(2), word(3), word(5)];
  word(6);
  registers.set64(state.fip, BigInt(fip));
  registers.set64(state.fdp, BigInt(fdp));
  setControl(cpu, control & 0xffff);
  setStatusWord(cpu, status & 0xffff);
  let used = 0;
  for (let i = 0; i < 8; i++) if (((tags >> (i * 2)) & 3) !== 3) used |= 1 << i;
  registers.set32(state.ftags, used);
  summarize(cpu);
  return bytes * 7;
}

function setControl(cpu: Cpu, value: number): void {
  // Bit 6 reads as one, bits 7 and 13 to 15 as zero.
  cpu.registers.set32(state.fcw, (value & 0x1f7f) | 0x40);
}

function summarize(cpu: Cpu): void {
  const status = cpu.registers.get32(state.fsw);
  const unmasked = status & ~cpu.registers.get32(state.fcw) & 0x3f;
  cpu.registers.set32(state.fsw, unmasked ? status | 0x8080 : status & ~0x8080);
}

function save(cpu: Cpu, at: bigint, size: number): void {
  const { registers } = cpu;
  const head = storeEnvironment(cpu, at, size);
  const top = registers.get32(state.ftop);
  for (let i = 0; i < 8; i++) {
    const from = state.st + ((top + i) & 7) * 16;
    cpu.writeData(at + BigInt(head + i * 10), 8, registers.get64(from));
    cpu.writeData(at + BigInt(head + 8 + i * 10), 2, BigInt(registers.get32(from + 8) & 0xffff));
  }
  initialize(cpu);
}

function restore(cpu: Cpu, at: bigint, size: number): void {
  const { registers } = cpu;
  const head = loadEnvironment(cpu, at, size);
  const top = registers.get32(state.ftop);
  for (let i = 0; i < 8; i++) {
    const to = state.st + ((top + i) & 7) * 16;
    registers.set64(to, cpu.readData(at + BigInt(head + i * 10), 8));
    registers.set64(to + 8, cpu.readData(at + BigInt(head + 8 + i * 10), 2));
  }
}

/** Executes a control instruction; false when it is none. */
export function environmentHelpers(
  cpu: Cpu,
  it: Instruction,
  reg: number,
  isMemory: boolean,
): boolean {
  const { registers } = cpu;
  const at = registers.get64(state.ea);
  const key = `${it.opcode.toString(16)}/${isMemory ? reg : it.modRm.toString(16)}`;
  switch (key) {
    case "d9/4":
      waiting(cpu);
      loadEnvironment(cpu, at, it.size);
      return true;
    case "d9/5":
      waiting(cpu);
      setControl(cpu, Number(cpu.readData(at, 2)));
      summarize(cpu);
      return true;
    case "d9/6":
      storeEnvironment(cpu, at, it.size);
      registers.set32(state.fcw, registers.get32(state.fcw) | 0x3f); // masks all afterwards
      return true;
    case "d9/7":
      cpu.writeData(at, 2, BigInt(registers.get32(state.fcw) & 0xffff));
      return true;
    case "dd/4":
      waiting(cpu);
      restore(cpu, at, it.size);
      return true;
    case "dd/6":
      save(cpu, at, it.size);
      return true;
    case "dd/7":
      cpu.writeData(at, 2, BigInt(statusWord(cpu)));
      return true;
    case "db/e2":
      registers.set32(state.fsw, registers.get32(state.fsw) & 0x4700);
      return true;
    case "db/e3":
      initialize(cpu);
      return true;
    case "df/e0":
      registers.setGpr(0, (registers.gpr(0) & ~0xffffn) | BigInt(statusWord(cpu)));
      return true;
    default:
      return false;
  }
}

function waiting(cpu: Cpu): void {
  if (cpu.registers.get32(state.fsw) & 0x80) throw new GuestFault(vector.mathFault);
}
