/**
 * Arithmetic flags, kept lazily in two words that need no "which operation was it":
 *
 *   result  i64, the result sign-extended
 *   aux     i32  bit 31 CF · bit 30 CF ^ OF · bit 3 AF · bits 8–15 xored into PF's byte ·
 *                bit 0 xored into SF
 *
 *   ZF = result == 0   SF = result < 0 ^ aux.0   PF = even parity of (result ^ aux.8–15) low byte
 *
 * Bits 31, 30 and 3 are the carries out of the top bit, the bit below it and bit 3, so additions
 * and subtractions store the vector of carries and nothing is decided until a flag is read. The
 * xor bits are zero except after POPF, SAHF and IRET, which can make combinations no result has.
 */
import { type I32, type I64, i32, i64, type Local } from "../wasm/assembler.ts";
import {
  type Comparison,
  fromI64,
  type Int,
  integerOps,
  keepInt,
  type Site,
  toI32,
  toI64Signed,
} from "./site.ts";

const carries = 0xc000_0008 | 0;

/** aux from a vector of carries of the operand's width. */
function auxOf(size: number, vector: Local<Int>): I32 {
  if (size === 32) return i32.and(toI32(32, vector.get()), i32.const(carries));
  if (size === 64)
    return i32.or(
      i32.and(i32.wrap(i64.shrU(vector.get(), i64.const(32))), i32.const(0xc000_0000 | 0)),
      i32.and(i32.wrap(vector.get()), i32.const(8)),
    );
  return i32.or(
    i32.and(i32.shl(vector.get(), i32.const(32 - size)), i32.const(0xc000_0000 | 0)),
    i32.and(vector.get(), i32.const(8)),
  );
}

/** Flags of a + b (+ carry) = r. */
export function flagsOfAdd(
  site: Site,
  size: number,
  a: Local<Int>,
  b: Local<Int>,
  r: Local<Int>,
): void {
  const op = integerOps(size);
  const notR = op.xor(r.get(), op.const(-1));
  const eitherWithout = op.and(notR, op.or(a.get(), b.get()));
  const vector = keepInt(size, op.or(eitherWithout, op.and(a.get(), b.get())));
  site.setFlags(toI64Signed(size, r.get()), auxOf(size, vector));
}

/** Flags of a - b (- borrow) = r. */
export function flagsOfSub(
  site: Site,
  size: number,
  a: Local<Int>,
  b: Local<Int>,
  r: Local<Int>,
): void {
  const op = integerOps(size);
  const notA = op.xor(a.get(), op.const(-1));
  const plain = op.and(notA, b.get());
  const same = op.and(op.xor(op.xor(a.get(), b.get()), op.const(-1)), r.get());
  const vector = keepInt(size, op.or(asSame(plain), same));
  site.setFlags(toI64Signed(size, r.get()), auxOf(size, vector));
  site.noteComparison?.({ kind: "subtract", size, a, b });
}

// The two halves above are already on the stack in order; this only reads better.
const asSame = (value: Int): Int => value;

/** Flags of AND, OR, XOR, TEST: CF = OF = AF = 0. */
export function flagsOfLogic(site: Site, size: number, r: Local<Int>): void {
  site.setFlags(toI64Signed(size, r.get()), i32.const(0));
  site.noteComparison?.({ kind: "logic", size, a: r, b: r });
}

/** aux with CF and OF given as 0 or 1, AF kept as computed in `af` (bit 3) or 0. */
export function auxFrom(cf: Local<I32>, of: Local<I32>): I32 {
  const high = i32.shl(cf.get(), i32.const(31));
  const below = i32.shl(i32.xor(cf.get(), of.get()), i32.const(30));
  return i32.or(high, below);
}

/** Changes CF and OF only. */
export function setCarryAndOverflow(site: Site, cf: Local<I32>, of: Local<I32>): void {
  const rest = i32.and(site.flagAux(), i32.const(0x3fff_ffff));
  site.setFlagAux(i32.or(rest, auxFrom(cf, of)));
}

/** Changes CF only: OF is stored as a difference, so its bit flips along. */
export function setCarry(site: Site, cf: Local<I32>, overflow: Local<I32>): void {
  setCarryAndOverflow(site, cf, overflow);
}

