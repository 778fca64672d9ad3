/**
 * Exact arithmetic on x87's 80-bit numbers (SDM volume 1 §4.2 and §8.5): sign, 15-bit exponent,
 * 64-bit significand with its leading bit written out.
 *
 * Values are computed as integers of any length times a power of two and rounded once, so results
 * are right by construction. BigInt is slow; x87 is what `long double` and old code use, and this
 * is the oracle for a faster tier.
 */

export type Float80 = {
  readonly sign: number;
  readonly exponent: number;
  readonly mantissa: bigint;
};

export const rounding = { nearest: 0, down: 1, up: 2, zero: 3 } as const;

/** FSW's exception bits. */
export const exception = {
  invalid: 1,
  denormal: 2,
  zeroDivide: 4,
  overflow: 8,
  underflow: 16,
  precision: 32,
} as const;

/** Rounding control, precision in bits, and the exceptions that came up. */
export class Context {
  flags = 0;
  /** C1: the last rounding was away from zero. */
  roundedUp = false;
  readonly mode: number;
  readonly precision: number;
  constructor(mode: number, precision: number) {
    this.mode = mode;
    this.precision = precision;
  }
}

const bias = 16383;

export const topExponent = 0x7fff;

export const integerBit = 1n << 63n;

const quietBit = 1n << 62n;

export const zero = (sign: number): Float80 => ({ sign, exponent: 0, mantissa: 0n });

export const infinity = (sign: number): Float80 => ({
  sign,
  exponent: topExponent,
  mantissa: integerBit,
});

/** The default NaN. */
export const indefinite: Float80 = {
  sign: 1,
  exponent: topExponent,
  mantissa: 0xc000_0000_0000_0000n,
};

export const isZero = (x: Float80): boolean => x.exponent === 0 && x.mantissa === 0n;

export const isInfinity = (x: Float80): boolean =>
  x.exponent === topExponent && x.mantissa === integerBit;

export const isNan = (x: Float80): boolean =>
  x.exponent === topExponent && (x.mantissa & integerBit) !== 0n && x.mantissa !== integerBit;

export const isSignalling = (x: Float80): boolean => isNan(x) && (x.mantissa & quietBit) === 0n;

export const isDenormal = (x: Float80): boolean => x.exponent === 0 && x.mantissa !== 0n;

/** Encodings that the 80387 and later refuse: an exponent without the integer bit. */
export const isUnsupported = (x: Float80): boolean =>
  x.exponent !== 0 && (x.mantissa & integerBit) === 0n;

/** Exponent of the significand's lowest bit. */
export const unit = (x: Float80): number => (x.exponent === 0 ? 1 : x.exponent) - bias - 63;

export function bitLength(value: bigint): number {
  return value === 0n ? 0 : value.toString(2).length;
}

type Format = { readonly precision: number; readonly least: number; readonly most: number };

export const extended = (precision: number): Format => ({ precision, least: -16382, most: 16383 });

export const double: Format = { precision: 53, least: -1022, most: 1023 };

export const single: Format = { precision: 24, least: -126, most: 127 };

type Rounded = { readonly mantissa: bigint; readonly unit: number; readonly overflow: boolean };

/** Rounds mantissa × 2^unit to a format; the result may have one bit more, as a power of two. */
export function roundTo(
  context: Context,
  sign: number,
  mantissa: bigint,
  unitIn: number,
  format: Format,
): Rounded {
  const length = bitLength(mantissa);
  const leading = unitIn + length - 1;
  // Denormals of the format have a fixed unit, coarser with reduced precision control.
  const leastUnit = format.least - (format.precision - 1);
  const target = Math.max(leading - format.precision + 1, leastUnit);
  const shift = target - unitIn;
  if (shift <= 0) {
    context.roundedUp = false;
    return { mantissa, unit: unitIn, overflow: leading > format.most };
  }
  const cut = BigInt(shift);
  let kept = mantissa >> cut;
  const rest = mantissa - (kept << cut);
  const half = 1n << (cut - 1n);
  context.roundedUp = false;
  if (rest !== 0n) {
    context.flags |= exception.precision;
    const up =
      context.mode === rounding.nearest
        ? rest > half || (rest === half && (kept & 1n) === 1n)
        : context.mode === rounding.up
          ? sign === 0
          : context.mode === rounding.down && sign === 1;
    // Tiny and inexact, judged after rounding with an unbounded exponent.
    if (isTiny(context, sign, mantissa, leading, format)) context.flags |= exception.underflow;
    if (up) kept += 1n;
    context.roundedUp = up;
  }
  return { mantissa: kept, unit: target, overflow: target + bitLength(kept) - 1 > format.most };
}

