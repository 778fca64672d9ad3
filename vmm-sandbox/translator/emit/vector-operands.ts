/** What the vector emitters share: operands, lane patterns, spilling lanes to memory. */
import { layout } from "../state.ts";
import { type I32, i32, i64, keep, type Local, type V128, when } from "../wasm/assembler.ts";
import { i64x2, v128 } from "../wasm/simd.ts";
import type { Emitter } from "./integer.ts";
import type { Site } from "./site.ts";

export type Vector = Local<V128>;

export type Two = (a: Vector, b: Vector) => V128;

/** An operand of 128 bits in memory must be aligned. */
export function read(site: Site, operand: number): Vector {
  const place = site.vector(operand);
  if (place.kind === "memory" && place.size === 128) checkAligned(site);
  return keep.v128(place.read());
}

export function checkAligned(site: Site): void {
  when(i32.and(i32.wrap(site.address()), i32.const(15)), () => site.raise(13));
}

export function write(site: Site, value: V128): void {
  site.vector(0).write(keep.v128(value));
}

/** first = operate(first, second) */
export function binary(operate: Two): Emitter {
  return (site) => {
    const b = read(site, 1);
    const a = read(site, 0);
    write(site, operate(a, b));
  };
}

/** first = operate(second) */
export function unary(operate: (b: Vector) => V128): Emitter {
  return (site) => write(site, operate(read(site, 1)));
}

export const plain = (op: (a: V128, b: V128) => V128): Emitter =>
  binary((a, b) => op(a.get(), b.get()));

export const swapped = (op: (a: V128, b: V128) => V128): Emitter =>
  binary((a, b) => op(b.get(), a.get()));

export const lowQuad = 0xffff_ffff_ffff_ffffn;

/** Lanes of 4 or 8 bytes: `index` 0–3 or 0–1 of a, then of b. */
export function quads(...lanes: readonly number[]): readonly number[] {
  return lanes.flatMap((lane) => Array.from({ length: 8 }, (_, i) => lane * 8 + i));
}

export function doubles(...lanes: readonly number[]): readonly number[] {
  return lanes.flatMap((lane) => Array.from({ length: 4 }, (_, i) => lane * 4 + i));
}

export function words(...lanes: readonly number[]): readonly number[] {
  return lanes.flatMap((lane) => [lane * 2, lane * 2 + 1]);
}

export const shuffled = (lanes: readonly number[]): Emitter =>
  binary((a, b) => v128.shuffle(a.get(), b.get(), lanes));

export const interleave = (from: number, count: number): number[] =>
  Array.from({ length: count }, (_, i) => from + i).flatMap((i) => [i, i + count * 2]);

export type Op2 = (a: V128, b: V128) => V128;

export function horizontal(op: Op2, even: readonly number[], odd: readonly number[]): Emitter {
  return binary((a, b) =>
    op(v128.shuffle(a.get(), b.get(), even), v128.shuffle(a.get(), b.get(), odd)),
  );
}

/** ZF, PF, CF as given, the other flags clear; see emit/flags.ts for the encoding. */
export function setComparison(site: Site, zf: Local<I32>, pf: Local<I32>, cf: Local<I32>): void {
  const result = i64.extendU(i32.xor(zf.get(), i32.const(1)));
  const carries = i32.mul(cf.get(), i32.const(0xc000_0000 | 0));
  const parity = i32.shl(i32.xor(pf.get(), zf.get()), i32.const(8));
  site.setFlags(result, i32.or(carries, parity));
}

export type V1 = (a: V128) => V128;

export const whole = (r: Vector): V128 => r.get();

export const lowSingle = (r: Vector, a: Vector): V128 =>
  v128.shuffle(r.get(), a.get(), doubles(0, 5, 6, 7));

export const lowDouble = (r: Vector, a: Vector): V128 =>
  v128.shuffle(r.get(), a.get(), quads(0, 3));

/** Stores vectors one after another at `layout.lanes`; undefined is zero. */
export function spill(vectors: readonly (Vector | undefined)[]): void {
  for (const [i, vector] of vectors.entries())
    v128.store(i32.const(0), vector ? vector.get() : v128.const(0n), layout.lanes + i * 16);
}

/** Lane `index` (an expression) of what was spilled, `bytes` wide. */
export function spilledLane(index: I32, bytes: number): I32 {
  const at = i32.mul(index, i32.const(bytes));
  if (bytes === 1) return i32.load8U(at, layout.lanes);
  return bytes === 2 ? i32.load16U(at, layout.lanes) : i32.load(at, layout.lanes);
}

/** All ones in the lanes whose bit of the immediate is set. */
export function bitMask(
  immediate: Local<I32>,
  bits: readonly number[],
  lanes: { readonly splat: (a: I32) => V128; readonly eq: (a: V128, b: V128) => V128 },
): V128 {
  const width = BigInt(128 / bits.length);
  const pattern = bits.reduce((sum, bit, i) => sum | (BigInt(bit) << (BigInt(i) * width)), 0n);
  const selected = v128.and(lanes.splat(immediate.get()), v128.const(pattern));
  return lanes.eq(selected, v128.const(pattern));
}

export const quadLanes = { splat: (a: I32): V128 => i64x2.splat(i64.extendU(a)), eq: i64x2.eq };
