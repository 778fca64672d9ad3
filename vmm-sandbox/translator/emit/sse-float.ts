/**
 * SSE floating point: arithmetic, comparisons, conversions, for MXCSR's usual controls. Any other,
 * and results that may set its flags, are system/soft-sse.ts's (docs/decisions/110).
 */
import { state } from "../state.ts";
import {
  f32,
  f64,
  type I32,
  i32,
  i64,
  keep,
  type Local,
  local,
  select,
  type V128,
  when,
} from "../wasm/assembler.ts";
import { f32x4, f64x2, i32x4, v128 } from "../wasm/simd.ts";
import type { Emitter } from "./integer.ts";
import {
  invalid,
  leaveUnlessFlagged,
  leaveWhenSpecial,
  leaveWhenUnordered,
  strictly,
} from "./mxcsr.ts";
import { fromI64, keepInt, type Site, toI64Signed } from "./site.ts";
import {
  binary,
  bitMask,
  doubles,
  lowDouble,
  lowQuad,
  lowSingle,
  type Op2,
  quadLanes,
  quads,
  read,
  setComparison,
  type Two,
  unary,
  type V1,
  type Vector,
  whole,
  write,
} from "./vector-operands.ts";

/** ---- scalar floating point ---------------------------------------------------------------- */

/** One operation in its packed form or on lane 0 alone, leaving what MXCSR may have a say in. */
function arithmetic(operate: Two, double: boolean, scalar: boolean): Emitter {
  return strictly((site) => {
    const b = read(site, 1);
    const a = read(site, 0);
    const r = keep.v128(operate(a, b));
    leaveWhenSpecial(site, r, double, scalar);
    write(site, scalar ? (double ? lowDouble(r, a) : lowSingle(r, a)) : r.get());
  });
}

/** MIN and MAX: any NaN among the operands is invalid, whatever the result. */
function extreme(operate: Two, double: boolean, scalar: boolean): Emitter {
  return strictly((site) => {
    const b = read(site, 1);
    const a = read(site, 0);
    leaveWhenUnordered(site, a, b, double, scalar);
    const r = keep.v128(operate(a, b));
    write(site, scalar ? (double ? lowDouble(r, a) : lowSingle(r, a)) : r.get());
  });
}

type Build = (operate: Two, double: boolean, scalar: boolean) => Emitter;

/** The four forms of an operation: packed and scalar, single and double. */
function floats(name: string, single: Two, double: Two, build: Build = arithmetic) {
  return {
    [`${name}ps`]: build(single, false, false),
    [`${name}pd`]: build(double, true, false),
    [`${name}ss`]: build(single, false, true),
    [`${name}sd`]: build(double, true, true),
  } satisfies Record<string, Emitter>;
}

/** Operations on whole vectors only. */
const packed = (operate: Two, double: boolean): Emitter => arithmetic(operate, double, false);

const both =
  (op: Op2): Two =>
  (a, b) =>
    op(a.get(), b.get());

const reversed =
  (op: Op2): Two =>
  (a, b) =>
    op(b.get(), a.get());

const neighbours =
  (op: Op2, even: readonly number[], odd: readonly number[]): Two =>
  (a, b) =>
    op(v128.shuffle(a.get(), b.get(), even), v128.shuffle(a.get(), b.get(), odd));

const approximation = (operate: (b: Vector) => V128): Emitter =>
  binary((a, b) => v128.shuffle(operate(b), a.get(), doubles(0, 5, 6, 7)));

const one32 = (): V128 => f32x4.splat(f32.const(1));