export function isTiny(
  context: Context,
  sign: number,
  mantissa: bigint,
  leading: number,
  format: Format,
): boolean {
  if (leading >= format.least) return false;
  if (leading < format.least - 1) return true;
  // Just below the smallest normal number: rounding at full precision may lift it there.
  const shift = bitLength(mantissa) - format.precision;
  if (shift <= 0) return true;
  const cut = BigInt(shift);
  const kept = mantissa >> cut;
  const rest = mantissa - (kept << cut);
  const half = 1n << (cut - 1n);
  const up =
    context.mode === rounding.nearest
      ? rest > half || (rest === half && (kept & 1n) === 1n)
      : rest !== 0n &&
        (context.mode === rounding.up ? sign === 0 : context.mode === rounding.down && sign === 1);
  return bitLength(up ? kept + 1n : kept) === format.precision;
}

/** Whether an overflow rounds to infinity. */
export function overflowsToInfinity(context: Context, sign: number): boolean {
  if (context.mode === rounding.nearest) return true;
  return context.mode === (sign === 0 ? rounding.up : rounding.down);
}

/** mantissa × 2^unit as an 80-bit number, at the context's precision. */
export function pack(
  context: Context,
  sign: number,
  mantissa: bigint,
  unitIn: number,
  precision = context.precision,
): Float80 {
  if (mantissa === 0n) return zero(sign);
  const rounded = roundTo(context, sign, mantissa, unitIn, extended(precision));
  if (rounded.overflow) {
    context.flags |= exception.overflow | exception.precision;
    const toInfinity = overflowsToInfinity(context, sign);
    context.roundedUp = toInfinity;
    if (toInfinity) return infinity(sign);
    const ones = ((1n << BigInt(precision)) - 1n) << BigInt(64 - precision);
    return { sign, exponent: topExponent - 1, mantissa: ones };
  }
  return encode(sign, rounded.mantissa, rounded.unit);
}

export function encode(sign: number, mantissa: bigint, unitIn: number): Float80 {
  if (mantissa === 0n) return zero(sign);
  const length = bitLength(mantissa);
  const leading = unitIn + length - 1;
  if (leading < -16382)
    return { sign, exponent: 0, mantissa: mantissa << BigInt(unitIn + 16382 + 63) };
  const shift = BigInt(64 - length);
  const full = shift >= 0n ? mantissa << shift : mantissa >> -shift;
  return { sign, exponent: leading + bias, mantissa: full };
}

/** The NaN that an operation on NaNs gives: the larger significand, made quiet. */
export function propagate(context: Context, a: Float80, b: Float80): Float80 {
  if (isUnsupported(a) || isUnsupported(b)) return invalid(context);
  if (isSignalling(a) || isSignalling(b)) context.flags |= exception.invalid;
  const quiet = (x: Float80): Float80 => ({ ...x, mantissa: x.mantissa | quietBit });
  if (!isNan(b)) return quiet(a);
  if (!isNan(a)) return quiet(b);
  const fa = a.mantissa & ~quietBit;
  const fb = b.mantissa & ~quietBit;
  // A signalling operand loses against a quiet one.
  if (isSignalling(a) !== isSignalling(b)) return quiet(isSignalling(a) ? b : a);
  if (fa !== fb) return quiet(fa > fb ? a : b);
  return quiet(a.sign <= b.sign ? a : b);
}

export function invalid(context: Context): Float80 {
  context.flags |= exception.invalid;
  return indefinite;
}

function special(context: Context, a: Float80, b: Float80): Float80 | undefined {
  if (isUnsupported(a) || isUnsupported(b) || isNan(a) || isNan(b)) return propagate(context, a, b);
  return undefined;
}

function noteDenormals(context: Context, a: Float80, b: Float80): void {
  if (isDenormal(a) || isDenormal(b)) context.flags |= exception.denormal;
}

