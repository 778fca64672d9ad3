/**
 * SSE to SSE4.2 on WebAssembly's 128-bit vectors.
 *
 * Memory operands of 16 bytes must be aligned, but for the "unaligned" moves. Immediates are read
 * at run time, because the interpreter's handlers serve all of them; lanes they choose are picked
 * through memory (`layout.lanes`). Rounding follows MXCSR where an instruction converts or rounds
 * to integers; arithmetic rounds to nearest, and MXCSR's exception flags stay as they are.
 *
 * Intel SDM volume 2, instruction by name.
 */
import { layout, state } from "../state.ts";
import {
  type F64,
  f32,
  f64,
  type I32,
  type I64,
  i32,
  i64,
  keep,
  type Local,
  local,
  select,
  type V128,
  when,
} from "../wasm/assembler.ts";
import { f32x4, f64x2, i8x16, i16x8, i32x4, i64x2, v128 } from "../wasm/simd.ts";
import type { Emitter } from "./integer.ts";
import { asInt, fromI32, fromI64, keepInt, type Site, toI64Signed } from "./site.ts";
import { compareStrings } from "./string-compare.ts";

type Vector = Local<V128>;
type Two = (a: Vector, b: Vector) => V128;

/** An operand of 128 bits in memory must be aligned. */
function read(site: Site, operand: number): Vector {
  const place = site.vector(operand);
  if (place.kind === "memory" && place.size === 128) checkAligned(site);
  return keep.v128(place.read());
}

function checkAligned(site: Site): void {
  when(i32.and(i32.wrap(site.address()), i32.const(15)), () => site.raise(13));
}

function write(site: Site, value: V128): void {
  site.vector(0).write(keep.v128(value));
}

/** first = operate(first, second) */
function binary(operate: Two): Emitter {
  return (site) => {
    const b = read(site, 1);
    const a = read(site, 0);
    write(site, operate(a, b));
  };
}

/** first = operate(second) */
function unary(operate: (b: Vector) => V128): Emitter {
  return (site) => write(site, operate(read(site, 1)));
}

const plain = (op: (a: V128, b: V128) => V128): Emitter => binary((a, b) => op(a.get(), b.get()));
const swapped = (op: (a: V128, b: V128) => V128): Emitter => binary((a, b) => op(b.get(), a.get()));

function moveUnaligned(site: Site): void {
  const value = keep.v128(site.vector(1).read());
  site.vector(0).write(value);
}

function moveAligned(site: Site): void {
  const to = site.vector(0);
  const from = site.vector(1);
  if (to.kind === "memory" || from.kind === "memory") checkAligned(site);
  to.write(keep.v128(from.read()));
}

const lowQuad = 0xffff_ffff_ffff_ffffn;

/** MOVQ and MOVD between vectors and memory; into a register, the rest becomes zero. */
function moveLow(bits: 32 | 64): Emitter {
  return (site) => {
    const to = site.vector(0);
    const value = keep.v128(site.vector(1).read());
    if (to.kind === "vector" && bits === 64) value.set(v128.and(value.get(), v128.const(lowQuad)));
    to.write(value);
  };
}

/** Lanes of 4 or 8 bytes: `index` 0–3 or 0–1 of a, then of b. */
function quads(...lanes: readonly number[]): readonly number[] {
  return lanes.flatMap((lane) => Array.from({ length: 8 }, (_, i) => lane * 8 + i));
}
function doubles(...lanes: readonly number[]): readonly number[] {
  return lanes.flatMap((lane) => Array.from({ length: 4 }, (_, i) => lane * 4 + i));
}
function words(...lanes: readonly number[]): readonly number[] {
  return lanes.flatMap((lane) => [lane * 2, lane * 2 + 1]);
}
const shuffled = (lanes: readonly number[]): Emitter =>
  binary((a, b) => v128.shuffle(a.get(), b.get(), lanes));
const interleave = (from: number, count: number): number[] =>
  Array.from({ length: count }, (_, i) => from + i).flatMap((i) => [i, i + count * 2]);

/** Memory halves: the store forms of MOVHPS take the upper half. */
const moveHigh: Emitter = (site) => {
  const to = site.vector(0);
  if (to.kind === "memory") {
    const value = read(site, 1);
    to.write(keep.v128(v128.shuffle(value.get(), value.get(), quads(1, 1))));
    return;
  }
  const b = keep.v128(site.vector(1).read());
  write(site, v128.shuffle(read(site, 0).get(), b.get(), quads(0, 2)));
};

const moveLowHalf: Emitter = (site) => {
  const b = keep.v128(site.vector(1).read());
  write(site, v128.shuffle(b.get(), read(site, 0).get(), quads(0, 3)));
};

