/**
 * x87 instructions (SDM volume 1 §8, volume 2 by name), executed by TypeScript: the register
 * stack, tags, condition codes and exceptions; the numbers are float80.ts's.
 *
 * Opcodes D8 to DF, a memory operand or a register in ModRM. Physical register i is at
 * `state.st` + 16 i; ST(0) is the one that TOP names.
 */
import { type Instruction, operandKind } from "../isa/decode.ts";
import { state } from "../state.ts";
import type { Cpu } from "../system/cpu.ts";
import { GuestFault, invalidOpcode, vector } from "../system/fault.ts";
import { checkFpu } from "../system/fpu-state.ts";
import type { Helper } from "../system/helpers.ts";
import { environmentHelpers } from "./environment.ts";
import * as f from "./float80.ts";
import { transcendental } from "./transcendental.ts";

const condition = { c0: 0x100, c1: 0x200, c2: 0x400, c3: 0x4000 } as const;
const stackFault = 0x41; // SF and IE

export class Fpu {
  readonly cpu: Cpu;
  readonly context: f.Context;
  constructor(cpu: Cpu) {
    this.cpu = cpu;
    const control = cpu.registers.get32(state.fcw);
    const precision = [24, 64, 53, 64][(control >> 8) & 3] as number;
    this.context = new f.Context((control >> 10) & 3, precision);
  }

  get top(): number {
    return this.cpu.registers.get32(state.ftop);
  }
  set top(value: number) {
    this.cpu.registers.set32(state.ftop, value & 7);
  }
  private physical(i: number): number {
    return (this.top + i) & 7;
  }
  isEmpty(i: number): boolean {
    return !((this.cpu.registers.get32(state.ftags) >> this.physical(i)) & 1);
  }
  free(i: number): void {
    const tags = this.cpu.registers.get32(state.ftags);
    this.cpu.registers.set32(state.ftags, tags & ~(1 << this.physical(i)));
  }
  raw(i: number): f.Float80 {
    const at = state.st + this.physical(i) * 16;
    const high = this.cpu.registers.get32(at + 8) & 0xffff;
    return { sign: high >> 15, exponent: high & 0x7fff, mantissa: this.cpu.registers.get64(at) };
  }
  /** ST(i); an empty register is a stack underflow and reads as the default NaN. */
  get(i: number): f.Float80 {
    if (!this.isEmpty(i)) return this.raw(i);
    this.underflow();
    return f.indefinite;
  }
  underflow(): void {
    this.status(stackFault);
    this.clear(condition.c1);
  }
  set(i: number, value: f.Float80): void {
    const at = state.st + this.physical(i) * 16;
    this.cpu.registers.set64(at, value.mantissa);
    this.cpu.registers.set64(at + 8, BigInt((value.sign << 15) | value.exponent));
    const tags = this.cpu.registers.get32(state.ftags);
    this.cpu.registers.set32(state.ftags, tags | (1 << this.physical(i)));
  }
  push(value: f.Float80): void {
    this.top = this.top - 1;
    if (this.isEmpty(0)) this.set(0, value);
    else {
      this.status(stackFault | condition.c1);
      this.set(0, f.indefinite);
    }
  }
  pop(): void {
    this.free(0);
    this.top = this.top + 1;
  }
  status(bits: number): void {
    this.cpu.registers.set32(state.fsw, this.cpu.registers.get32(state.fsw) | bits);
  }
  clear(bits: number): void {
    this.cpu.registers.set32(state.fsw, this.cpu.registers.get32(state.fsw) & ~bits);
  }
  /** Ends an arithmetic instruction: its exceptions, C1, and the summary of unmasked ones. */
  finish(): void {
    const { context } = this;
    if (!(this.cpu.registers.get32(state.fsw) & 0x40 && context.flags === 0)) {
      this.clear(condition.c1);
      if (context.roundedUp && context.flags & f.exception.precision) this.status(condition.c1);
    }
    this.status(context.flags);
    this.summarize();
  }
  summarize(): void {
    const unmasked =
      this.cpu.registers.get32(state.fsw) & ~this.cpu.registers.get32(state.fcw) & 0x3f;
    if (unmasked) this.status(0x8080);
    else this.clear(0x8080);
  }
}

/** A waiting instruction with an unmasked exception pending is #MF. */
export function checkPending(cpu: Cpu): void {
  if (cpu.registers.get32(state.fsw) & 0x80) throw new GuestFault(vector.mathFault);
}

