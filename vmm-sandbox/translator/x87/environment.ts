/**
 * x87's control instructions, which ignore pending exceptions or only move state: FNINIT, FNCLEX,
 * FLDCW, FNSTCW, FNSTSW, FNSTENV, FLDENV, FNSAVE, FRSTOR (SDM volume 1 §8.1.10, figures 8-9 to
 * 8-12: the 28-byte protected-mode image; 16-bit images are not offered).
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

function storeEnvironment(cpu: Cpu, at: bigint): void {
  const { registers } = cpu;
  const words = [
    registers.get32(state.fcw) | 0xffff_0000,
    statusWord(cpu) | 0xffff_0000,
    tagWord(cpu) | 0xffff_0000,
    Number(registers.get64(state.fip) & 0xffff_ffffn),
    registers.get32(state.fop) << 16,
    Number(registers.get64(state.fdp) & 0xffff_ffffn),
    0xffff_0000,
  ];
  for (const [i, word] of words.entries()) cpu.writeData(at + BigInt(i * 4), 4, BigInt(word >>> 0));
}

function loadEnvironment(cpu: Cpu, at: bigint): void {
  const { registers } = cpu;
  const word = (i: number): number => Number(cpu.readData(at + BigInt(i * 4), 4));
  const [control, status, tags] = [word(0), word(1), word(2)];
  registers.set64(state.fip, BigInt(word(3)));
  registers.set64(state.fdp, BigInt(word(5)));
  setControl(cpu, control & 0xffff);
  setStatusWord(cpu, status & 0xffff);
  let used = 0;
  for (let i = 0; i < 8; i++) if (((tags >> (i * 2)) & 3) !== 3) used |= 1 << i;
  registers.set32(state.ftags, used);
  summarize(cpu);
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

function save(cpu: Cpu, at: bigint): void {
  const { registers } = cpu;
  storeEnvironment(cpu, at);
  const top = registers.get32(state.ftop);
  for (let i = 0; i < 8; i++) {
    const from = state.st + ((top + i) & 7) * 16;
    cpu.writeData(at + BigInt(28 + i * 10), 8, registers.get64(from));
    cpu.writeData(at + BigInt(36 + i * 10), 2, BigInt(registers.get32(from + 8) & 0xffff));
  }
  initialize(cpu);
}

function restore(cpu: Cpu, at: bigint): void {
  const { registers } = cpu;
  loadEnvironment(cpu, at);
  const top = registers.get32(state.ftop);
  for (let i = 0; i < 8; i++) {
    const to = state.st + ((top + i) & 7) * 16;
    registers.set64(to, cpu.readData(at + BigInt(28 + i * 10), 8));
    registers.set64(to + 8, cpu.readData(at + BigInt(36 + i * 10), 2));
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
      loadEnvironment(cpu, at);
      return true;
    case "d9/5":
      waiting(cpu);
      setControl(cpu, Number(cpu.readData(at, 2)));
      summarize(cpu);
      return true;
    case "d9/6":
      storeEnvironment(cpu, at);
      registers.set32(state.fcw, registers.get32(state.fcw) | 0x3f); // masks all afterwards
      return true;
    case "d9/7":
      cpu.writeData(at, 2, BigInt(registers.get32(state.fcw) & 0xffff));
      return true;
    case "dd/4":
      waiting(cpu);
      restore(cpu, at);
      return true;
    case "dd/6":
      save(cpu, at);
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