export function add(context: Context, a: Float80, b: Float80): Float80 {
  const nan = special(context, a, b);
  if (nan) return nan;
  if (isInfinity(a)) {
    if (isInfinity(b) && a.sign !== b.sign) return invalid(context);
    noteDenormals(context, a, b);
    return a;
  }
  noteDenormals(context, a, b);
  if (isInfinity(b)) return b;
  const low = Math.min(unit(a), unit(b));
  const signed = (x: Float80): bigint => {
    const value = x.mantissa << BigInt(unit(x) - low);
    return x.sign ? -value : value;
  };
  const sum = signed(a) + signed(b);
  if (sum === 0n) {
    // Equal signs keep theirs; an exact cancellation is +0 but for rounding down.
    const sign =
      a.sign === b.sign && isZero(a) && isZero(b) ? a.sign : context.mode === rounding.down ? 1 : 0;
    return zero(sign);
  }
  return pack(context, sum < 0n ? 1 : 0, sum < 0n ? -sum : sum, low);
}

export function negate(x: Float80): Float80 {
  return { ...x, sign: x.sign ^ 1 };
}

/** a - b; a NaN operand keeps its sign. */
export function subtract(context: Context, a: Float80, b: Float80): Float80 {
  return special(context, a, b) ?? add(context, a, negate(b));
}

export function multiply(context: Context, a: Float80, b: Float80): Float80 {
  const nan = special(context, a, b);
  if (nan) return nan;
  const sign = a.sign ^ b.sign;
  if (isInfinity(a) || isInfinity(b)) {
    if (isZero(a) || isZero(b)) return invalid(context);
    noteDenormals(context, a, b);
    return infinity(sign);
  }
  noteDenormals(context, a, b);
  return pack(context, sign, a.mantissa * b.mantissa, unit(a) + unit(b));
}

export function divide(context: Context, a: Float80, b: Float80): Float80 {
  const nan = special(context, a, b);
  if (nan) return nan;
  const sign = a.sign ^ b.sign;
  if (isInfinity(a)) {
    if (isInfinity(b)) return invalid(context);
    noteDenormals(context, a, b);
    return infinity(sign);
  }
  if (isZero(b)) {
    if (isZero(a)) return invalid(context);
    context.flags |= exception.zeroDivide;
    return infinity(sign);
  }
  noteDenormals(context, a, b);
  if (isInfinity(b)) return zero(sign);
  if (isZero(a)) return zero(sign);
  // 140 extra bits leave more than 64 in the quotient; the remainder becomes a sticky bit.
  const dividend = a.mantissa << 140n;
  const quotient = dividend / b.mantissa;
  const sticky = quotient * b.mantissa === dividend ? 0n : 1n;
  return pack(context, sign, (quotient << 1n) | sticky, unit(a) - unit(b) - 141);
}

export function squareRoot(context: Context, x: Float80): Float80 {
  const nan = special(context, x, x);
  if (nan) return nan;
  if (isZero(x)) return x;
  if (x.sign) return invalid(context);
  if (isInfinity(x)) return x;
  noteDenormals(context, x, x);
  const odd = unit(x) & 1;
  const scaled = x.mantissa << BigInt(140 + odd);
  const root = integerRoot(scaled);
  const sticky = root * root === scaled ? 0n : 1n;
  return pack(context, 0, (root << 1n) | sticky, (unit(x) - odd - 140) / 2 - 1);
}

export function integerRoot(value: bigint): bigint {
  let guess = 1n << BigInt(Math.ceil(bitLength(value) / 2));
  for (;;) {
    const next = (guess + value / guess) >> 1n;
    if (next >= guess) return guess;
    guess = next;
  }
}

/** -1, 0, 1, or undefined when unordered. */
export function compare(a: Float80, b: Float80): -1 | 0 | 1 | undefined {
  if (isNan(a) || isNan(b) || isUnsupported(a) || isUnsupported(b)) return undefined;
  if (isZero(a) && isZero(b)) return 0;
  if (a.sign !== b.sign) return a.sign ? -1 : 1;
  const low = Math.min(unit(a), unit(b));
  const x = a.mantissa << BigInt(Math.min(unit(a) - low, 40_000));
  const y = b.mantissa << BigInt(Math.min(unit(b) - low, 40_000));
  if (x === y) return 0;
  return x < y === (a.sign === 0) ? -1 : 1;
}

export * from "./conversions.ts";