export const floatEmitters: Record<string, Emitter> = {
  ...floats("add", both(f32x4.add), both(f64x2.add)),
  ...floats("sub", both(f32x4.sub), both(f64x2.sub)),
  ...floats("mul", both(f32x4.mul), both(f64x2.mul)),
  ...floats("div", both(f32x4.div), both(f64x2.div)),
  // Both operands zero, or one a NaN: the second operand (SDM, MINPS).
  ...floats("min", reversed(f32x4.pmin), reversed(f64x2.pmin), extreme),
  ...floats("max", reversed(f32x4.pmax), reversed(f64x2.pmax), extreme),
  ...floats(
    "sqrt",
    (_a, b) => f32x4.sqrt(b.get()),
    (_a, b) => f64x2.sqrt(b.get()),
  ),
  // At least 12 bits are asked for; we give what division gives.
  rcpps: unary((b) => f32x4.div(one32(), b.get())),
  rcpss: approximation((b) => f32x4.div(one32(), b.get())),
  rsqrtps: unary((b) => f32x4.div(one32(), f32x4.sqrt(b.get()))),
  rsqrtss: approximation((b) => f32x4.div(one32(), f32x4.sqrt(b.get()))),
  movss: binary((a, b) => v128.shuffle(b.get(), a.get(), doubles(0, 5, 6, 7))),
  movsd: binary((a, b) => v128.shuffle(b.get(), a.get(), quads(0, 3))),
  addsubps: packed(
    (a, b) =>
      v128.shuffle(f32x4.sub(a.get(), b.get()), f32x4.add(a.get(), b.get()), doubles(0, 5, 2, 7)),
    false,
  ),
  addsubpd: packed(
    (a, b) => v128.shuffle(f64x2.sub(a.get(), b.get()), f64x2.add(a.get(), b.get()), quads(0, 3)),
    true,
  ),
  haddps: packed(neighbours(f32x4.add, doubles(0, 2, 4, 6), doubles(1, 3, 5, 7)), false),
  hsubps: packed(neighbours(f32x4.sub, doubles(0, 2, 4, 6), doubles(1, 3, 5, 7)), false),
  haddpd: packed(neighbours(f64x2.add, quads(0, 2), quads(1, 3)), true),
  hsubpd: packed(neighbours(f64x2.sub, quads(0, 2), quads(1, 3)), true),
};

/** CMPPS and family: the predicate's low two bits choose, bit 2 inverts. */
function compare(
  kind: typeof f32x4 | typeof f64x2,
  merge: (r: Vector, a: Vector) => V128,
): Emitter {
  return strictly((site) => {
    const b = read(site, 1);
    const a = read(site, 0);
    leaveWhenUnordered(site, a, b, kind === f64x2, merge !== whole);
    const predicate = keep.i32(site.immediate32());
    const r = local.v128();
    const low = (): I32 => i32.and(predicate.get(), i32.const(3));
    r.set(kind.eq(a.get(), b.get()));
    when(i32.eq(low(), i32.const(1)), () => r.set(kind.lt(a.get(), b.get())));
    when(i32.eq(low(), i32.const(2)), () => r.set(kind.le(a.get(), b.get())));
    when(i32.eq(low(), i32.const(3)), () =>
      r.set(v128.or(kind.ne(a.get(), a.get()), kind.ne(b.get(), b.get()))),
    );
    when(i32.and(predicate.get(), i32.const(4)), () => r.set(v128.not(r.get())));
    write(site, merge(r, a));
  });
}

/** UCOMISS, COMISD…: unordered sets ZF, PF and CF. */
function compareToFlags(double: boolean): Emitter {
  return strictly((site) => {
    const b = keep.v128(site.vector(1).read());
    const a = read(site, 0);
    const kind = double ? f64x2 : f32x4;
    const lane = (mask: V128): I32 => i32.and(i32x4.extract(mask, 0), i32.const(1));
    const unordered = keep.i32(lane(v128.or(kind.ne(a.get(), a.get()), kind.ne(b.get(), b.get()))));
    const zf = keep.i32(i32.or(lane(kind.eq(a.get(), b.get())), unordered.get()));
    const cf = keep.i32(i32.or(lane(kind.lt(a.get(), b.get())), unordered.get()));
    when(unordered.get(), () => leaveUnlessFlagged(site, invalid));
    setComparison(site, zf, unordered, cf);
  });
}

/** ---- conversions -------------------------------------------------------------------------- */

/** MXCSR.RC: 0 nearest, 1 down, 2 up, 3 to zero. */
function roundingMode(site: Site): Local<I32> {
  const mxcsr = site.loadState32(state.mxcsr);
  return keep.i32(i32.and(i32.shrU(mxcsr, i32.const(13)), i32.const(3)));
}