const operations = ["add", "mul", "com", "comp", "sub", "subr", "div", "divr"] as const;

function arithmetic(
  fpu: Fpu,
  name: (typeof operations)[number],
  a: f.Float80,
  b: f.Float80,
): f.Float80 {
  const { context } = fpu;
  switch (name) {
    case "add":
      return f.add(context, a, b);
    case "mul":
      return f.multiply(context, a, b);
    case "sub":
      return f.subtract(context, a, b);
    case "subr":
      return f.subtract(context, b, a);
    case "div":
      return f.divide(context, a, b);
    case "divr":
      return f.divide(context, b, a);
    default:
      throw new RangeError(`Cannot compute "${name}": it is a comparison`);
  }
}

/** ST(0) op value, to ST(0) or only to the condition codes. */
function operate(
  fpu: Fpu,
  reg: number,
  value: f.Float80,
  empty: boolean,
  wasDenormal = false,
): void {
  const name = operations[reg] as (typeof operations)[number];
  if (name === "com" || name === "comp") {
    compareCodes(fpu, value, empty, false, wasDenormal);
    if (name === "comp") fpu.pop();
    return;
  }
  if (fpu.isEmpty(0) || empty) {
    fpu.underflow();
    fpu.set(0, f.indefinite);
    fpu.summarize();
    return;
  }
  const result = arithmetic(fpu, name, fpu.raw(0), value);
  // Zero-divide and invalid operations come before a denormal operand, NaNs hide it.
  const first = f.exception.invalid | f.exception.zeroDivide;
  if (wasDenormal && !(fpu.context.flags & first) && !f.isNan(result))
    fpu.context.flags |= f.exception.denormal;
  fpu.set(0, result);
  fpu.finish();
}

/** A single or double in memory; being a denormal is noted by who uses it. */
function floatMemory(fpu: Fpu, size: 32 | 64): readonly [value: f.Float80, wasDenormal: boolean] {
  const context = new f.Context(0, 64);
  const bits = memoryOperand(fpu, size / 8);
  const value = f.widen(context, bits, size);
  const exponent = (bits >> (size === 32 ? 23n : 52n)) & (size === 32 ? 0xffn : 0x7ffn);
  const isNan = exponent === (size === 32 ? 0xffn : 0x7ffn) && !f.isInfinity(value);
  if (!isNan) return [value, (context.flags & f.exception.denormal) !== 0];
  // Signalling NaNs must still signal in the operation.
  const fraction = size === 32 ? (bits & 0x7f_ffffn) << 40n : (bits & 0xf_ffff_ffff_ffffn) << 11n;
  return [{ ...value, mantissa: (1n << 63n) | fraction }, false];
}

function compareValues(
  fpu: Fpu,
  b: f.Float80,
  empty: boolean,
  quiet: boolean,
  wasDenormal: boolean,
) {
  if (fpu.isEmpty(0) || empty) {
    fpu.underflow();
    fpu.summarize();
    return undefined;
  }
  const a = fpu.raw(0);
  const order = f.compare(a, b);
  const { context } = fpu;
  const signals = [a, b].some((x) => f.isSignalling(x) || f.isUnsupported(x));
  if (order === undefined && (!quiet || signals)) context.flags |= f.exception.invalid;
  else if (order !== undefined && (wasDenormal || f.isDenormal(a) || f.isDenormal(b)))
    context.flags |= f.exception.denormal;
  fpu.status(context.flags);
  fpu.summarize();
  return order;
}

/** FCOM, FUCOM, FTST: C3 equal, C0 less, all three unordered. */
function compareCodes(
  fpu: Fpu,
  b: f.Float80,
  empty: boolean,
  quiet: boolean,
  wasDenormal = false,
): void {
  const order = compareValues(fpu, b, empty, quiet, wasDenormal);
  fpu.clear(condition.c0 | condition.c2 | condition.c3 | condition.c1);
  if (order === undefined) fpu.status(condition.c0 | condition.c2 | condition.c3);
  else if (order < 0) fpu.status(condition.c0);
  else if (order === 0) fpu.status(condition.c3);
}

/** FCOMI, FUCOMI: ZF, PF, CF. */
function compareFlags(fpu: Fpu, i: number, quiet: boolean): void {
  const order = compareValues(fpu, fpu.raw(i), fpu.isEmpty(i), quiet, false);
  const { registers } = fpu.cpu;
  const bits = order === undefined ? 0x45 : order < 0 ? 1 : order === 0 ? 0x40 : 0;
  registers.rflags = (registers.rflags & ~0x8d5) | bits;
}

