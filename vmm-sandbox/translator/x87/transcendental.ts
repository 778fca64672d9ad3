/** D9 E0 to D9 FF: signs, constants, remainders, roots, and the transcendental functions. */
import { invalidOpcode } from "../system/fault.ts";
import { compareCodes } from "./compare.ts";
import * as f from "./float80.ts";
import * as functions from "./functions.ts";
import { condition, type Fpu } from "./stack.ts";

type Unary = (fpu: Fpu, x: f.Float80) => f.Float80;

/** Constants to 66 bits (SDM volume 2, FLD1…): mantissa, exponent of its last bit. */
const constants: Readonly<Record<number, readonly [bigint, number]>> = {
  0xe8: [1n, 0],
  0xe9: [0x3_5269_e12f_346e_2bf9n, -64], // log2 10
  0xea: [0x2_e2a8_eca5_705f_c2efn, -65], // log2 e
  0xeb: [0x3_243f_6a88_85a3_08d3n, -64], // π
  0xec: [0x2_6882_6a13_ef3f_de63n, -67], // log10 2
  0xed: [0x2_c5c8_5fdf_473d_e6afn, -66], // ln 2
  0xee: [0n, 0],
};

export function transcendental(fpu: Fpu, modRm: number): void {
  const constant = constants[modRm];
  if (constant) {
    // Rounded by the rounding control, without exceptions.
    const context = new f.Context(fpu.context.mode, 64);
    // The last bits above stand for more that follow: sticky.
    const [mantissa, unit] = constant;
    const inexact = modRm !== 0xe8 && modRm !== 0xee;
    const value = f.pack(
      context,
      0,
      inexact ? (mantissa << 1n) | 1n : mantissa,
      inexact ? unit - 1 : unit,
      64,
    );
    fpu.clear(condition.c1);
    fpu.push(value);
    fpu.summarize();
    return;
  }
  const operation = simple[modRm];
  if (!operation) throw invalidOpcode();
  operation(fpu);
}

/** ST(0) becomes a function of itself. */
function unary(compute: Unary): (fpu: Fpu) => void {
  return (fpu) => {
    if (fpu.isEmpty(0)) {
      fpu.underflow();
      fpu.set(0, f.indefinite);
      fpu.summarize();
      return;
    }
    fpu.set(0, compute(fpu, fpu.raw(0)));
    fpu.finish();
  };
}

/** Sign changes raise nothing. */
function signs(change: (x: f.Float80) => f.Float80): (fpu: Fpu) => void {
  return (fpu) => {
    const value = fpu.get(0);
    if (!fpu.isEmpty(0)) fpu.clear(condition.c1);
    fpu.set(0, fpu.isEmpty(0) ? value : change(value));
    fpu.summarize();
  };
}

/** FXAM: class in C3, C2, C0, sign in C1. */
function examine(fpu: Fpu): void {
  const x = fpu.raw(0);
  fpu.clear(condition.c0 | condition.c1 | condition.c2 | condition.c3);
  const { c0, c2, c3 } = condition;
  let code: number = c2; // normal
  if (fpu.isEmpty(0)) code = c3 | c0;
  else if (f.isUnsupported(x)) code = 0;
  else if (f.isNan(x)) code = c0;
  else if (f.isInfinity(x)) code = c2 | c0;
  else if (f.isZero(x)) code = c3;
  else if (f.isDenormal(x)) code = c3 | c2;
  fpu.status(code | (x.sign ? condition.c1 : 0));
}

function special(fpu: Fpu, x: f.Float80): f.Float80 | undefined {
  if (f.isNan(x) || f.isUnsupported(x)) return f.propagate(fpu.context, x, x);
  return undefined;
}

const roundToInteger: Unary = (fpu, x) => {
  const nan = special(fpu, x);
  if (nan) return nan;
  if (f.isInfinity(x) || f.isZero(x) || f.unit(x) >= 0) return x;
  if (f.isDenormal(x)) fpu.context.flags |= f.exception.denormal;
  const value = f.toInteger(fpu.context, x) ?? 0n;
  return value === 0n ? f.zero(x.sign) : f.fromInteger(value);
};

/** FSIN, FCOS: beyond 2⁶³ C2 says "reduce first" and nothing changes. */
function trigonometric(compute: (fpu: Fpu, x: f.Float80) => void): (fpu: Fpu) => void {
  return (fpu) => {
    const x = fpu.raw(0);
    fpu.clear(condition.c2);
    const isFar = x.exponent >= 16383 + 63 && x.exponent < f.topExponent;
    if (isFar && !fpu.isEmpty(0)) fpu.status(condition.c2);
    else compute(fpu, x);
  };
}

