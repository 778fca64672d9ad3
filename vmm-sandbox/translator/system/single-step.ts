/**
 * One instruction at a time: RFLAGS.TF, the debug registers (SDM volume 3B §17.2 and §17.3), the
 * FPU's absence (CR0.TS, CR0.EM), and programs that want their alignment checked (RFLAGS.AC). Code that any of these watches is translated afresh for each
 * step and forgotten, so that ordinary code pays nothing.
 */
import { type Instruction, noRegister, operandKind, ripRegister } from "../isa/decode.ts";
import { delegated, state } from "../state.ts";
import { checksAlignment, isMisaligned } from "./alignment.ts";
import type { Cpu } from "./cpu.ts";
import { GuestFault, vector } from "./fault.ts";
import { executeDelegated } from "./soft-sse.ts";

const trapFlag = 0x100;
const resumeFlag = 0x1_0000;
const singleStepped = 0x4000n; // DR6.BS
const debugAccess = 0x2000n; // DR6.BD
const generalDetect = 0x2000n; // DR7.GD
const statusOnes = 0xffff_0ff0n; // bits of DR6 that read as one
const [taskSwitched, emulation] = [8, 4];

/** Whether the next instruction must be looked at alone. */
export function isWatched(cpu: Cpu): boolean {
  const { registers } = cpu;
  if (registers.get32(state.eflags) & trapFlag) return true;
  if ((registers.get32(state.cr0) & (taskSwitched | emulation)) !== 0) return true;
  return checksAlignment(cpu) || breakpointsOn(cpu);
}

/** Asked each time that WebAssembly is entered: the answer is kept, without arithmetic of bigint. */
function breakpointsOn({ registers }: Cpu): boolean {
  const control = registers.debug[7] ?? 0n;
  const { breakpoints } = registers;
  if (breakpoints.control !== control) {
    breakpoints.control = control;
    breakpoints.on = (control & 0xffn) !== 0n;
  }
  return breakpoints.on;
}

type Access = "execute" | "write" | "access";

/** Bits of DR6 for the enabled breakpoints that [address, address + bytes) touches. */
function hits(cpu: Cpu, address: bigint, bytes: number, access: Access): bigint {
  const control = Number((cpu.registers.debug[7] ?? 0n) & 0xffff_ffffn);
  let found = 0n;
  for (let i = 0; i < 4; i++) {
    if (!((control >>> (i * 2)) & 3)) continue;
    const kind = (control >>> (16 + i * 4)) & 3;
    const length = [1n, 2n, 8n, 4n][(control >>> (18 + i * 4)) & 3] ?? 1n;
    const fits =
      access === "execute" ? kind === 0 : kind === 3 || (kind === 1 && access === "write");
    const start = (cpu.registers.debug[i] ?? 0n) & ~(length - 1n);
    if (fits && address < start + length && address + BigInt(bytes) > start)
      found |= 1n << BigInt(i);
  }
  return found;
}

function setStatus(cpu: Cpu, bits: bigint): void {
  const old = cpu.registers.debug[6] ?? statusOnes;
  cpu.registers.debug[6] = (old & ~0xfn) | statusOnes | bits;
}

/** What must be raised instead of the instruction at RIP, if anything. */
export function faultBefore(
  cpu: Cpu,
  it: Instruction,
  isInShadow: boolean,
): GuestFault | undefined {
  const { registers } = cpu;
  if (!isInShadow && breakpointsOn(cpu) && !(registers.get32(state.eflags) & resumeFlag)) {
    const found = hits(cpu, registers.rip, 1, "execute");
    if (found !== 0n) {
      setStatus(cpu, found);
      return new GuestFault(vector.debug);
    }
  }
  if (checksAlignment(cpu) && isMisaligned(cpu, it)) return new GuestFault(vector.alignmentCheck);
  if (!it.row.usesVectors) return undefined;
  const cr0 = registers.get32(state.cr0);
  if (cr0 & emulation) return new GuestFault(vector.invalidOpcode);
  return cr0 & taskSwitched ? new GuestFault(vector.deviceNotAvailable) : undefined;
}

/** What the instruction will touch, as far as its own operand and the stack say. */
export function watchedAccess(cpu: Cpu, it: Instruction): bigint {
  if (!breakpointsOn(cpu)) return 0n;
  let found = 0n;
  for (let i = 0; i < it.operandCount; i++) {
    if (it.kinds[i] !== operandKind.memory || /^(lea|nop|prefetch|invlpg)/.test(it.mnemonic))
      continue;
    const bytes = Math.max(1, (it.sizes[i] ?? 8) / 8);
    const writes = i === 0 && !/^(cmp|test|push|callind|jmpind|bt$)/.test(it.mnemonic);
    found |= hits(cpu, effectiveAddress(cpu, it), bytes, writes ? "write" : "access");
  }
  const { registers } = cpu;
  if (/^(push|call)/.test(it.mnemonic))
    found |= hits(cpu, BigInt.asUintN(64, registers.gpr(4) - 8n), 8, "write");
  if (/^(pop|ret)/.test(it.mnemonic)) found |= hits(cpu, registers.gpr(4), 8, "access");
  if (/^(movs|stos)/.test(it.mnemonic))
    found |= hits(cpu, registers.gpr(7), it.size / 8 || 1, "write");
  if (/^(movs|lods|cmps)/.test(it.mnemonic))
    found |= hits(cpu, registers.gpr(6), it.size / 8 || 1, "access");
  return found;
}