function memoryOperand(fpu: Fpu, bytes: number): bigint {
  return fpu.cpu.readData(fpu.cpu.registers.get64(state.ea), bytes);
}

function signedMemory(fpu: Fpu, bytes: number): f.Float80 {
  return f.fromInteger(BigInt.asIntN(bytes * 8, memoryOperand(fpu, bytes)));
}

/** Stores ST(0) as an integer; out of range is invalid and stores the "integer indefinite". */
function storeInteger(fpu: Fpu, bytes: number, mode: number, pop: boolean): void {
  const empty = fpu.isEmpty(0);
  const value = empty ? undefined : f.toInteger(fpu.context, fpu.raw(0), mode);
  const limit = 1n << BigInt(bytes * 8 - 1);
  let result = value;
  if (result === undefined || result < -limit || result >= limit) {
    fpu.context.flags = empty ? 0 : f.exception.invalid;
    fpu.context.roundedUp = false;
    result = -limit;
  }
  fpu.cpu.writeData(fpu.cpu.registers.get64(state.ea), bytes, BigInt.asUintN(bytes * 8, result));
  if (empty) fpu.underflow();
  fpu.finish();
  if (pop) fpu.pop();
}

function storeFloat(fpu: Fpu, size: 32 | 64, pop: boolean): void {
  const empty = fpu.isEmpty(0);
  const bits = f.narrow(fpu.context, empty ? f.indefinite : fpu.raw(0), size);
  fpu.cpu.writeData(fpu.cpu.registers.get64(state.ea), size / 8, bits);
  if (empty) fpu.underflow();
  fpu.finish();
  if (pop) fpu.pop();
}

function loadExtended(fpu: Fpu): void {
  const at = fpu.cpu.registers.get64(state.ea);
  const mantissa = fpu.cpu.readData(at, 8);
  const high = Number(fpu.cpu.readData(at + 8n, 2));
  fpu.clear(condition.c1);
  fpu.push({ sign: high >> 15, exponent: high & 0x7fff, mantissa });
  fpu.summarize();
}

function storeExtended(fpu: Fpu): void {
  const at = fpu.cpu.registers.get64(state.ea);
  const value = fpu.get(0);
  fpu.cpu.writeData(at + 8n, 2, BigInt((value.sign << 15) | value.exponent));
  fpu.cpu.writeData(at, 8, value.mantissa);
  if (!fpu.isEmpty(0)) fpu.clear(condition.c1);
  fpu.summarize();
  fpu.pop();
}

/** Loads whose conversion may raise exceptions. */
function loadFloat(fpu: Fpu, size: 32 | 64): void {
  const value = f.widen(fpu.context, memoryOperand(fpu, size / 8), size);
  fpu.clear(condition.c1);
  // A stack overflow comes first.
  if (!fpu.isEmpty(-1)) fpu.context.flags = 0;
  fpu.push(value);
  fpu.status(fpu.context.flags);
  fpu.summarize();
}

function loadInteger(fpu: Fpu, bytes: number): void {
  const value = signedMemory(fpu, bytes);
  fpu.clear(condition.c1);
  fpu.push(value);
  fpu.summarize();
}

function operateFloat(fpu: Fpu, reg: number, size: 32 | 64): void {
  const [value, wasDenormal] = floatMemory(fpu, size);
  operate(fpu, reg, value, false, wasDenormal);
}