export function carry(site: Site): I32 {
  return i32.shrU(site.flagAux(), i32.const(31));
}

export function overflow(site: Site): I32 {
  return i32.shrU(i32.xor(site.flagAux(), i32.shl(site.flagAux(), i32.const(1))), i32.const(31));
}

export function zero(site: Site): I32 {
  return i64.eqz(site.flagResult());
}

export function sign(site: Site): I32 {
  return i32.xor(
    i32.wrap(i64.shrU(site.flagResult(), i64.const(63))),
    i32.and(site.flagAux(), i32.const(1)),
  );
}

export function parity(site: Site): I32 {
  const low = i32.xor(i32.wrap(site.flagResult()), i32.shrU(site.flagAux(), i32.const(8)));
  return i32.xor(i32.and(i32.popcnt(i32.and(low, i32.const(0xff))), i32.const(1)), i32.const(1));
}

export function adjust(site: Site): I32 {
  return i32.and(i32.shrU(site.flagAux(), i32.const(3)), i32.const(1));
}

/** Condition codes as in Jcc's low nibble (SDM volume 2 appendix B.1.4.7); 0 or 1. */
export function condition(site: Site, code: number): I32 {
  const comparison = site.lastComparison?.();
  const direct = comparison ? compared(comparison, code & 14) : undefined;
  if (direct) return code & 1 ? i32.eqz(direct()) : direct();
  const value = [
    () => overflow(site),
    () => carry(site),
    () => zero(site),
    () => i32.or(carry(site), zero(site)),
    () => sign(site),
    () => parity(site),
    () => i32.xor(sign(site), overflow(site)),
    () => i32.or(i32.xor(sign(site), overflow(site)), zero(site)),
  ][code >> 1] as () => I32;
  return code & 1 ? i32.eqz(value()) : value();
}

/** An even condition code as a comparison of the operands; undefined for overflow and parity. */
function compared({ kind, size, a, b }: Comparison, code: number): (() => I32) | undefined {
  const op = integerOps(size);
  // Operands of 8 and 16 bits are zero-extended; signed order needs their sign.
  const signed = (x: Local<Int>): Int =>
    size >= 32 ? x.get() : fromI64(size, toI64Signed(size, x.get()));
  if (kind === "logic")
    switch (code) {
      case 2:
        return () => i32.const(0);
      case 4:
      case 6:
        return () => op.eqz(a.get());
      case 8:
      case 12:
        return () => op.ltS(signed(a), op.const(0));
      case 14:
        return () => op.leS(signed(a), op.const(0));
      default:
        return undefined;
    }
  switch (code) {
    case 2:
      return () => op.ltU(a.get(), b.get());
    case 4:
      return () => op.eq(a.get(), b.get());
    case 6:
      return () => op.leU(a.get(), b.get());
    case 12:
      return () => op.ltS(signed(a), signed(b));
    case 14:
      return () => op.leS(signed(a), signed(b));
    default:
      return undefined;
  }
}

/** The arithmetic flags in their RFLAGS bits. */
export function arithmeticFlags(site: Site): I32 {
  let sum = carry(site);
  const or = (bit: number, value: I32): void => {
    sum = i32.or(sum, i32.shl(value, i32.const(bit)));
  };
  or(2, parity(site));
  or(4, adjust(site));
  or(6, zero(site));
  or(7, sign(site));
  or(11, overflow(site));
  return sum;
}

/** Sets the arithmetic flags from RFLAGS bits. */
export function setArithmeticFlags(site: Site, flags: Local<I32>): void {
  const bit = (n: number): I32 => i32.and(i32.shrU(flags.get(), i32.const(n)), i32.const(1));
  const result: I64 = i64.extendU(i32.xor(bit(6), i32.const(1)));
  const cf = i32.shl(bit(0), i32.const(31));
  const po = i32.shl(i32.xor(bit(0), bit(11)), i32.const(30));
  const af = i32.or(i32.or(cf, po), i32.shl(bit(4), i32.const(3)));
  const pf = i32.or(af, i32.shl(i32.xor(bit(2), bit(6)), i32.const(8)));
  site.setFlags(result, i32.or(pf, bit(7)));
}
