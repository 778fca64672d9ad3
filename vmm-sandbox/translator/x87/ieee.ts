/**
 * IEEE singles and doubles as SSE computes them (SDM volume 1 §11.5): exact, then rounded once by
 * MXCSR's mode, with its exceptions, denormals-are-zeros and flush-to-zero. Numbers are bit
 * patterns. Slow, and right by construction; emitted code comes here only when it must.
 */
import * as f from "./float80.ts";

export type Size = 32 | 64;

const daz = 0x40;
const ftz = 0x8000;
const underflowMask = 0x800;

/** MXCSR at work: its controls, and the exceptions that come up. */
export class SseContext extends f.Context {
  readonly mxcsr: number;
  constructor(mxcsr: number) {
    super((mxcsr >> 13) & 3, 64);
    this.mxcsr = mxcsr;
  }
  raise(flags: number): void {
    this.flags |= flags;
  }
}

type Finite = { readonly sign: number; readonly mantissa: bigint; readonly unit: number };

const fields = { 32: [23, 0xff, 127], 64: [52, 0x7ff, 1023] } as const;
const formats = { 32: f.single, 64: f.double } as const;

const signOf = (bits: bigint, size: Size): number => Number((bits >> BigInt(size - 1)) & 1n);

function exponentOf(bits: bigint, size: Size): number {
  const [fraction, top] = fields[size];
  return Number(bits >> BigInt(fraction)) & top;
}

const fractionOf = (bits: bigint, size: Size): bigint => BigInt.asUintN(fields[size][0], bits);

const topExponent = (size: Size): bigint => BigInt(fields[size][1]) << BigInt(fields[size][0]);
const quietBit = (size: Size): bigint => 1n << BigInt(fields[size][0] - 1);
const zero = (sign: number, size: Size): bigint => BigInt(sign) << BigInt(size - 1);
const infinity = (sign: number, size: Size): bigint => zero(sign, size) | topExponent(size);
export const indefinite = (size: Size): bigint => infinity(1, size) | quietBit(size);

const isSpecial = (bits: bigint, size: Size): boolean => exponentOf(bits, size) === fields[size][1];
export const isNan = (bits: bigint, size: Size): boolean =>
  isSpecial(bits, size) && fractionOf(bits, size) !== 0n;
const isSignalling = (bits: bigint, size: Size): boolean =>
  isNan(bits, size) && !(bits & quietBit(size));
const isInfinity = (bits: bigint, size: Size): boolean =>
  isSpecial(bits, size) && fractionOf(bits, size) === 0n;
const isZero = (bits: bigint, size: Size): boolean => BigInt.asUintN(size - 1, bits) === 0n;

/** A denormal operand becomes zero with DAZ; otherwise it is noted. */
function operand(context: SseContext, bits: bigint, size: Size): bigint {
  if (exponentOf(bits, size) !== 0 || isZero(bits, size)) return bits;
  if (context.mxcsr & daz) return zero(signOf(bits, size), size);
  context.raise(f.exception.denormal);
  return bits;
}

function finite(bits: bigint, size: Size): Finite {
  const [fraction, , bias] = fields[size];
  const exponent = exponentOf(bits, size);
  const hidden = exponent === 0 ? 0n : 1n << BigInt(fraction);
  const unit = (exponent === 0 ? 1 : exponent) - bias - fraction;
  return { sign: signOf(bits, size), mantissa: fractionOf(bits, size) | hidden, unit };
}

/** The first operand that is a NaN, made quiet; a signalling one is invalid. */
function propagate(context: SseContext, a: bigint, b: bigint, size: Size): bigint {
  if (isSignalling(a, size) || isSignalling(b, size)) context.raise(f.exception.invalid);
  return (isNan(a, size) ? a : b) | quietBit(size);
}

function invalid(context: SseContext, size: Size): bigint {
  context.raise(f.exception.invalid);
  return indefinite(size);
}

/** Rounds to a format. */
export function round(context: SseContext, value: Finite, size: Size): bigint {
  const { sign, mantissa, unit } = value;
  if (mantissa === 0n) return zero(sign, size);
  const format = formats[size];
  const leading = unit + f.bitLength(mantissa) - 1;
  const tiny = f.isTiny(context, sign, mantissa, leading, format);
  if (tiny && !(context.mxcsr & underflowMask)) context.raise(f.exception.underflow);
  else if (tiny && context.mxcsr & ftz) {
    context.raise(f.exception.underflow | f.exception.precision);
    return zero(sign, size);
  }
  const rounded = f.roundTo(context, sign, mantissa, unit, format);
  if (rounded.overflow) {
    context.raise(f.exception.overflow | f.exception.precision);
    return infinity(sign, size) - (f.overflowsToInfinity(context, sign) ? 0n : 1n);
  }
  if (rounded.mantissa === 0n) return zero(sign, size);
  return zero(sign, size) | encode(rounded.mantissa, rounded.unit, size);
}

