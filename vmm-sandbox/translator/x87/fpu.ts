/**
 * x87 instructions (SDM volume 1 §8, volume 2 by name), executed by TypeScript: the register
 * stack, tags, condition codes and exceptions; the numbers are float80.ts's.
 *
 * Opcodes D8 to DF, a memory operand or a register in ModRM. Physical register i is at
 * `state.st` + 16 i; ST(0) is the one that TOP names.
 */

import { type Instruction, operandKind } from "../isa/decode.ts";
import { state } from "../state.ts";
import { GuestFault, invalidOpcode, vector } from "../system/fault.ts";
import { checkFpu } from "../system/fpu-state.ts";
import type { Helper } from "../system/system-instructions.ts";
import { operate, operateTo } from "./arithmetic.ts";
import { compareCodes, compareFlags } from "./compare.ts";
import { environmentHelpers } from "./environment.ts";
import * as f from "./float80.ts";
import { memoryForm } from "./memory-forms.ts";
import { checkPending, condition, Fpu } from "./stack.ts";
import { transcendental } from "./transcendental.ts";

/** FCMOVcc: B, E, BE, U, and their opposites from DB. */
function conditionalMove(fpu: Fpu, it: Instruction, reg: number, i: number): void {
  const flags = fpu.cpu.registers.rflags;
  const holds = [flags & 1, flags & 0x40, flags & 0x41, flags & 4][reg] !== 0;
  const value = fpu.get(i);
  if (fpu.isEmpty(0) || fpu.isEmpty(i)) {
    fpu.underflow();
    fpu.set(0, f.indefinite);
  } else if (holds === (it.opcode === 0xda)) fpu.set(0, value);
  fpu.summarize();
}

function registerForm(fpu: Fpu, it: Instruction, reg: number, i: number): void {
  switch (it.opcode) {
    case 0xd8:
      operate(fpu, reg, fpu.raw(i), fpu.isEmpty(i));
      return;
    case 0xd9:
      registerFormD9(fpu, it, reg, i);
      return;
    case 0xda:
      if (reg <= 3) conditionalMove(fpu, it, reg, i);
      else if (it.modRm === 0xe9) {
        compareCodes(fpu, fpu.raw(1), fpu.isEmpty(1), true);
        fpu.pop();
        fpu.pop();
      } else throw invalidOpcode();
      return;
    case 0xdb:
      if (reg <= 3) conditionalMove(fpu, it, reg, i);
      else if (reg === 5 || reg === 6) compareFlags(fpu, i, reg === 5);
      else throw invalidOpcode();
      return;
    case 0xdc:
      // DC D0 and DC D8 are FCOM and FCOMP once more, as are the other copies below: no manual
      // lists them any longer, every processor has them.
      if (reg === 2 || reg === 3) operate(fpu, reg, fpu.raw(i), fpu.isEmpty(i));
      else operateTo(fpu, reg, i, false);
      return;
    case 0xdd:
      if (reg === 0) {
        fpu.free(i);
        fpu.clear(condition.c1);
      } else if (reg === 1) exchange(fpu, i);
      else if (reg === 2 || reg === 3) storeRegister(fpu, i, reg === 3);
      else if (reg === 4 || reg === 5) {
        compareCodes(fpu, fpu.raw(i), fpu.isEmpty(i), true);
        if (reg === 5) fpu.pop();
      } else throw invalidOpcode();
      return;
    case 0xde:
      if (it.modRm === 0xd9) {
        compareCodes(fpu, fpu.raw(1), fpu.isEmpty(1), false);
        fpu.pop();
        fpu.pop();
      } else if (reg === 2) operate(fpu, 3, fpu.raw(i), fpu.isEmpty(i));
      else operateTo(fpu, reg, i, true);
      return;
    default: // df
      if (reg <= 3) {
        copiesOfDf(fpu, reg, i);
        return;
      }
      if (reg !== 5 && reg !== 6) throw invalidOpcode();
      compareFlags(fpu, i, reg === 5);
      fpu.pop();
  }
}

/** FFREEP, which compilers used, FXCH, and FSTP twice. */
function copiesOfDf(fpu: Fpu, reg: number, i: number): void {
  if (reg === 1) exchange(fpu, i);
  else if (reg >= 2) storeRegister(fpu, i, true);
  else {
    fpu.free(i);
    fpu.clear(condition.c1);
    fpu.pop();
  }
}

function exchange(fpu: Fpu, i: number): void {
  fpu.clear(condition.c1);
  const [a, b] = [fpu.get(0), fpu.get(i)];
  fpu.set(0, b);
  fpu.set(i, a);
  fpu.summarize();
}

function storeRegister(fpu: Fpu, i: number, pop: boolean): void {
  const value = fpu.get(0);
  if (!fpu.isEmpty(0)) fpu.clear(condition.c1);
  fpu.set(i, value);
  fpu.summarize();
  if (pop) fpu.pop();
}

function registerFormD9(fpu: Fpu, it: Instruction, reg: number, i: number): void {
  if (reg === 0) {
    fpu.clear(condition.c1);
    const missing = fpu.isEmpty(i);
    fpu.push(fpu.get(i));
    // An empty source counts as underflow, whatever the push found.
    if (missing) fpu.underflow();
    fpu.summarize();
  } else if (reg === 1) exchange(fpu, i);
  else if (reg === 3) storeRegister(fpu, i, true);
  else if (it.modRm === 0xd0) return;
  else if (it.modRm >= 0xe0) transcendental(fpu, it.modRm);
  else throw invalidOpcode();
}

const fpuInstruction: Helper = (cpu, it) => {
  checkFpu(cpu);
  const reg = (it.modRm >> 3) & 7;
  const isMemory = it.kinds[0] === operandKind.memory;
  const control = environmentHelpers(cpu, it, reg, isMemory);
  if (control) return "continue";
  checkPending(cpu);
  const fpu = new Fpu(cpu);
  if (isMemory) memoryForm(fpu, it, reg);
  else registerForm(fpu, it, reg, it.modRm & 7);
  return "continue";
};

const wait: Helper = (cpu) => {
  const cr0 = cpu.registers.get32(state.cr0);
  if ((cr0 & 0xa) === 0xa) throw new GuestFault(vector.deviceNotAvailable);
  checkPending(cpu);
  return "continue";
};

export const fpuHelpers: Readonly<Record<string, Helper>> = { fpu: fpuInstruction, fwait: wait };