function memoryForm(fpu: Fpu, it: Instruction, reg: number): void {
  switch (it.opcode) {
    case 0xd8:
      operateFloat(fpu, reg, 32);
      return;
    case 0xdc:
      operateFloat(fpu, reg, 64);
      return;
    case 0xda:
      operate(fpu, reg, signedMemory(fpu, 4), false);
      return;
    case 0xde:
      operate(fpu, reg, signedMemory(fpu, 2), false);
      return;
    case 0xd9:
      if (reg === 0) loadFloat(fpu, 32);
      else if (reg === 2 || reg === 3) storeFloat(fpu, 32, reg === 3);
      else throw invalidOpcode();
      return;
    case 0xdb:
      if (reg === 0) loadInteger(fpu, 4);
      else if (reg <= 3) storeInteger(fpu, 4, reg === 1 ? 3 : fpu.context.mode, reg !== 2);
      else if (reg === 5) loadExtended(fpu);
      else if (reg === 7) storeExtended(fpu);
      else throw invalidOpcode();
      return;
    case 0xdd:
      if (reg === 0) loadFloat(fpu, 64);
      else if (reg === 1) storeInteger(fpu, 8, 3, true);
      else if (reg === 2 || reg === 3) storeFloat(fpu, 64, reg === 3);
      else throw invalidOpcode();
      return;
    default: // df
      if (reg === 0) loadInteger(fpu, 2);
      else if (reg <= 3) storeInteger(fpu, 2, reg === 1 ? 3 : fpu.context.mode, reg !== 2);
      else if (reg === 4) loadDecimal(fpu);
      else if (reg === 5) loadInteger(fpu, 8);
      else if (reg === 6) storeDecimal(fpu);
      else storeInteger(fpu, 8, fpu.context.mode, true);
  }
}

/** FBLD: eighteen decimal digits and a sign. */
function loadDecimal(fpu: Fpu): void {
  const at = fpu.cpu.registers.get64(state.ea);
  let digits = fpu.cpu.readData(at, 8) | (fpu.cpu.readData(at + 8n, 1) << 64n);
  const sign = fpu.cpu.readData(at + 9n, 1) & 0x80n;
  let value = 0n;
  for (let place = 1n; digits !== 0n; place *= 10n, digits >>= 4n) value += (digits & 15n) * place;
  fpu.clear(condition.c1);
  const loaded = f.fromInteger(value);
  fpu.push(sign ? f.negate(loaded) : loaded);
  fpu.summarize();
}

function storeDecimal(fpu: Fpu): void {
  const at = fpu.cpu.registers.get64(state.ea);
  const empty = fpu.isEmpty(0);
  const source = fpu.raw(0);
  const value = empty ? undefined : f.toInteger(fpu.context, source);
  let packed = 0xffff_c000_0000_0000_0000n;
  const magnitude = value === undefined ? undefined : value < 0n ? -value : value;
  if (magnitude !== undefined && magnitude < 10n ** 18n) {
    packed = source.sign ? 0x80n << 72n : 0n;
    let rest = magnitude;
    for (let shift = 0n; rest !== 0n; shift += 4n, rest /= 10n) packed |= (rest % 10n) << shift;
  } else {
    fpu.context.flags = empty ? 0 : f.exception.invalid;
    fpu.context.roundedUp = false;
  }
  fpu.cpu.writeData(at, 8, packed & 0xffff_ffff_ffff_ffffn);
  fpu.cpu.writeData(at + 8n, 2, packed >> 64n);
  if (empty) fpu.underflow();
  fpu.finish();
  fpu.pop();
}

/** DC and DE register forms: ST(i) op ST(0), the "reverse" ones exchanged in the encoding. */
function operateTo(fpu: Fpu, reg: number, i: number, pop: boolean): void {
  const name = (["add", "mul", "com", "comp", "subr", "sub", "divr", "div"] as const)[reg];
  if (name === undefined || name === "com" || name === "comp") throw invalidOpcode();
  if (fpu.isEmpty(0) || fpu.isEmpty(i)) {
    fpu.underflow();
    fpu.set(i, f.indefinite);
    fpu.summarize();
  } else {
    fpu.set(i, arithmetic(fpu, name, fpu.raw(i), fpu.raw(0)));
    fpu.finish();
  }
  if (pop) fpu.pop();
}

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
      operateTo(fpu, reg, i, false);
      return;
    case 0xdd:
      if (reg === 0) {
        fpu.free(i);
        fpu.clear(condition.c1);
      } else if (reg === 2 || reg === 3) storeRegister(fpu, i, reg === 3);
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
      } else operateTo(fpu, reg, i, true);
      return;
    default: // df
      if (reg !== 5 && reg !== 6) throw invalidOpcode();
      compareFlags(fpu, i, reg === 5);
      fpu.pop();
  }
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
  } else if (reg === 1) {
    fpu.clear(condition.c1);
    const [a, b] = [fpu.get(0), fpu.get(i)];
    fpu.set(0, b);
    fpu.set(i, a);
    fpu.summarize();
  } else if (it.modRm === 0xd0) return;
  else if (it.modRm >= 0xe0) transcendental(fpu, it.modRm);
  else throw invalidOpcode();
}

export { compareCodes, condition };

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