type Rounding = { nearest: V1; floor: V1; ceil: V1; trunc: V1 };

function roundBy(kind: Rounding, value: Vector, mode: Local<I32>): Vector {
  const result = local.v128();
  result.set(kind.nearest(value.get()));
  when(i32.eq(mode.get(), i32.const(1)), () => result.set(kind.floor(value.get())));
  when(i32.eq(mode.get(), i32.const(2)), () => result.set(kind.ceil(value.get())));
  when(i32.eq(mode.get(), i32.const(3)), () => result.set(kind.trunc(value.get())));
  return result;
}

/** Float to integer register; out of range gives the "integer indefinite" value. */
function toInteger(double: boolean, truncating: boolean): Emitter {
  return strictly((site) => {
    const to = site.place(0);
    const source = keep.v128(site.vector(1).read());
    const wide = double ? source : keep.v128(f64x2.promoteLowF32(source.get()));
    const rounded = truncating ? wide : roundBy(f64x2, wide, roundingMode(site));
    const x = keep.f64(f64x2.extract(rounded.get(), 0));
    const value = keep.i64(i64.truncF64(x.get()));
    const limit = to.size === 64 ? 2 ** 63 : 2 ** 31;
    // -2⁶³ is exact; one below -2³¹ is the first that fails after truncation.
    const low: I32 =
      to.size === 64 ? f64.ge(x.get(), f64.const(-limit)) : f64.gt(x.get(), f64.const(-limit - 1));
    const inRange = keep.i32(i32.and(low, f64.lt(x.get(), f64.const(limit))));
    when(i32.eqz(inRange.get()), () => leaveUnlessFlagged(site, invalid));
    const indefinite = to.size === 64 ? -(1n << 63n) : -(1n << 31n);
    const result = keep.i64(select(value.get(), i64.const(indefinite), inRange.get()));
    to.write(keepInt(to.size, fromI64(to.size, result.get())));
  });
}

function fromInteger(double: boolean): Emitter {
  return strictly((site) => {
    const from = site.place(1);
    const value = keep.i64(toI64Signed(from.size, from.read()));
    const a = read(site, 0);
    write(
      site,
      double
        ? f64x2.replace(a.get(), 0, f64.fromI64S(value.get()))
        : f32x4.replace(a.get(), 0, f32.fromI64S(value.get())),
    );
  });
}

/** The destination's old value plays no part. */
function resized(convert: (b: Vector) => V128, double: boolean): Emitter {
  return strictly((site) => {
    const r = keep.v128(convert(read(site, 1)));
    leaveWhenSpecial(site, r, double, false);
    write(site, r.get());
  });
}

function leaveWhenIndefinite(site: Site, result: Vector): void {
  const found = v128.anyTrue(i32x4.eq(result.get(), indefinite32()));
  when(found, () => leaveUnlessFlagged(site, invalid));
}

const indefinite32 = (): V128 => i32x4.splat(i32.const(0x8000_0000 | 0));

function packedToIntegers(truncating: boolean): Emitter {
  return strictly((site) => {
    const source = read(site, 1);
    const rounded = truncating ? source : roundBy(f32x4, source, roundingMode(site));
    const fits = keep.v128(f32x4.lt(rounded.get(), f32x4.splat(f32.const(2 ** 31))));
    const value = keep.v128(i32x4.truncSatF32(rounded.get()));
    const chosen = keep.v128(v128.select(value.get(), indefinite32(), fits.get()));
    leaveWhenIndefinite(site, chosen);
    write(site, chosen.get());
  });
}

function packedDoublesToIntegers(truncating: boolean): Emitter {
  return strictly((site) => {
    const source = read(site, 1);
    const rounded = truncating ? source : roundBy(f64x2, source, roundingMode(site));
    const inside = v128.and(
      f64x2.lt(rounded.get(), f64x2.splat(f64.const(2 ** 31))),
      f64x2.lt(f64x2.splat(f64.const(-(2 ** 31) - 1)), rounded.get()),
    );
    const fits = keep.v128(inside);
    // 64-bit masks to 32-bit lanes; the upper half of the result is zero.
    const mask = keep.v128(v128.shuffle(fits.get(), fits.get(), doubles(0, 2, 0, 2)));
    const value = keep.v128(i32x4.truncSatF64Zero(rounded.get()));
    const selected = v128.select(value.get(), indefinite32(), mask.get());
    const chosen = keep.v128(v128.and(selected, v128.const(lowQuad)));
    leaveWhenIndefinite(site, chosen);
    write(site, chosen.get());
  });
}