/** FPTAN, FSINCOS: the second result is pushed; without room for it both are the default NaN. */
function twice(
  first: (context: f.Context, x: f.Float80) => f.Float80,
  second: (context: f.Context, x: f.Float80) => f.Float80,
): (fpu: Fpu) => void {
  const compute = trigonometric((fpu, x) => {
    const pushed = second(new f.Context(fpu.context.mode, 64), x);
    unary(({ context }, value) => first(context, value))(fpu);
    fpu.push(f.isNan(fpu.raw(0)) ? fpu.raw(0) : pushed);
  });
  return (fpu) => {
    if (fpu.isEmpty(0) || fpu.isEmpty(-1)) return compute(fpu);
    fpu.clear(condition.c2);
    fpu.set(0, f.indefinite);
    fpu.push(f.indefinite);
    fpu.summarize();
  };
}

/** Two operands, the result in ST(1), then popped. */
function binary(compute: (fpu: Fpu, x: f.Float80, y: f.Float80) => f.Float80): (fpu: Fpu) => void {
  return (fpu) => {
    if (fpu.isEmpty(0) || fpu.isEmpty(1)) {
      fpu.underflow();
      fpu.set(1, f.indefinite);
      fpu.summarize();
    } else {
      const [x, y] = [fpu.raw(0), fpu.raw(1)];
      fpu.set(1, compute(fpu, x, y));
      fpu.finish();
    }
    fpu.pop();
  };
}

/** FPREM (truncating) and FPREM1 (nearest): exact; C0, C3, C1 are the quotient's low bits. */
function remainder(nearest: boolean): (fpu: Fpu) => void {
  return (fpu) => {
    fpu.clear(condition.c1 | condition.c2);
    if (fpu.isEmpty(0) || fpu.isEmpty(1)) {
      fpu.underflow();
      fpu.set(0, f.indefinite);
      fpu.summarize();
      return;
    }
    const [x, y] = [fpu.raw(0), fpu.raw(1)];
    fpu.set(0, remainderOf(fpu, x, y, nearest));
    fpu.context.roundedUp = false;
    fpu.status(fpu.context.flags);
    fpu.summarize();
  };
}

function remainderOf(fpu: Fpu, x: f.Float80, y: f.Float80, nearest: boolean): f.Float80 {
  const { context } = fpu;
  if ([x, y].some((v) => f.isNan(v) || f.isUnsupported(v))) return f.propagate(context, x, y);
  if (f.isInfinity(x) || f.isZero(y)) return f.invalid(context);
  if (f.isDenormal(x) || f.isDenormal(y)) context.flags |= f.exception.denormal;
  fpu.clear(condition.c0 | condition.c3);
  if (f.isZero(x) || f.isInfinity(y)) return x;
  const distance = x.exponent - y.exponent;
  if (distance >= 64) return partial(fpu, x, y, distance);
  const low = Math.min(f.unit(x), f.unit(y));
  const a = x.mantissa << BigInt(f.unit(x) - low);
  const b = y.mantissa << BigInt(f.unit(y) - low);
  let quotient = a / b;
  let rest = a - quotient * b;
  let sign = x.sign;
  if (nearest && (rest * 2n > b || (rest * 2n === b && quotient & 1n))) {
    quotient += 1n;
    rest = b - rest;
    sign ^= 1;
  }
  if (quotient & 4n) fpu.status(condition.c0);
  if (quotient & 2n) fpu.status(condition.c3);
  if (quotient & 1n) fpu.status(condition.c1);
  if (rest === 0n) return f.zero(x.sign);
  return f.pack(context, sign, rest, low, 64);
}

/** Far apart: reduces the exponent by 32 to 63 and says so in C2. */
function partial(fpu: Fpu, x: f.Float80, y: f.Float80, distance: number): f.Float80 {
  const step = 32 + (distance % 32);
  const scale = BigInt(distance - step);
  const low = Math.min(f.unit(x), f.unit(y));
  const a = x.mantissa << BigInt(f.unit(x) - low);
  const b = (y.mantissa << BigInt(f.unit(y) - low)) << scale;
  fpu.status(condition.c2);
  const rest = a % b;
  return rest === 0n ? f.zero(x.sign) : f.pack(fpu.context, x.sign, rest, low, 64);
}

