/** x87 instructions with a memory operand: arithmetic, loads and stores of all formats. */

import type { Instruction } from "../isa/decode.ts";
import { state } from "../state.ts";
import { invalidOpcode } from "../system/fault.ts";
import { operate } from "./arithmetic.ts";
import * as f from "./float80.ts";
import { condition, type Fpu } from "./stack.ts";

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

export function memoryForm(fpu: Fpu, it: Instruction, reg: number): void {
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