/** ROUNDPS…: bit 2 of the immediate takes MXCSR's mode, bits 0 and 1 are one otherwise. */
function round(kind: Rounding, merge: (r: Vector, a: Vector) => V128): Emitter {
  return strictly((site) => {
    const value = read(site, 1);
    const immediate = keep.i32(site.immediate32());
    const mode = keep.i32(i32.and(immediate.get(), i32.const(3)));
    when(i32.and(immediate.get(), i32.const(4)), () => mode.set(roundingMode(site).get()));
    const r = roundBy(kind, value, mode);
    leaveWhenSpecial(site, r, kind === f64x2, merge !== whole);
    write(site, merge(r, read(site, 0)));
  });
}

export const conversionEmitters: Record<string, Emitter> = {
  cvtsi2ss: fromInteger(false),
  cvtsi2sd: fromInteger(true),
  cvttss2si: toInteger(false, true),
  cvttsd2si: toInteger(true, true),
  cvtss2si: toInteger(false, false),
  cvtsd2si: toInteger(true, false),
  cvtps2pd: resized((b) => f64x2.promoteLowF32(b.get()), true),
  cvtpd2ps: resized((b) => f32x4.demoteF64Zero(b.get()), false),
  cvtss2sd: arithmetic((_a, b) => f64x2.promoteLowF32(b.get()), true, true),
  cvtsd2ss: arithmetic((_a, b) => f32x4.demoteF64Zero(b.get()), false, true),
  cvtdq2ps: strictly(unary((b) => f32x4.convertI32S(b.get()))),
  cvtdq2pd: unary((b) => f64x2.convertLowI32S(b.get())),
  cvtps2dq: packedToIntegers(false),
  cvttps2dq: packedToIntegers(true),
  cvtpd2dq: packedDoublesToIntegers(false),
  cvttpd2dq: packedDoublesToIntegers(true),
  roundps: round(f32x4, whole),
  roundpd: round(f64x2, whole),
  roundss: round(f32x4, lowSingle),
  roundsd: round(f64x2, lowDouble),
  cmpps: compare(f32x4, whole),
  cmppd: compare(f64x2, whole),
  cmpss: compare(f32x4, lowSingle),
  cmpsd: compare(f64x2, lowDouble),
  ucomiss: compareToFlags(false),
  ucomisd: compareToFlags(true),
};

/** DPPS and DPPD: chosen products, added in pairs, to the chosen lanes. */
export function dotProduct(double: boolean): Emitter {
  return strictly((site) => {
    const kind = double ? f64x2 : f32x4;
    const b = read(site, 1);
    const a = read(site, 0);
    const immediate = keep.i32(site.immediate32());
    const upper = keep.i32(i32.shrU(immediate.get(), i32.const(4)));
    const mask = (control: Local<I32>): V128 =>
      double ? bitMask(control, [1, 2], quadLanes) : bitMask(control, [1, 2, 4, 8], i32x4);
    const sum = keep.v128(v128.and(kind.mul(a.get(), b.get()), mask(upper)));
    const rounds = double ? [quads(0, 0), quads(1, 1)] : [doubles(0, 2, 0, 2), doubles(1, 3, 1, 3)];
    const addPairs = ([even = [], odd = []]: readonly (readonly number[])[]): void =>
      sum.set(
        kind.add(v128.shuffle(sum.get(), sum.get(), even), v128.shuffle(sum.get(), sum.get(), odd)),
      );
    addPairs(rounds);
    if (!double) addPairs([doubles(0, 0, 0, 0), doubles(1, 1, 1, 1)]);
    leaveWhenSpecial(site, sum, double, false);
    write(site, v128.and(sum.get(), mask(immediate)));
  });
}
