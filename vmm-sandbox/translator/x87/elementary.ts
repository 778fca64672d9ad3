/**
 * Elementary functions of 64-bit significands, to more than 100 bits, as integers of any length.
 *
 * A fixed-point number is an integer times 2^-W. Arguments so small that this would lose bits are
 * left to series of one term, whose error is below the last bit that anybody looks at. Nothing here
 * is rounded to a format: `above` tells the caller's rounding that more follows.
 */
import { bitLength } from "./float80.ts";

/** Sign, and |value| = mantissa × 2^unit. */
export interface Real {
  readonly sign: number;
  readonly mantissa: bigint;
  readonly unit: number;
}

const WIDTH = 256;
const W = BigInt(WIDTH);
const ONE = 1n << W;
/** Below 2^-SMALL the first term of a series is the function, to 160 bits. */
const SMALL = 80;

/** The value and a little more, or less: an irrational number is never a tie. */
export const above = (x: Real): Real => ({
  ...x,
  mantissa: (x.mantissa << 1n) | 1n,
  unit: x.unit - 1,
});
const below = (x: Real): Real => ({
  ...x,
  mantissa: (x.mantissa << 100n) - 1n,
  unit: x.unit - 100,
});

const fromFixed = (value: bigint): Real => ({
  sign: value < 0n ? 1 : 0,
  mantissa: value < 0n ? -value : value,
  unit: -WIDTH,
});

/** Truncated; exact when the unit is not below the fixed point's. */
function toFixed({ sign, mantissa, unit }: Real): bigint {
  const shift = BigInt(unit + WIDTH);
  const value = shift >= 0n ? mantissa << shift : mantissa >> -shift;
  return sign ? -value : value;
}

/** Exponent of the first bit. */
const leading = ({ mantissa, unit }: Real): number => unit + bitLength(mantissa) - 1;

const times = (a: bigint, b: bigint): bigint => (a * b) >> W;

/** s + s³/3 + s⁵/5 …, or with alternating signs. */
function oddSeries(s: bigint, alternating: boolean): bigint {
  const step = alternating ? -times(s, s) : times(s, s);
  let term = s;
  let sum = s;
  for (let k = 3n; term !== 0n && term !== -1n; k += 2n) {
    term = times(term, step);
    sum += term / k;
  }
  return sum;
}

/** A constant that is computed when it is first needed. */
function once(compute: () => bigint): () => bigint {
  let value: bigint | undefined;
  return () => {
    value ??= compute();
    return value;
  };
}

/** ln 2 = 2 artanh(1/3). */
const ln2 = once(() => 2n * oddSeries(ONE / 3n, false));
/** Machin: π/4 = 4 arctan(1/5) − arctan(1/239). */
const pi = once(() => 4n * (4n * oddSeries(ONE / 5n, true) - oddSeries(ONE / 239n, true)));

/** 2^x − 1 for −1 < x < 1, x not 0. */
export function exp2minus1(x: Real): Real {
  if (leading(x) < -SMALL)
    return above({ sign: x.sign, mantissa: x.mantissa * ln2(), unit: x.unit - WIDTH });
  const halvings = 8n;
  const t = times(toFixed(x), ln2()) >> halvings;
  let term = t;
  let result = t;
  for (let k = 2n; term !== 0n && term !== -1n; k++) {
    term = times(term, t) / k;
    result += term;
  }
  // e^2t − 1 = (e^t − 1)(e^t − 1 + 2)
  for (let i = 0n; i < halvings; i++) result = times(result, result + 2n * ONE);
  return above(fromFixed(result));
}

/** ln(a/b), for a quotient near 1: 2 artanh((a − b)/(a + b)). */
const logarithm = (a: bigint, b: bigint): bigint => 2n * oddSeries(((a - b) << W) / (a + b), false);

/** log2 of a positive number; exact for powers of two. */
export function log2(x: Real): Real {
  const length = bitLength(x.mantissa);
  let exponent = x.unit + length;
  let scale = 1n << BigInt(length);
  // The significand between 0.70 and 1.41, so that nothing cancels near 1.
  if (10n * x.mantissa < 7n * scale) {
    scale >>= 1n;
    exponent -= 1;
  }
  const whole = BigInt(exponent) << W;
  if (x.mantissa === scale) return fromFixed(whole);
  return above(fromFixed(whole + (logarithm(x.mantissa, scale) << W) / ln2()));
}

/** log2(1 + x) for |x| < 0.42, x not 0. */
export function log2plus1(x: Real): Real {
  if (leading(x) < -SMALL)
    return above({
      sign: x.sign,
      mantissa: (x.mantissa << (2n * W)) / ln2(),
      unit: x.unit - WIDTH,
    });
  const whole = ONE << 128n; // exact for 64 bits down to 2^-80
  const shift = BigInt(x.unit + WIDTH + 128);
  const part = (x.sign ? -x.mantissa : x.mantissa) << shift;
  return above(fromFixed((logarithm(whole + part, whole) << W) / ln2()));
}

/**
 * Reduction as the processors do it: by a π of 66 bits, which is what programs that use these
 * instructions have always got (SDM volume 1 §8.3.8).
 */