export function effectiveAddress(cpu: Cpu, it: Instruction): bigint {
  const { registers } = cpu;
  let sum = BigInt(it.displacement);
  if (it.isAbsolute64) sum = (BigInt(it.displacementHigh) << 32n) | BigInt(it.displacement >>> 0);
  if (it.base === ripRegister) sum += registers.rip + BigInt(it.length);
  else if (it.base !== noRegister) sum += registers.gpr(it.base);
  if (it.index !== noRegister) sum += registers.gpr(it.index) << BigInt(it.scale);
  sum = BigInt.asUintN(it.addressSize, sum);
  const stack = it.base === 4 || it.base === 5;
  const segment = it.segment >= 0 ? it.segment : stack ? 2 : 3;
  if (!cpu.is64 || segment >= 4) sum += registers.get64(state.segmentBase + segment * 8);
  return cpu.is64 ? BigInt.asUintN(64, sum) : sum & 0xffff_ffffn;
}

/** Mnemonics after which TF no longer means the code that ran. */
const clearsTrap = new Set(["int", "int1", "int3", "into", "syscall", "sysenter"]);

/** The trap after an instruction that ran to its end. */
export function trapAfter(
  cpu: Cpu,
  it: Instruction,
  wasTracing: boolean,
  touched: bigint,
): GuestFault | undefined {
  const steps = wasTracing && !clearsTrap.has(it.mnemonic);
  if (!steps && touched === 0n) return undefined;
  setStatus(cpu, touched | (steps ? singleStepped : 0n));
  return new GuestFault(vector.debug);
}

/** MOV from a debug register; DR4 and DR5 are other names of DR6 and DR7 without CR4.DE. */
export function readDebug(cpu: Cpu, number: number): bigint {
  const which = aliased(cpu, number);
  checkGeneralDetect(cpu);
  return cpu.registers.debug[which] ?? 0n;
}

/** DR7.GD: a debugger wants to know who touches its registers, once. SDM volume 3B §17.2.4. */
function checkGeneralDetect({ registers: { debug } }: Cpu): void {
  const control = debug[7] ?? 0n;
  if ((control & generalDetect) === 0n) return;
  debug[7] = control & ~generalDetect;
  debug[6] = (debug[6] ?? statusOnes) | debugAccess;
  throw new GuestFault(vector.debug);
}

export function writeDebug(cpu: Cpu, number: number, value: bigint): void {
  const which = aliased(cpu, number);
  checkGeneralDetect(cpu);
  const { debug } = cpu.registers;
  // Emitted code leaves RF as it was; this instruction has ended like any other.
  cpu.registers.set32(state.eflags, cpu.registers.get32(state.eflags) & ~resumeFlag);
  if (which >= 6 && value >> 32n) throw new GuestFault(vector.generalProtection);
  if (which === 6) debug[6] = (value & 0xe00fn) | statusOnes;
  else if (which === 7) debug[7] = (value & 0xffff_2bffn) | 0x400n;
  else debug[which] = value;
}

function aliased(cpu: Cpu, number: number): number {
  if (number !== 4 && number !== 5) return number;
  if (cpu.registers.get32(state.cr4) & 8) throw new GuestFault(vector.invalidOpcode);
  return number + 2;
}

/** The instruction at RIP and a record of it to run at once; undefined: fetching it faulted. */
export function decodeHere(
  cpu: Cpu,
): { readonly it: Instruction; readonly record: number } | undefined {
  const { registers, translator, paging } = cpu;
  if (translator.isFull) cpu.forgetTranslations();
  const low = registers.get32(state.rip);
  const high = registers.get32(state.rip + 4);
  const page = cpu.fetch(low, high);
  if (page < 0) return undefined;
  const host = paging.hostOf(page * 4096);
  registers.set32(state.virtualPage, low & ~0xfff);
  registers.set32(state.virtualPage + 4, high);
  let record = translator.translateAlone(host, low & 0xfff, cpu.codeMode);
  if (record === 0) {
    const nextLow = ((low & ~0xfff) + 4096) | 0;
    const next = cpu.fetch(nextLow, nextLow === 0 ? (high + 1) | 0 : high);
    if (next < 0) return undefined;
    const nextHost = paging.hostOf(next * 4096);
    record = translator.translateAlone(host, low & 0xfff, cpu.codeMode, nextHost);
  }
  return { it: translator.lastInstruction(), record };
}

/** Runs the instruction at RIP alone, with whatever watches it. */
export function stepAlone(cpu: Cpu): void {
  const { registers } = cpu;
  const here = decodeHere(cpu);
  if (!here) return;
  const { it, record } = here;
  const held = cpu.heldBreakpoints;
  cpu.heldBreakpoints = undefined;
  const before = faultBefore(cpu, it, held !== undefined);
  if (before) {
    cpu.pending = before;
    return;
  }
  const wasTracing = (registers.get32(state.eflags) & trapFlag) !== 0;
  const touched = watchedAccess(cpu, it) | (held ?? 0n);
  registers.set32(state.fuel, 0);
  cpu.enter(record);
  if (cpu.pending?.vector === delegated) cpu.pending = executeDelegated(cpu);
  if (cpu.pending) return;
  // No #DB between a load of SS and the instruction after it. SDM volume 3A §6.8.3.
  if (cpu.shadowUntil === registers.rip) {
    cpu.heldBreakpoints = touched;
    return;
  }
  if (it.mnemonic !== "iret")
    registers.set32(state.eflags, registers.get32(state.eflags) & ~resumeFlag);
  cpu.pending = trapAfter(cpu, it, wasTracing, touched);
}