/** FSCALE: ST(0) × 2^trunc(ST(1)). */
const scale = (fpu: Fpu): void => {
  if (fpu.isEmpty(0) || fpu.isEmpty(1)) {
    fpu.underflow();
    fpu.set(0, f.indefinite);
    fpu.summarize();
    return;
  }
  const [x, y] = [fpu.raw(0), fpu.raw(1)];
  fpu.set(0, scaled(fpu, x, y));
  fpu.finish();
};

function scaled(fpu: Fpu, x: f.Float80, y: f.Float80): f.Float80 {
  const { context } = fpu;
  if ([x, y].some((v) => f.isNan(v) || f.isUnsupported(v))) return f.propagate(context, x, y);
  if (f.isInfinity(y)) {
    if (y.sign ? f.isInfinity(x) : f.isZero(x)) return f.invalid(context);
    if (f.isDenormal(x)) context.flags |= f.exception.denormal;
    return y.sign ? f.zero(x.sign) : f.infinity(x.sign);
  }
  if (f.isDenormal(x) || f.isDenormal(y)) context.flags |= f.exception.denormal;
  if (f.isInfinity(x) || f.isZero(x)) return x;
  const by = f.toInteger(new f.Context(3, 64), y, 3) ?? 0n;
  const clamped = by > 70_000n ? 70_000 : by < -70_000n ? -70_000 : Number(by);
  return f.pack(context, x.sign, x.mantissa, f.unit(x) + clamped, 64);
}

/** FXTRACT: exponent to ST(0)'s place, significand on top. */
function extract(fpu: Fpu): void {
  if (fpu.isEmpty(0)) {
    fpu.set(0, f.indefinite);
    fpu.push(f.indefinite);
    fpu.underflow();
    fpu.summarize();
    return;
  }
  if (!fpu.isEmpty(-1)) {
    // No room for the second result: both are the default NaN.
    fpu.set(0, f.indefinite);
    fpu.push(f.indefinite);
    fpu.summarize();
    return;
  }
  const x = fpu.raw(0);
  let exponent: f.Float80;
  let significand = x;
  if (f.isNan(x) || f.isUnsupported(x)) {
    exponent = f.propagate(fpu.context, x, x);
    significand = exponent;
  } else if (f.isInfinity(x)) exponent = f.infinity(0);
  else if (f.isZero(x)) {
    fpu.context.flags |= f.exception.zeroDivide;
    exponent = f.infinity(1);
  } else {
    if (f.isDenormal(x)) fpu.context.flags |= f.exception.denormal;
    const normal = f.pack(new f.Context(0, 64), x.sign, x.mantissa, 0, 64);
    exponent = f.fromInteger(BigInt(f.unit(x) + normal.exponent - 16383));
    significand = { ...normal, exponent: 16383 };
  }
  fpu.clear(condition.c1);
  fpu.set(0, exponent);
  fpu.push(significand);
  fpu.status(fpu.context.flags);
  fpu.summarize();
}

const rotateStack =
  (by: number) =>
  (fpu: Fpu): void => {
    fpu.clear(condition.c1);
    fpu.top = fpu.top + by;
  };

const simple: Readonly<Record<number, (fpu: Fpu) => void>> = {
  0xe0: signs(f.negate),
  0xe1: signs((x) => ({ ...x, sign: 0 })),
  0xe4: (fpu) => compareCodes(fpu, f.zero(0), false, false),
  0xe5: examine,
  0xf0: unary(({ context }, x) => functions.exp2minus1(context, x)),
  0xf1: binary(({ context }, x, y) => functions.yLog2x(context, x, y)),
  0xf2: twice(functions.tangent, () => f.fromInteger(1n)),
  0xf3: binary(({ context }, x, y) => functions.partialArctangent(context, x, y)),
  0xf4: extract,
  0xf5: remainder(true),
  0xf6: rotateStack(-1),
  0xf7: rotateStack(1),
  0xf8: remainder(false),
  0xf9: binary(({ context }, x, y) => functions.yLog2xPlus1(context, x, y)),
  0xfa: unary((fpu, x) => f.squareRoot(fpu.context, x)),
  0xfb: twice(functions.sine, functions.cosine),
  0xfc: unary(roundToInteger),
  0xfd: scale,
  0xfe: trigonometric(unary(({ context }, x) => functions.sine(context, x))),
  0xff: trigonometric(unary(({ context }, x) => functions.cosine(context, x))),
};