/** ---- scalar floating point ---------------------------------------------------------------- */

function scalarSingle(operate: (a: Vector, b: Vector) => V128): Emitter {
  return binary((a, b) => v128.shuffle(operate(a, b), a.get(), doubles(0, 5, 6, 7)));
}
function scalarDouble(operate: (a: Vector, b: Vector) => V128): Emitter {
  return binary((a, b) => v128.shuffle(operate(a, b), a.get(), quads(0, 3)));
}

/** The four forms of an operation: packed and scalar, single and double. */
function floats(name: string, single: Two, double: Two): Record<string, Emitter> {
  return {
    [`${name}ps`]: binary(single),
    [`${name}pd`]: binary(double),
    [`${name}ss`]: scalarSingle(single),
    [`${name}sd`]: scalarDouble(double),
  };
}

type Op2 = (a: V128, b: V128) => V128;
const both =
  (op: Op2): Two =>
  (a, b) =>
    op(a.get(), b.get());
const reversed =
  (op: Op2): Two =>
  (a, b) =>
    op(b.get(), a.get());

const one32 = (): V128 => f32x4.splat(f32.const(1));

const floatEmitters: Record<string, Emitter> = {
  ...floats("add", both(f32x4.add), both(f64x2.add)),
  ...floats("sub", both(f32x4.sub), both(f64x2.sub)),
  ...floats("mul", both(f32x4.mul), both(f64x2.mul)),
  ...floats("div", both(f32x4.div), both(f64x2.div)),
  // Both operands zero, or one a NaN: the second operand (SDM, MINPS).
  ...floats("min", reversed(f32x4.pmin), reversed(f64x2.pmin)),
  ...floats("max", reversed(f32x4.pmax), reversed(f64x2.pmax)),
  ...floats(
    "sqrt",
    (_a, b) => f32x4.sqrt(b.get()),
    (_a, b) => f64x2.sqrt(b.get()),
  ),
  // At least 12 bits are asked for; we give what division gives.
  rcpps: unary((b) => f32x4.div(one32(), b.get())),
  rcpss: scalarSingle((_a, b) => f32x4.div(one32(), b.get())),
  rsqrtps: unary((b) => f32x4.div(one32(), f32x4.sqrt(b.get()))),
  rsqrtss: scalarSingle((_a, b) => f32x4.div(one32(), f32x4.sqrt(b.get()))),
  movss: binary((a, b) => v128.shuffle(b.get(), a.get(), doubles(0, 5, 6, 7))),
  movsd: binary((a, b) => v128.shuffle(b.get(), a.get(), quads(0, 3))),
  addsubps: binary((a, b) =>
    v128.shuffle(f32x4.sub(a.get(), b.get()), f32x4.add(a.get(), b.get()), doubles(0, 5, 2, 7)),
  ),
  addsubpd: binary((a, b) =>
    v128.shuffle(f64x2.sub(a.get(), b.get()), f64x2.add(a.get(), b.get()), quads(0, 3)),
  ),
  haddps: horizontal(f32x4.add, doubles(0, 2, 4, 6), doubles(1, 3, 5, 7)),
  hsubps: horizontal(f32x4.sub, doubles(0, 2, 4, 6), doubles(1, 3, 5, 7)),
  haddpd: horizontal(f64x2.add, quads(0, 2), quads(1, 3)),
  hsubpd: horizontal(f64x2.sub, quads(0, 2), quads(1, 3)),
};

function horizontal(op: Op2, even: readonly number[], odd: readonly number[]): Emitter {
  return binary((a, b) =>
    op(v128.shuffle(a.get(), b.get(), even), v128.shuffle(a.get(), b.get(), odd)),
  );
}

/** CMPPS and family: the predicate's low two bits choose, bit 2 inverts. */
function compare(
  kind: typeof f32x4 | typeof f64x2,
  merge: (r: Vector, a: Vector) => V128,
): Emitter {
  return (site) => {
    const b = read(site, 1);
    const a = read(site, 0);
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
  };
}

/** UCOMISS, COMISD…: unordered sets ZF, PF and CF. */
function compareToFlags(double: boolean): Emitter {
  return (site) => {
    const b = keep.v128(site.vector(1).read());
    const a = read(site, 0);
    const kind = double ? f64x2 : f32x4;
    const lane = (mask: V128): I32 => i32.and(i32x4.extract(mask, 0), i32.const(1));
    const unordered = keep.i32(lane(v128.or(kind.ne(a.get(), a.get()), kind.ne(b.get(), b.get()))));
    const zf = keep.i32(i32.or(lane(kind.eq(a.get(), b.get())), unordered.get()));
    const cf = keep.i32(i32.or(lane(kind.lt(a.get(), b.get())), unordered.get()));
    setComparison(site, zf, unordered, cf);
  };
}

