/**
 * F2XM1, FYL2X, FYL2XP1, FPATAN, FSIN, FCOS, FPTAN: what they do with zeros, infinities and NaNs
 * (SDM volume 2, the tables of each), and one rounding of what elementary.ts computes. They round to
 * 64 bits whatever the precision control says (SDM volume 1 §8.1.5.2).
 */
import * as elementary from "./elementary.ts";
import * as f from "./float80.ts";

type Context = f.Context;

const real = (x: f.Float80): elementary.Real => ({
  sign: x.sign,
  mantissa: x.mantissa,
  unit: f.unit(x),
});

function rounded(context: Context, { sign, mantissa, unit }: elementary.Real): f.Float80 {
  return f.pack(context, sign, mantissa, unit, 64);
}

/** Notes denormal operands; a NaN or an unsupported number is the result. */
function special(context: Context, ...operands: readonly f.Float80[]): f.Float80 | undefined {
  const [a, b = a] = operands;
  if (a === undefined || b === undefined) return undefined;
  if (operands.some((x) => f.isNan(x) || f.isUnsupported(x))) return f.propagate(context, a, b);
  return undefined;
}

function noteDenormals(context: Context, ...operands: readonly f.Float80[]): void {
  if (operands.some(f.isDenormal)) context.flags |= f.exception.denormal;
}

const one = f.fromInteger(1n);

/** 2^x − 1; undefined beyond ±1, where we stay at the border. */
export function exp2minus1(context: Context, x: f.Float80): f.Float80 {
  const nan = special(context, x);
  if (nan) return nan;
  noteDenormals(context, x);
  if (f.isZero(x)) return x;
  if (x.exponent < one.exponent) return rounded(context, elementary.exp2minus1(real(x)));
  if (f.isInfinity(x)) return x.sign ? f.negate(one) : x;
  return x.sign ? { ...one, sign: 1, exponent: one.exponent - 1 } : one;
}

/** A finite logarithm times y. */
function product(context: Context, log: elementary.Real, y: f.Float80): f.Float80 {
  const sign = log.sign ^ y.sign;
  if (f.isInfinity(y)) return f.infinity(sign);
  if (f.isZero(y)) return f.zero(sign);
  return rounded(context, {
    sign,
    mantissa: log.mantissa * y.mantissa,
    unit: log.unit + f.unit(y),
  });
}

/** y × log2 x. */
export function yLog2x(context: Context, x: f.Float80, y: f.Float80): f.Float80 {
  const nan = special(context, x, y);
  if (nan) return nan;
  if (f.isZero(x)) {
    if (f.isZero(y)) return f.invalid(context);
    if (!f.isInfinity(y)) context.flags |= f.exception.zeroDivide;
    return f.infinity(y.sign ^ 1);
  }
  if (x.sign) return f.invalid(context);
  if (f.isInfinity(x)) {
    if (f.isZero(y)) return f.invalid(context);
    noteDenormals(context, y);
    return f.infinity(y.sign);
  }
  if (f.isInfinity(y) && f.compare(x, one) === 0) return f.invalid(context);
  noteDenormals(context, x, y);
  const log = elementary.log2(real(x));
  if (log.mantissa === 0n) return f.zero(y.sign);
  const result = product(context, log, y);
  // Processors say "inexact" also of a power of two, where it is not.
  if (!f.isInfinity(y) && !f.isZero(y)) context.flags |= f.exception.precision;
  if (f.isDenormal(result)) context.flags |= f.exception.underflow;
  return result;
}

/** y × log2(1 + x); undefined outside ±(1 − √½), where we go on as far as there is a logarithm. */
export function yLog2xPlus1(context: Context, x: f.Float80, y: f.Float80): f.Float80 {
  const nan = special(context, x, y);
  if (nan) return nan;
  if (f.isZero(x)) {
    if (f.isInfinity(y)) return f.invalid(context);
    noteDenormals(context, y);
    return f.zero(x.sign ^ y.sign);
  }
  if (f.isInfinity(x)) {
    if (x.sign || f.isZero(y)) return f.invalid(context);
    noteDenormals(context, y);
    return f.infinity(y.sign);
  }
  noteDenormals(context, x, y);
  if (x.exponent < one.exponent - 2) return product(context, elementary.log2plus1(real(x)), y);
  const sum = f.add(new f.Context(f.rounding.nearest, 64), x, one);
  return yLog2x(context, sum, y);
}

/** The angle of (x, y). */
export function partialArctangent(context: Context, x: f.Float80, y: f.Float80): f.Float80 {
  const nan = special(context, x, y);
  if (nan) return nan;
  noteDenormals(context, x, y);
  const corner = (quarters: number): f.Float80 =>
    quarters === 0 ? f.zero(y.sign) : rounded(context, elementary.quarterPi(quarters, y.sign));
  if (f.isInfinity(y)) return corner(f.isInfinity(x) ? (x.sign ? 3 : 1) : 2);
  if (f.isInfinity(x) || f.isZero(y)) return corner(x.sign ? 4 : 0);
  if (f.isZero(x)) return corner(2);
  return rounded(context, elementary.angle(real(y), real(x)));
}

/** NaNs and infinities; what is left for the functions of an angle is finite and below 2^63. */
function angleOf(context: Context, x: f.Float80): f.Float80 | undefined {
  const nan = special(context, x);
  if (nan) return nan;
  if (f.isInfinity(x)) return f.invalid(context);
  noteDenormals(context, x);
  return undefined;
}

export function sine(context: Context, x: f.Float80): f.Float80 {
  const given = angleOf(context, x) ?? (f.isZero(x) ? x : undefined);
  return given ?? rounded(context, elementary.sineAndCosine(real(x))[0]);
}

export function cosine(context: Context, x: f.Float80): f.Float80 {
  const given = angleOf(context, x) ?? (f.isZero(x) ? one : undefined);
  return given ?? rounded(context, elementary.sineAndCosine(real(x))[1]);
}

export function tangent(context: Context, x: f.Float80): f.Float80 {
  const given = angleOf(context, x) ?? (f.isZero(x) ? x : undefined);
  return given ?? rounded(context, elementary.tangent(real(x)));
}