function encode(mantissa: bigint, unit: number, size: Size): bigint {
  const [fraction, , bias] = fields[size];
  const leading = unit + f.bitLength(mantissa) - 1;
  const exponent = Math.max(leading + bias, 0);
  const least = Math.max(leading, 1 - bias) - fraction;
  const shift = BigInt(unit - least);
  const aligned = shift >= 0n ? mantissa << shift : mantissa >> -shift;
  // A denormal has exponent field 0 and no hidden bit; carrying into it makes it normal.
  if (exponent === 0) return aligned;
  return (BigInt(exponent) << BigInt(fraction)) + (aligned - (1n << BigInt(fraction)));
}

export type Operation = (context: SseContext, a: bigint, b: bigint, size: Size) => bigint;

function arithmetic(
  special: Operation,
  exact: (a: Finite, b: Finite, down: boolean) => Finite,
): Operation {
  return (context, a, b, size) => {
    if (isNan(a, size) || isNan(b, size)) return propagate(context, a, b, size);
    const before = context.flags;
    const [x, y] = [operand(context, a, size), operand(context, b, size)];
    // A denormal dividend is not reported beside a division by zero.
    if (exact === quotient && isZero(y, size)) context.flags = before;
    if (isInfinity(x, size) || isInfinity(y, size) || (exact === quotient && isZero(y, size)))
      return special(context, x, y, size);
    const down = context.mode === f.rounding.down;
    return round(context, exact(finite(x, size), finite(y, size), down), size);
  };
}

function sum(a: Finite, b: Finite, down: boolean): Finite {
  const unit = Math.min(a.unit, b.unit);
  const signed = (x: Finite): bigint =>
    (x.sign ? -x.mantissa : x.mantissa) << BigInt(x.unit - unit);
  const total = signed(a) + signed(b);
  if (total !== 0n)
    return { sign: total < 0n ? 1 : 0, mantissa: total < 0n ? -total : total, unit };
  const same = a.sign === b.sign;
  return { sign: same ? a.sign : down ? 1 : 0, mantissa: 0n, unit };
}

const opposite = (x: Finite): Finite => ({ ...x, sign: x.sign ^ 1 });

function product(a: Finite, b: Finite): Finite {
  return { sign: a.sign ^ b.sign, mantissa: a.mantissa * b.mantissa, unit: a.unit + b.unit };
}

function quotient(a: Finite, b: Finite): Finite {
  const dividend = a.mantissa << 130n;
  const whole = dividend / b.mantissa;
  const sticky = whole * b.mantissa === dividend ? 0n : 1n;
  const unit = a.unit - b.unit - 131;
  return { sign: a.sign ^ b.sign, mantissa: (whole << 1n) | sticky, unit };
}

/** ∞ + ∞ of one sign, else invalid; `flip`: subtraction. */
function infiniteSum(flip: number): Operation {
  return (context, a, b, size) => {
    const other = signOf(b, size) ^ flip;
    if (!isInfinity(a, size)) return infinity(other, size);
    if (isInfinity(b, size) && signOf(a, size) !== other) return invalid(context, size);
    return a;
  };
}

const infiniteProduct: Operation = (context, a, b, size) =>
  isZero(a, size) || isZero(b, size)
    ? invalid(context, size)
    : infinity(signOf(a, size) ^ signOf(b, size), size);

const specialQuotient: Operation = (context, a, b, size) => {
  const sign = signOf(a, size) ^ signOf(b, size);
  if (isInfinity(a, size))
    return isInfinity(b, size) ? invalid(context, size) : infinity(sign, size);
  if (isInfinity(b, size)) return zero(sign, size);
  if (isZero(a, size)) return invalid(context, size);
  context.raise(f.exception.zeroDivide);
  return infinity(sign, size);
};

const squareRoot: Operation = (context, _a, b, size) => {
  if (isNan(b, size)) return propagate(context, b, b, size);
  const negative = signOf(b, size) === 1;
  // Of a negative denormal only the sign matters.
  if (negative && !isZero(b, size) && (exponentOf(b, size) !== 0 || !(context.mxcsr & daz)))
    return invalid(context, size);
  const x = operand(context, b, size);
  if (isZero(x, size) || isInfinity(x, size)) return x;
  const { mantissa, unit } = finite(x, size);
  const odd = unit & 1;
  const scaled = mantissa << BigInt(130 + odd);
  const root = f.integerRoot(scaled);
  const sticky = root * root === scaled ? 0n : 1n;
  return round(
    context,
    { sign: 0, mantissa: (root << 1n) | sticky, unit: (unit - odd - 130) / 2 - 1 },
    size,
  );
};