/** ZF, PF, CF as given, the other flags clear; see emit/flags.ts for the encoding. */
function setComparison(site: Site, zf: Local<I32>, pf: Local<I32>, cf: Local<I32>): void {
  const result = i64.extendU(i32.xor(zf.get(), i32.const(1)));
  const carries = i32.mul(cf.get(), i32.const(0xc000_0000 | 0));
  const parity = i32.shl(i32.xor(pf.get(), zf.get()), i32.const(8));
  site.setFlags(result, i32.or(carries, parity));
}

/** ---- conversions -------------------------------------------------------------------------- */

/** MXCSR.RC: 0 nearest, 1 down, 2 up, 3 to zero. */
function roundingMode(site: Site): Local<I32> {
  const mxcsr = site.loadState32(state.mxcsr);
  return keep.i32(i32.and(i32.shrU(mxcsr, i32.const(13)), i32.const(3)));
}

type Rounding = { nearest: V1; floor: V1; ceil: V1; trunc: V1 };
type V1 = (a: V128) => V128;

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
  return (site) => {
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
    const indefinite = to.size === 64 ? -(1n << 63n) : -(1n << 31n);
    const result = keep.i64(select(value.get(), i64.const(indefinite), inRange.get()));
    to.write(keepInt(to.size, fromI64(to.size, result.get())));
  };
}

function fromInteger(double: boolean): Emitter {
  return (site) => {
    const from = site.place(1);
    const value = keep.i64(toI64Signed(from.size, from.read()));
    const a = read(site, 0);
    write(
      site,
      double
        ? f64x2.replace(a.get(), 0, f64.fromI64S(value.get()))
        : f32x4.replace(a.get(), 0, f32.fromI64S(value.get())),
    );
  };
}

const indefinite32 = (): V128 => i32x4.splat(i32.const(0x8000_0000 | 0));

function packedToIntegers(truncating: boolean): Emitter {
  return (site) => {
    const source = read(site, 1);
    const rounded = truncating ? source : roundBy(f32x4, source, roundingMode(site));
    const fits = keep.v128(f32x4.lt(rounded.get(), f32x4.splat(f32.const(2 ** 31))));
    const value = keep.v128(i32x4.truncSatF32(rounded.get()));
    write(site, v128.select(value.get(), indefinite32(), fits.get()));
  };
}

function packedDoublesToIntegers(truncating: boolean): Emitter {
  return (site) => {
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
    const chosen = v128.select(value.get(), indefinite32(), mask.get());
    write(site, v128.and(chosen, v128.const(lowQuad)));
  };
}

/** ROUNDPS…: bit 2 of the immediate takes MXCSR's mode, bits 0 and 1 are one otherwise. */
function round(kind: Rounding, merge: (r: Vector, a: Vector) => V128): Emitter {
  return (site) => {
    const value = read(site, 1);
    const immediate = keep.i32(site.immediate32());
    const mode = keep.i32(i32.and(immediate.get(), i32.const(3)));
    when(i32.and(immediate.get(), i32.const(4)), () => mode.set(roundingMode(site).get()));
    const r = roundBy(kind, value, mode);
    write(site, merge(r, read(site, 0)));
  };
}

const whole = (r: Vector): V128 => r.get();
const lowSingle = (r: Vector, a: Vector): V128 =>
  v128.shuffle(r.get(), a.get(), doubles(0, 5, 6, 7));
const lowDouble = (r: Vector, a: Vector): V128 => v128.shuffle(r.get(), a.get(), quads(0, 3));

