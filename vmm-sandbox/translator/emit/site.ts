/**
 * What an emitter knows about the instruction it emits: a `Site`.
 *
 * Emitters (integer.ts, sse.ts…) say once what each instruction does. Who implements `Site`
 * decides where operands live: the interpreter reads them through the record, so one emitted
 * function serves all registers; the JIT names locals and constants. Semantics are never written
 * twice, and the two tiers can be compared.
 */
import { type I32, type I64, i32, i64, type Local, local, type V128 } from "../wasm/assembler.ts";

/** An integer whose width is the operand's: i64 for 64 bits, else i32. */
export type Int = I32 & I64;

type Arithmetic = {
  readonly [K in keyof typeof i32 & keyof typeof i64]: (typeof i64)[K] extends (
    a: I64,
    b: I64,
  ) => infer R
    ? (a: Int, b: Int) => R extends I64 ? Int : R
    : (typeof i64)[K];
};

type IntOps = Pick<
  Arithmetic,
  | "add"
  | "sub"
  | "mul"
  | "and"
  | "or"
  | "xor"
  | "shl"
  | "shrS"
  | "shrU"
  | "rotl"
  | "rotr"
  | "divS"
  | "divU"
  | "remS"
  | "remU"
  | "eq"
  | "ne"
  | "ltS"
  | "ltU"
  | "gtS"
  | "gtU"
  | "leS"
  | "leU"
  | "geS"
  | "geU"
> & {
  readonly eqz: (a: Int) => I32;
  readonly clz: (a: Int) => Int;
  readonly ctz: (a: Int) => Int;
  readonly popcnt: (a: Int) => Int;
  readonly const: (value: number | bigint) => Int;
  readonly local: () => Local<Int>;
};

// SAFE: same opcodes, only the phantom operand types differ.
const ops32 = { ...i32, local: local.i32 } as unknown as IntOps;
const ops64 = { ...i64, local: local.i64 } as unknown as IntOps;

/** Operators for integers of `size` bits; 8 and 16 bits are computed in i32. */
export function integerOps(size: number): IntOps {
  return size === 64 ? ops64 : ops32;
}

/** Evaluates an integer once. */
export function keepInt(size: number, value: Int): Local<Int> {
  const result = integerOps(size).local();
  result.set(value);
  return result;
}

// SAFE: casts between phantoms; the callers name the width.
export const asInt = (value: I32 | I64): Int => value as Int;

/** Low 32 bits, whatever the width. */
export function toI32(size: number, value: Int): I32 {
  return size === 64 ? i32.wrap(value) : value;
}

/** Zero-extended to 64 bits; `value` must already be clean above its size. */
export function toI64Unsigned(size: number, value: Int): I64 {
  return size === 64 ? value : i64.extendU(value);
}

/** Sign-extended from `size` to 64 bits, whatever is above. */
export function toI64Signed(size: number, value: Int): I64 {
  if (size === 64) return value;
  if (size === 32) return i64.extendS(value);
  return i64.extendS(size === 16 ? i32.extend16S(value) : i32.extend8S(value));
}

/** Cuts an i32 down to 8 or 16 bits; wider values are already clean. */
export function zeroExtend(size: number, value: Int): Int {
  return size >= 32 ? value : asInt(i32.and(value, i32.const(size === 16 ? 0xffff : 0xff)));
}

export function fromI64(size: number, value: I64): Int {
  return size === 64 ? asInt(value) : asInt(i32.wrap(value));
}

export function fromI32(size: number, value: I32): Int {
  return size === 64 ? asInt(i64.extendU(value)) : asInt(value);
}

/** Linear addresses of 16- and 32-bit code wrap at 4 GiB. */
export function cutLinear(address: I64): I64 {
  return i64.and(address, i64.const(0xffff_ffffn));
}

/** An integer operand: a register, memory or an immediate, of `size` bits. */
export interface Place {
  readonly kind: "register" | "memory" | "immediate";
  readonly size: number;
  /** Zero-extended to i32 or i64. May fault. */
  read(): Int;
  /** As `read`, but checks that `finish` will be allowed to write: nothing may fault in between. */
  begin(): Int;
  finish(value: Int): void;
  /** Writes the low `size` bits; a 32-bit register is zero-extended. May fault before changes. */
  write(value: Local<Int>): void;
}

/** A vector operand; `read` and `write` move `size` bits, from and to the low end. */
export interface VectorPlace {
  readonly kind: "vector" | "memory";
  readonly size: number;
  /** Memory shorter than 128 bits is zero-extended; registers come whole. */
  read(): V128;
  write(value: Local<V128>): void;
}

export type Writing = boolean | "page" | "update";

/** A comparison whose operands are still at hand, so that a condition need not look at flags. */
export type Comparison = {
  readonly size: number;
  /** a - b, or for "logic" a result against 0. */
  readonly kind: "subtract" | "logic";
  readonly a: Local<Int>;
  readonly b: Local<Int>;
};

export interface Site {
  /** Where known: what the flags were last set by. */
  noteComparison?(comparison: Comparison): void;
  lastComparison?(): Comparison | undefined;
  /** Operand size in bits. */
  readonly size: number;
  readonly opcode: number;
  readonly operandCount: number;
  readonly addressSize: number;
  /** 16- or 32-bit code: segments have bases, stack and RIP wrap. RIP is linear all the same. */
  readonly legacy: boolean;
  place(operand: number): Place;
  vector(operand: number): VectorPlace;
  /** A vector register by number. */
  vectorRegister(number: number): VectorPlace;
  isImmediate(operand: number): boolean;
  /** The immediate, 8 and 16 bits zero-extended. */
  immediate32(): I32;
  /** A general register by number, its low `size` bits. */
  register(number: number, size: number): Place;
  /** The address of the memory operand, segment base included. */
  address(): I64;
  /** Memory of `size` bits at an address: loads and stores with all checks. */
  memory(size: number, address: Local<I64>): Place;
  /**
   * Host address of `bytes` ≤ 16 bytes for reading or writing, after all checks; "update": for
   * reading what is there and writing it back, a device's register included; "page" announces
   * that the rest of the page may be written as well.
   */
  host(address: Local<I64>, bytes: number, write: Writing): Local<I32>;
  /** After writing through `host`: tells devices and page-crossing stores. */
  commit(host: Local<I32>): void;
  flagResult(): I64;
  flagAux(): I32;
  setFlags(result: I64, aux: I32): void;
  setFlagAux(aux: I32): void;
  loadState32(offset: number): I32;
  storeState32(offset: number, value: I32): void;
  loadState64(offset: number): I64;
  storeState64(offset: number, value: I64): void;
  /** RIP of the next instruction. */
  nextRip(): I64;
  /** Leaves this instruction with an exception raised by the host; nothing is committed. */
  raise(vector: number): void;
  /** Ends the block at a computed address. */
  jumpTo(target: Local<I64>): void;
  /** Ends the block at the direct target of this branch. */
  jumpDirect(): void;
  /** Makes the next check of fuel leave: an interrupt waits. */
  exhaustFuel(): void;
  /** Returns to the run loop when fuel is used up; RIP stays at this instruction. */
  yieldHere(cost: I32): void;
}