/** -1, 0, 1 or undefined: unordered. `quiet`: quiet NaNs are no exception. */
export function compare(
  context: SseContext,
  a: bigint,
  b: bigint,
  size: Size,
  quiet: boolean,
): -1 | 0 | 1 | undefined {
  if (isNan(a, size) || isNan(b, size)) {
    if (!quiet || isSignalling(a, size) || isSignalling(b, size))
      context.raise(f.exception.invalid);
    return undefined;
  }
  const [x, y] = [operand(context, a, size), operand(context, b, size)];
  const order = (bits: bigint): bigint => {
    const magnitude = BigInt.asUintN(size - 1, bits);
    return signOf(bits, size) ? -magnitude : magnitude;
  };
  const [p, q] = [order(x), order(y)];
  return p === q ? 0 : p < q ? -1 : 1;
}

/** MINPS, MAXPS: the second operand unless the first is strictly beyond it. */
function extreme(wanted: -1 | 1): Operation {
  return (context, a, b, size) => {
    const chosen = compare(context, a, b, size, false) === wanted ? a : b;
    const isDenormal = exponentOf(chosen, size) === 0 && !isZero(chosen, size);
    return isDenormal && context.mxcsr & daz ? zero(signOf(chosen, size), size) : chosen;
  };
}

export const operations: Readonly<Record<string, Operation>> = {
  add: arithmetic(infiniteSum(0), sum),
  sub: arithmetic(infiniteSum(1), (a, b, down) => sum(a, opposite(b), down)),
  mul: arithmetic(infiniteProduct, product),
  div: arithmetic(specialQuotient, quotient),
  min: extreme(-1),
  max: extreme(1),
  sqrt: squareRoot,
};

/** To a signed integer of `bits`, or its "integer indefinite". */
export function toInteger(
  context: SseContext,
  value: bigint,
  size: Size,
  bits: number,
  mode = context.mode,
): bigint {
  const refuse = (): bigint => {
    context.raise(f.exception.invalid);
    return 1n << BigInt(bits - 1);
  };
  if (isSpecial(value, size)) return refuse();
  const isDenormal = exponentOf(value, size) === 0;
  const source = isDenormal && context.mxcsr & daz ? zero(signOf(value, size), size) : value;
  const before = context.flags;
  const whole = integral(context, finite(source, size), mode);
  const limit = 1n << BigInt(bits - 1);
  if (whole >= limit || whole < -limit) {
    context.flags = before;
    return refuse();
  }
  return BigInt.asUintN(bits, whole);
}

function integral(context: SseContext, { sign, mantissa, unit }: Finite, mode: number): bigint {
  if (unit >= 0) {
    const whole = mantissa << BigInt(Math.min(unit, 2000));
    return sign ? -whole : whole;
  }
  const cut = BigInt(-unit);
  const kept = mantissa >> cut;
  const rest = mantissa - (kept << cut);
  if (rest === 0n) return sign ? -kept : kept;
  const half = 1n << (cut - 1n);
  const up =
    mode === f.rounding.nearest
      ? rest > half || (rest === half && (kept & 1n) === 1n)
      : mode === (sign ? f.rounding.down : f.rounding.up);
  context.raise(f.exception.precision);
  const whole = up ? kept + 1n : kept;
  return sign ? -whole : whole;
}

export function fromInteger(context: SseContext, value: bigint, size: Size): bigint {
  const sign = value < 0n ? 1 : 0;
  return round(context, { sign, mantissa: sign ? -value : value, unit: 0 }, size);
}

/** Between single and double. */
export function convert(context: SseContext, bits: bigint, from: Size, to: Size): bigint {
  const sign = signOf(bits, from);
  if (isNan(bits, from)) {
    if (isSignalling(bits, from)) context.raise(f.exception.invalid);
    const shift = BigInt(fields[to][0] - fields[from][0]);
    const payload = fractionOf(bits, from);
    const moved = shift >= 0n ? payload << shift : payload >> -shift;
    return infinity(sign, to) | moved | quietBit(to);
  }
  if (isInfinity(bits, from)) return infinity(sign, to);
  return round(context, finite(operand(context, bits, from), from), to);
}

/** ROUNDPS and its kin: an integer in the same format. */
export function roundToIntegral(
  context: SseContext,
  bits: bigint,
  size: Size,
  mode: number,
  silent: boolean,
): bigint {
  if (isNan(bits, size)) return propagate(context, bits, bits, size);
  if (isInfinity(bits, size) || isZero(bits, size)) return bits;
  const isDenormal = exponentOf(bits, size) === 0;
  const sign = signOf(bits, size);
  if (isDenormal && context.mxcsr & daz) return zero(sign, size);
  const before = context.flags;
  const whole = integral(context, finite(bits, size), mode);
  if (silent) context.flags = before;
  if (whole === 0n) return zero(sign, size);
  return round(context, { sign, mantissa: whole < 0n ? -whole : whole, unit: 0 }, size);
}