const halfPi66 = { mantissa: 0x3_243f_6a88_85a3_08d3n, unit: -65 };

/** x = quadrant × π/2 + rest, |rest| ≤ π/4; x below 2^63. */
function reduce(x: Real): { readonly quadrant: number; readonly rest: bigint } {
  const low = Math.min(x.unit, halfPi66.unit);
  const value = x.mantissa << BigInt(x.unit - low);
  const half = halfPi66.mantissa << BigInt(halfPi66.unit - low);
  const count = (2n * value + half) / (2n * half);
  const rest = toFixed({ sign: 0, mantissa: 1n, unit: 0 }) * (value - count * half);
  return { quadrant: Number(count & 3n), rest: rest >> BigInt(-low) };
}

/** sin and cos of |t| ≤ π/4. */
function circular(t: bigint): readonly [sine: bigint, cosine: bigint] {
  const square = times(t, t);
  let [sine, cosine, term] = [t, ONE, ONE];
  for (let k = 1n; term !== 0n && term !== -1n; k += 2n) {
    term = -times(term, square) / (k * (k + 1n));
    cosine += term;
  }
  term = t;
  for (let k = 2n; term !== 0n && term !== -1n; k += 2n) {
    term = -times(term, square) / (k * (k + 1n));
    sine += term;
  }
  return [sine, cosine];
}

/** Below 2^-40 the next term of the series is beyond the last bit. */
const TINY_ANGLE = -40;

/** Both of |x|; the sine gets x's sign. */
export function sineAndCosine(x: Real): readonly [sine: Real, cosine: Real] {
  if (leading(x) < TINY_ANGLE) return [below(x), below({ sign: 0, mantissa: 1n, unit: 0 })];
  const { quadrant, rest } = reduce(x);
  const [s, c] = circular(rest);
  const turned = [
    [s, c],
    [c, -s],
    [-s, -c],
    [-c, s],
  ][quadrant] as [bigint, bigint];
  const [sine, cosine] = turned.map(fromFixed) as [Real, Real];
  return [above({ ...sine, sign: sine.sign ^ x.sign }), above(cosine)];
}

export function tangent(x: Real): Real {
  if (leading(x) < TINY_ANGLE)
    return { ...x, mantissa: (x.mantissa << 100n) + 1n, unit: x.unit - 100 };
  const [sine, cosine] = sineAndCosine(x);
  const quotient = (sine.mantissa << W) / cosine.mantissa;
  return above({
    sign: sine.sign ^ cosine.sign,
    mantissa: quotient,
    unit: sine.unit - cosine.unit - WIDTH,
  });
}

const STEPS = 32n;
const atanTable: bigint[] = [0n];

/** arctan(k/32): each from the one before, arctan a − arctan b = arctan((a − b)/(1 + ab)). */
function atanOfStep(k: number): bigint {
  for (let i = atanTable.length; i <= k; i++) {
    const step = (STEPS << W) / (STEPS * STEPS + BigInt(i) * BigInt(i - 1));
    atanTable.push((atanTable[i - 1] as bigint) + oddSeries(step, true));
  }
  return atanTable[k] as bigint;
}

/** arctan of a quotient in (0, 1]. */
function arctangent(quotient: bigint): bigint {
  const k = (quotient * STEPS + ONE / 2n) >> W;
  const c = k * ONE;
  // (q − c/32)/(1 + qc/32)
  const rest = ((STEPS * quotient - c) << W) / (STEPS * ONE + times(quotient, c));
  return atanOfStep(Number(k)) + oddSeries(rest, true);
}

/** The angle of (x, y), neither 0: y's sign, 0 to π. */
export function angle(y: Real, x: Real): Real {
  const isSteep = compare(y, x) > 0;
  const [small, large] = isSteep ? [x, y] : [y, x];
  const shift = 200 + Math.max(0, bitLength(large.mantissa) - bitLength(small.mantissa));
  const quotient: Real = {
    sign: y.sign,
    mantissa: (small.mantissa << BigInt(shift)) / large.mantissa,
    unit: small.unit - large.unit - shift,
  };
  const isTiny = leading(quotient) < -SMALL;
  if (isTiny && !isSteep && x.sign === 0) return above(quotient);
  const part = isTiny ? 1n : arctangent(toFixed({ ...quotient, sign: 0 }));
  let result = isSteep ? pi() / 2n - part : part;
  if (x.sign) result = pi() - result;
  return above({ ...fromFixed(result), sign: y.sign });
}

/** Multiples of π/4, for the corners of the plane. */
export const quarterPi = (count: number, sign: number): Real =>
  above({ ...fromFixed((pi() * BigInt(count)) / 4n), sign });

/** By magnitude. */
function compare(a: Real, b: Real): number {
  const [la, lb] = [leading(a), leading(b)];
  if (la !== lb) return la - lb;
  const low = Math.min(a.unit, b.unit);
  const difference = (a.mantissa << BigInt(a.unit - low)) - (b.mantissa << BigInt(b.unit - low));
  return difference > 0n ? 1 : difference < 0n ? -1 : 0;
}