const conversionEmitters: Record<string, Emitter> = {
  cvtsi2ss: fromInteger(false),
  cvtsi2sd: fromInteger(true),
  cvttss2si: toInteger(false, true),
  cvttsd2si: toInteger(true, true),
  cvtss2si: toInteger(false, false),
  cvtsd2si: toInteger(true, false),
  cvtps2pd: unary((b) => f64x2.promoteLowF32(b.get())),
  cvtpd2ps: unary((b) => f32x4.demoteF64Zero(b.get())),
  cvtss2sd: binary((a, b) => v128.shuffle(f64x2.promoteLowF32(b.get()), a.get(), quads(0, 3))),
  cvtsd2ss: binary((a, b) =>
    v128.shuffle(f32x4.demoteF64Zero(b.get()), a.get(), doubles(0, 5, 6, 7)),
  ),
  cvtdq2ps: unary((b) => f32x4.convertI32S(b.get())),
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

/** ---- integers ----------------------------------------------------------------------------- */

type Lanes = {
  readonly shl: (a: V128, n: I32) => V128;
  readonly shrU: (a: V128, n: I32) => V128;
  readonly shrS: (a: V128, n: I32) => V128;
};

/** Shifts by a vector's low quadword or by an immediate; counts beyond the lane empty it. */
function shift(lanes: Lanes, width: number, kind: "shl" | "shrU" | "shrS"): Emitter {
  return (site) => {
    const count = local.i64();
    const last = site.operandCount - 1;
    if (site.isImmediate(last)) count.set(i64.extendU(site.immediate32()));
    else count.set(i64x2.extract(read(site, last).get(), 0));
    const a = read(site, 0);
    const over = keep.i32(i64.geU(count.get(), i64.const(width)));
    const n = keep.i32(i32.wrap(count.get()));
    if (kind === "shrS") {
      n.set(select(i32.const(width - 1), n.get(), over.get()));
      write(site, lanes.shrS(a.get(), n.get()));
      return;
    }
    const result = keep.v128(lanes[kind](a.get(), n.get()));
    when(over.get(), () => result.set(v128.const(0n)));
    write(site, result.get());
  };
}

/** PSRLDQ and PSLLDQ: bytes, through memory with zeroes around. */
function shiftBytes(left: boolean): Emitter {
  return (site) => {
    const n = keep.i32(site.immediate32());
    when(i32.gtU(n.get(), i32.const(16)), () => n.set(i32.const(16)));
    spill([undefined, read(site, 0), undefined]);
    const at = left ? i32.sub(i32.const(16), n.get()) : i32.add(i32.const(16), n.get());
    write(site, v128.load(at, layout.lanes));
  };
}

/** Stores vectors one after another at `layout.lanes`; undefined is zero. */
function spill(vectors: readonly (Vector | undefined)[]): void {
  for (const [i, vector] of vectors.entries())
    v128.store(i32.const(0), vector ? vector.get() : v128.const(0n), layout.lanes + i * 16);
}

/** Lane `index` (an expression) of what was spilled, `bytes` wide. */
function spilledLane(index: I32, bytes: number): I32 {
  const at = i32.mul(index, i32.const(bytes));
  if (bytes === 1) return i32.load8U(at, layout.lanes);
  return bytes === 2 ? i32.load16U(at, layout.lanes) : i32.load(at, layout.lanes);
}

/** Lane i of the result is lane (immediate >> shift[i]) & mask + base[i] of the spilled vectors. */
function pickDoubles(site: Site, sources: readonly Vector[], bases: readonly number[]): void {
  spill(sources);
  const immediate = keep.i32(site.immediate32());
  const r = local.v128();
  for (let i = 0; i < 4; i++) {
    const chosen = i32.and(i32.shrU(immediate.get(), i32.const(i * 2)), i32.const(3));
    const lane = keep.i32(spilledLane(i32.add(chosen, i32.const(bases[i] as number)), 4));
    r.set(i32x4.replace(r.get(), i, lane.get()));
  }
  write(site, r.get());
}

const shuffleDoublewords: Emitter = (site) => pickDoubles(site, [read(site, 1)], [0, 0, 0, 0]);
const shuffleSingles: Emitter = (site) => {
  const b = read(site, 1);
  pickDoubles(site, [read(site, 0), b], [0, 0, 4, 4]);
};

const shuffleDoubles: Emitter = (site) => {
  const b = read(site, 1);
  spill([read(site, 0), b]);
  const immediate = keep.i32(site.immediate32());
  const quad = (bit: number, base: number): I64 => {
    const chosen = i32.and(i32.shrU(immediate.get(), i32.const(bit)), i32.const(1));
    return i64.load(i32.shl(chosen, i32.const(3)), layout.lanes + base);
  };
  const low = keep.i64(quad(0, 0));
  const high = keep.i64(quad(1, 16));
  write(site, i64x2.replace(i64x2.splat(low.get()), 1, high.get()));
};

/** PSHUFLW and PSHUFHW: four words of one half. */
function shuffleWords(high: boolean): Emitter {
  return (site) => {
    const b = read(site, 1);
    spill([b]);
    const immediate = keep.i32(site.immediate32());
    const r = keep.v128(b.get());
    const base = high ? 4 : 0;
    for (let i = 0; i < 4; i++) {
      const chosen = i32.and(i32.shrU(immediate.get(), i32.const(i * 2)), i32.const(3));
      const lane = keep.i32(spilledLane(i32.add(chosen, i32.const(base)), 2));
      r.set(i16x8.replace(r.get(), base + i, lane.get()));
    }
    write(site, r.get());
  };
}

const alignRight: Emitter = (site) => {
  const n = keep.i32(site.immediate32());
  when(i32.gtU(n.get(), i32.const(32)), () => n.set(i32.const(32)));
  const b = read(site, 1);
  spill([b, read(site, 0), undefined]);
  // 16 zero bytes follow; a count of 32 reads just them.
  write(site, v128.load(n.get(), layout.lanes));
};

/** Extracts lane `immediate` into a register or memory. */
function extract(bytes: 1 | 2): Emitter {
  return (site) => {
    spill([read(site, 1)]);
    const index = i32.and(site.immediate32(), i32.const(16 / bytes - 1));
    const lane = keep.i32(spilledLane(index, bytes));
    const to = site.place(0);
    to.write(keepInt(to.size, fromI32(to.size, lane.get())));
  };
}

const extractWide: Emitter = (site) => {
  const to = site.place(0);
  spill([read(site, 1)]);
  const bytes = to.size / 8;
  const index = i32.and(site.immediate32(), i32.const(16 / bytes - 1));
  const at = keep.i32(i32.mul(index, i32.const(bytes)));
  const value =
    bytes === 8 ? asInt(i64.load(at.get(), layout.lanes)) : asInt(i32.load(at.get(), layout.lanes));
  to.write(keepInt(to.size, value));
};

function insert(bytes: 1 | 2 | 0): Emitter {
  return (site) => {
    const from = site.place(1);
    const size = bytes === 0 ? from.size / 8 : bytes;
    const value = keepInt(from.size, from.read());
    spill([read(site, 0)]);
    const index = i32.and(site.immediate32(), i32.const(16 / size - 1));
    const at = keep.i32(i32.mul(index, i32.const(size)));
    if (size === 8) i64.store(at.get(), value.get(), layout.lanes);
    else if (size === 4) i32.store(at.get(), value.get(), layout.lanes);
    else if (size === 2) i32.store16(at.get(), value.get(), layout.lanes);
    else i32.store8(at.get(), value.get(), layout.lanes);
    write(site, v128.load(i32.const(0), layout.lanes));
  };
}

/** INSERTPS: source lane by bits 7:6 (memory: its only one), target by 5:4, zeroes by 3:0. */
const insertSingle: Emitter = (site) => {
  const source = site.vector(1);
  const b = keep.v128(source.read());
  spill([read(site, 0), b]);
  const immediate = keep.i32(site.immediate32());
  const from = local.i32();
  if (source.kind === "memory") from.set(i32.const(0));
  else from.set(i32.and(i32.shrU(immediate.get(), i32.const(6)), i32.const(3)));
  const value = keep.i32(i32.load(i32.shl(from.get(), i32.const(2)), layout.lanes + 16));
  const to = i32.and(i32.shrU(immediate.get(), i32.const(4)), i32.const(3));
  const at = keep.i32(i32.shl(to, i32.const(2)));
  i32.store(at.get(), value.get(), layout.lanes);
  const keepLanes = v128.not(bitMask(immediate, [1, 2, 4, 8], i32x4));
  write(site, v128.and(keepLanes, v128.load(i32.const(0), layout.lanes)));
};

/** All ones in the lanes whose bit of the immediate is set. */
function bitMask(
  immediate: Local<I32>,
  bits: readonly number[],
  lanes: { readonly splat: (a: I32) => V128; readonly eq: (a: V128, b: V128) => V128 },
): V128 {
  const width = BigInt(128 / bits.length);
  const pattern = bits.reduce((sum, bit, i) => sum | (BigInt(bit) << (BigInt(i) * width)), 0n);
  const selected = v128.and(lanes.splat(immediate.get()), v128.const(pattern));
  return lanes.eq(selected, v128.const(pattern));
}

/** DPPS and DPPD: chosen products, added in pairs, to the chosen lanes. */
function dotProduct(double: boolean): Emitter {
  return (site) => {
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
    write(site, v128.and(sum.get(), mask(immediate)));
  };
}

const quadLanes = { splat: (a: I32): V128 => i64x2.splat(i64.extendU(a)), eq: i64x2.eq };

/** Lanes of the second operand where the immediate's bit is set. */
function blend(
  bits: readonly number[],
  lanes: { readonly splat: (a: I32) => V128; readonly eq: (a: V128, b: V128) => V128 },
): Emitter {
  return (site) => {
    const b = read(site, 1);
    const a = read(site, 0);
    const immediate = keep.i32(site.immediate32());
    write(site, v128.select(b.get(), a.get(), bitMask(immediate, bits, lanes)));
  };
}

/** Lanes of the second operand where XMM0's lane is negative. */
function blendVariable(signs: (mask: V128) => V128): Emitter {
  return (site) => {
    const b = read(site, 1);
    const a = read(site, 0);
    const mask = (): V128 => v128.load(i32.const(0), layout.state + state.xmm);
    write(site, v128.select(b.get(), a.get(), signs(mask())));
  };
}

function highWords(low: V128, high: V128): V128 {
  return v128.shuffle(low, high, words(1, 3, 5, 7, 9, 11, 13, 15));
}

const lowDoublewords = 0x0000_0000_ffff_ffff_0000_0000_ffff_ffffn;
const low32 = (x: Vector): V128 => v128.and(x.get(), v128.const(lowDoublewords));
const signed32 = (x: Vector): V128 => i64x2.shrS(i64x2.shl(x.get(), i32.const(32)), i32.const(32));

function sumOfDifferences(a: Vector, b: Vector): V128 {
  const difference = i8x16.sub(i8x16.maxU(a.get(), b.get()), i8x16.minU(a.get(), b.get()));
  const sums = keep.v128(i32x4.extaddPairwiseU16(i16x8.extaddPairwiseU8(difference)));
  return i64x2.add(low32(sums), i64x2.shrU(sums.get(), i32.const(32)));
}

function roundedHighProduct(a: Vector, b: Vector): V128 {
  const least = (): V128 => i16x8.splat(i32.const(0x8000));
  const product = i16x8.q15mulr(a.get(), b.get());
  // -1 × -1 saturates there and wraps here.
  const extreme = v128.and(i16x8.eq(a.get(), least()), i16x8.eq(b.get(), least()));
  return v128.xor(product, extreme);
}

function multiplyAddBytes(a: Vector, b: Vector): V128 {
  const even = i16x8.mul(
    v128.and(a.get(), i16x8.splat(i32.const(0xff))),
    i16x8.shrS(i16x8.shl(b.get(), i32.const(8)), i32.const(8)),
  );
  const odd = i16x8.mul(i16x8.shrU(a.get(), i32.const(8)), i16x8.shrS(b.get(), i32.const(8)));
  return i16x8.addSatS(even, odd);
}

type SignLanes = {
  readonly shrS: (a: V128, n: I32) => V128;
  readonly sub: (a: V128, b: V128) => V128;
  readonly eq: (a: V128, b: V128) => V128;
};

function applySign(lanes: SignLanes, width: number): Emitter {
  return binary((a, b) => {
    const mask = keep.v128(lanes.shrS(b.get(), i32.const(width - 1)));
    const negated = lanes.sub(v128.xor(a.get(), mask.get()), mask.get());
    return v128.andnot(negated, lanes.eq(b.get(), v128.const(0n)));
  });
}

const horizontalWords = (op: Op2): Emitter =>
  horizontal(op, words(0, 2, 4, 6, 8, 10, 12, 14), words(1, 3, 5, 7, 9, 11, 13, 15));

const test: Emitter = (site) => {
  const b = read(site, 1);
  const a = read(site, 0);
  const zf = keep.i32(i32.eqz(v128.anyTrue(v128.and(a.get(), b.get()))));
  const cf = keep.i32(i32.eqz(v128.anyTrue(v128.andnot(b.get(), a.get()))));
  const pf = keep.i32(i32.const(0));
  setComparison(site, zf, pf, cf);
};

const minimumPosition: Emitter = (site) => {
  const b = read(site, 1);
  const best = keep.i32(i16x8.extractU(b.get(), 0));
  const index = keep.i32(i32.const(0));
  for (let i = 1; i < 8; i++) {
    const value = keep.i32(i16x8.extractU(b.get(), i));
    when(i32.ltU(value.get(), best.get()), () => {
      best.set(value.get());
      index.set(i32.const(i));
    });
  }
  const both32 = keep.i32(i32.or(best.get(), i32.shl(index.get(), i32.const(16))));
  write(site, i32x4.replace(v128.const(0n), 0, both32.get()));
};

function maskTo(bits: (a: V128) => I32): Emitter {
  return (site) => {
    const mask = keep.i32(bits(read(site, 1).get()));
    const to = site.place(0);
    to.write(keepInt(to.size, fromI32(to.size, mask.get())));
  };
}

/** Register to vector and back; the rest of the vector becomes zero. */
const fromRegister: Emitter = (site) => {
  const from = site.place(1);
  const value = keepInt(from.size, from.read());
  write(
    site,
    from.size === 64
      ? i64x2.replace(v128.const(0n), 0, value.get())
      : i32x4.replace(v128.const(0n), 0, value.get()),
  );
};

const toRegister: Emitter = (site) => {
  const b = read(site, 1);
  const to = site.place(0);
  const value =
    to.size === 64 ? asInt(i64x2.extract(b.get(), 0)) : asInt(i32x4.extract(b.get(), 0));
  to.write(keepInt(to.size, value));
};

const chain =
  (...ops: readonly V1[]): ((b: Vector) => V128) =>
  (b) =>
    ops.reduce((value, op) => op(value), b.get());

const integerVectorEmitters: Record<string, Emitter> = {
  pand: plain(v128.and),
  por: plain(v128.or),
  pxor: plain(v128.xor),
  pandn: swapped(v128.andnot),
  paddb: plain(i8x16.add),
  paddw: plain(i16x8.add),
  paddd: plain(i32x4.add),
  paddq: plain(i64x2.add),
  psubb: plain(i8x16.sub),
  psubw: plain(i16x8.sub),
  psubd: plain(i32x4.sub),
  psubq: plain(i64x2.sub),
  paddsb: plain(i8x16.addSatS),
  paddsw: plain(i16x8.addSatS),
  paddusb: plain(i8x16.addSatU),
  paddusw: plain(i16x8.addSatU),
  psubsb: plain(i8x16.subSatS),
  psubsw: plain(i16x8.subSatS),
  psubusb: plain(i8x16.subSatU),
  psubusw: plain(i16x8.subSatU),
  pminub: plain(i8x16.minU),
  pmaxub: plain(i8x16.maxU),
  pminsw: plain(i16x8.minS),
  pmaxsw: plain(i16x8.maxS),
  pminsb: plain(i8x16.minS),
  pmaxsb: plain(i8x16.maxS),
  pminuw: plain(i16x8.minU),
  pmaxuw: plain(i16x8.maxU),
  pminsd: plain(i32x4.minS),
  pmaxsd: plain(i32x4.maxS),
  pminud: plain(i32x4.minU),
  pmaxud: plain(i32x4.maxU),
  pavgb: plain(i8x16.avgrU),
  pavgw: plain(i16x8.avgrU),
  pcmpeqb: plain(i8x16.eq),
  pcmpeqw: plain(i16x8.eq),
  pcmpeqd: plain(i32x4.eq),
  pcmpeqq: plain(i64x2.eq),
  pcmpgtb: plain(i8x16.gtS),
  pcmpgtw: plain(i16x8.gtS),
  pcmpgtd: plain(i32x4.gtS),
  pcmpgtq: plain(i64x2.gtS),
  pmullw: plain(i16x8.mul),
  pmulld: plain(i32x4.mul),
  pmulhw: binary((a, b) => highWords(i16x8x32(a, b, "extmulLowS"), i16x8x32(a, b, "extmulHighS"))),
  pmulhuw: binary((a, b) => highWords(i16x8x32(a, b, "extmulLowU"), i16x8x32(a, b, "extmulHighU"))),
  pmaddwd: plain(i32x4.dotI16),
  pmuludq: binary((a, b) => i64x2.mul(low32(a), low32(b))),
  pmuldq: binary((a, b) => i64x2.mul(signed32(a), signed32(b))),
  psadbw: binary(sumOfDifferences),
  pmulhrsw: binary(roundedHighProduct),
  pmaddubsw: binary(multiplyAddBytes),
  psignb: applySign(i8x16, 8),
  psignw: applySign(i16x8, 16),
  psignd: applySign(i32x4, 32),
  pabsb: unary((b) => i8x16.abs(b.get())),
  pabsw: unary((b) => i16x8.abs(b.get())),
  pabsd: unary((b) => i32x4.abs(b.get())),
  packsswb: plain(i8x16.narrowS),
  packuswb: plain(i8x16.narrowU),
  packssdw: plain(i16x8.narrowS),
  packusdw: plain(i16x8.narrowU),
  punpcklbw: shuffled(interleave(0, 8)),
  punpckhbw: shuffled(interleave(8, 8)),
  punpcklwd: shuffled(words(0, 8, 1, 9, 2, 10, 3, 11)),
  punpckhwd: shuffled(words(4, 12, 5, 13, 6, 14, 7, 15)),
  punpckldq: shuffled(doubles(0, 4, 1, 5)),
  punpckhdq: shuffled(doubles(2, 6, 3, 7)),
  punpckldq2: shuffled(doubles(0, 4, 1, 5)),
  punpckhdq2: shuffled(doubles(2, 6, 3, 7)),
  punpcklqdq: shuffled(quads(0, 2)),
  punpckhqdq: shuffled(quads(1, 3)),
  pshufb: binary((a, b) => v128.swizzle(a.get(), v128.and(b.get(), i8x16.splat(i32.const(0x8f))))),
  pshufd: shuffleDoublewords,
  pshuflw: shuffleWords(false),
  pshufhw: shuffleWords(true),
  shufps: shuffleSingles,
  shufpd: shuffleDoubles,
  palignr: alignRight,
  psllw: shift(i16x8, 16, "shl"),
  pslld: shift(i32x4, 32, "shl"),
  psllq: shift(i64x2, 64, "shl"),
  psrlw: shift(i16x8, 16, "shrU"),
  psrld: shift(i32x4, 32, "shrU"),
  psrlq: shift(i64x2, 64, "shrU"),
  psraw: shift(i16x8, 16, "shrS"),
  psrad: shift(i32x4, 32, "shrS"),
  pslldq: shiftBytes(true),
  psrldq: shiftBytes(false),
  phaddw: horizontalWords(i16x8.add),
  phaddsw: horizontalWords(i16x8.addSatS),
  phsubw: horizontalWords(i16x8.sub),
  phsubsw: horizontalWords(i16x8.subSatS),
  phaddd: horizontal(i32x4.add, doubles(0, 2, 4, 6), doubles(1, 3, 5, 7)),
  phsubd: horizontal(i32x4.sub, doubles(0, 2, 4, 6), doubles(1, 3, 5, 7)),
  pmovsxbw: unary(chain(i16x8.extendLowS)),
  pmovsxbd: unary(chain(i16x8.extendLowS, i32x4.extendLowS)),
  pmovsxbq: unary(chain(i16x8.extendLowS, i32x4.extendLowS, i64x2.extendLowS)),
  pmovsxwd: unary(chain(i32x4.extendLowS)),
  pmovsxwq: unary(chain(i32x4.extendLowS, i64x2.extendLowS)),
  pmovsxdq: unary(chain(i64x2.extendLowS)),
  pmovzxbw: unary(chain(i16x8.extendLowU)),
  pmovzxbd: unary(chain(i16x8.extendLowU, i32x4.extendLowU)),
  pmovzxbq: unary(chain(i16x8.extendLowU, i32x4.extendLowU, i64x2.extendLowU)),
  pmovzxwd: unary(chain(i32x4.extendLowU)),
  pmovzxwq: unary(chain(i32x4.extendLowU, i64x2.extendLowU)),
  pmovzxdq: unary(chain(i64x2.extendLowU)),
  pblendvb: blendVariable((mask) => i8x16.shrS(mask, i32.const(7))),
  blendvps: blendVariable((mask) => i32x4.shrS(mask, i32.const(31))),
  blendvpd: blendVariable((mask) => i64x2.shrS(mask, i32.const(63))),
  blendps: blend([1, 2, 4, 8], i32x4),
  blendpd: blend([1, 2], quadLanes),
  pblendw: blend([1, 2, 4, 8, 16, 32, 64, 128], i16x8),
  dpps: dotProduct(false),
  dppd: dotProduct(true),
  ptest: test,
  phminposuw: minimumPosition,
  pmovmskb: maskTo(i8x16.bitmask),
  movmskps: maskTo(i32x4.bitmask),
  movmskpd: maskTo(i64x2.bitmask),
  pextrb: extract(1),
  pextrw: extract(2),
  pextrw2: extract(2),
  pextr: extractWide,
  pinsrb: insert(1),
  pinsrw: insert(2),
  pinsr: insert(0),
  insertps: insertSingle,
  pcmpistri: compareStrings,
  movgx: fromRegister,
  movxg: toRegister,
};

function i16x8x32(
  a: Vector,
  b: Vector,
  name: "extmulLowS" | "extmulHighS" | "extmulLowU" | "extmulHighU",
): V128 {
  // The i32x4 forms multiply 16-bit lanes.
  return i32x4[name](a.get(), b.get());
}

const moveEmitters: Record<string, Emitter> = {
  movups: moveUnaligned,
  movaps: moveAligned,
  movd: moveLow(32),
  movq: moveLow(64),
  movlps: moveLowHalf,
  movhps: moveHigh,
  movhlps: shuffled(quads(3, 1)),
  movlhps: shuffled(quads(0, 2)),
  movddup: unary((b) => v128.shuffle(b.get(), b.get(), quads(0, 0))),
  movsldup: unary((b) => v128.shuffle(b.get(), b.get(), doubles(0, 0, 2, 2))),
  movshdup: unary((b) => v128.shuffle(b.get(), b.get(), doubles(1, 1, 3, 3))),
};

export const sseEmitters: Readonly<Record<string, Emitter>> = {
  ...moveEmitters,
  ...floatEmitters,
  ...conversionEmitters,
  ...integerVectorEmitters,
};

export type { F64 };
