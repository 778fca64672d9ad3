/** Between 80-bit numbers and the other formats: integers, singles, doubles. */
import {
  bitLength,
  Context,
  double,
  encode,
  exception,
  type Float80,
  indefinite,
  infinity,
  integerBit,
  invalid,
  isInfinity,
  isNan,
  isSignalling,
  isUnsupported,
  isZero,
  overflowsToInfinity,
  propagate,
  rounding,
  roundTo,
  single,
  topExponent,
  unit,
} from "./float80.ts";

/** Rounded to an integer, or undefined for NaN and infinity. */
export function toInteger(context: Context, x: Float80, mode = context.mode): bigint | undefined {
  if (isNan(x) || isInfinity(x) || isUnsupported(x)) return undefined;
  const shift = unit(x);
  // Far beyond any integer format already.
  if (shift > 64) return x.sign ? -(1n << 127n) : 1n << 127n;
  let value: bigint;
  context.roundedUp = false;
  if (shift >= 0) value = x.mantissa << BigInt(shift);
  else {
    const cut = BigInt(Math.min(-shift, 70));
    const kept = x.mantissa >> cut;
    const rest = x.mantissa - (kept << cut);
    const half = 1n << (cut - 1n);
    const up =
      rest !== 0n &&
      (mode === rounding.nearest
        ? rest > half || (rest === half && (kept & 1n) === 1n)
        : mode === rounding.up
          ? x.sign === 0
          : mode === rounding.down && x.sign === 1);
    if (rest !== 0n) context.flags |= exception.precision;
    context.roundedUp = up;
    value = up ? kept + 1n : kept;
  }
  return x.sign ? -value : value;
}

export function fromInteger(value: bigint): Float80 {
  const sign = value < 0n ? 1 : 0;
  return encode(sign, sign ? -value : value, 0);
}

/** Widens an IEEE single or double, given as bits; exact. Signalling NaNs are made quiet. */
export function widen(context: Context, bits: bigint, size: 32 | 64): Float80 {
  const [fraction, exponentBits, offset] = size === 32 ? [23, 8, 127] : [52, 11, 1023];
  const sign = Number((bits >> BigInt(size - 1)) & 1n);
  const exponent = Number((bits >> BigInt(fraction)) & ((1n << BigInt(exponentBits)) - 1n));
  const mantissa = bits & ((1n << BigInt(fraction)) - 1n);
  if (exponent === (1 << exponentBits) - 1) {
    if (mantissa === 0n) return infinity(sign);
    const value = integerBit | (mantissa << BigInt(63 - fraction));
    const nan = { sign, exponent: topExponent, mantissa: value };
    return isSignalling(nan) ? propagate(context, nan, nan) : nan;
  }
  if (exponent === 0) {
    if (mantissa !== 0n) context.flags |= exception.denormal;
    return encode(sign, mantissa, 1 - offset - fraction);
  }
  return encode(sign, mantissa | (1n << BigInt(fraction)), exponent - offset - fraction);
}

/** Narrows to an IEEE single or double's bits. */
export function narrow(context: Context, x: Float80, size: 32 | 64): bigint {
  const format = size === 32 ? single : double;
  const fraction = format.precision - 1;
  const sign = BigInt(x.sign) << BigInt(size - 1);
  const top = ((1n << BigInt(size - 1 - fraction)) - 1n) << BigInt(fraction);
  if (isUnsupported(x)) return narrow(context, invalid(context), size);
  if (isNan(x)) {
    const quiet = propagate(context, x, x);
    return sign | top | ((quiet.mantissa & ~integerBit) >> BigInt(63 - fraction));
  }
  if (isInfinity(x)) return sign | top;
  if (isZero(x)) return sign;
  const rounded = roundTo(context, x.sign, x.mantissa, unit(x), format);
  if (rounded.overflow) {
    context.flags |= exception.overflow | exception.precision;
    const toInfinity = overflowsToInfinity(context, x.sign);
    context.roundedUp = toInfinity;
    return sign | (toInfinity ? top : top - 1n);
  }
  const leading = rounded.unit + bitLength(rounded.mantissa) - 1;
  if (rounded.mantissa === 0n) return sign;
  const leastUnit = format.least - fraction;
  if (leading < format.least) return sign | (rounded.mantissa << BigInt(rounded.unit - leastUnit));
  const shift = leading - fraction - rounded.unit;
  const aligned =
    shift >= 0 ? rounded.mantissa >> BigInt(shift) : rounded.mantissa << BigInt(-shift);
  const biased = BigInt(leading - format.least + 1) << BigInt(fraction);
  return sign | (biased + (aligned - (1n << BigInt(fraction))));
}

/** For functions without an exact way: the nearest double, and back. */
export function toNumber(x: Float80): number {
  if (isNan(x) || isUnsupported(x)) return Number.NaN;
  const bits = narrow(new Context(rounding.nearest, 64), x, 64);
  const view = new DataView(new ArrayBuffer(8));
  view.setBigUint64(0, bits);
  return view.getFloat64(0);
}

export function fromNumber(value: number): Float80 {
  if (Number.isNaN(value)) return indefinite;
  const view = new DataView(new ArrayBuffer(8));
  view.setFloat64(0, value);
  return widen(new Context(rounding.nearest, 64), view.getBigUint64(0), 64);
}
