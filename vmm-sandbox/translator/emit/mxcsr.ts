/**
 * Where emitted floating point stops and TypeScript does the instruction exactly: when MXCSR's
 * controls are not the usual ones, and when a result may set a flag that is not set yet.
 *
 * Emitted code sets no flag itself. With the usual controls, invalid, divide-by-zero and overflow
 * show in the result, which is then a NaN or an infinity; precision, underflow and denormal do not
 * and are not recorded (docs/decisions/110).
 */
import { delegated, state } from "../state.ts";
import { i32, keep, when } from "../wasm/assembler.ts";
import { f32x4, f64x2, i32x4, i64x2, v128 } from "../wasm/simd.ts";
import type { Emitter } from "./integer.ts";
import type { Site } from "./site.ts";
import type { Vector } from "./vector-operands.ts";

export const invalid = 1;
/** Invalid, divide-by-zero, overflow. */
const special = 0xd;

export function strictly(emit: Emitter): Emitter {
  return (site) => {
    when(site.loadState32(state.sseStrict), () => site.raise(delegated));
    emit(site);
  };
}

export function leaveUnlessFlagged(site: Site, flags: number): void {
  const set = i32.and(site.loadState32(state.mxcsr), i32.const(flags));
  when(i32.ne(set, i32.const(flags)), () => site.raise(delegated));
}

const exponent32 = 0x7f80_0000_7f80_0000_7f80_0000_7f80_0000n;
const exponent64 = 0x7ff0_0000_0000_0000_7ff0_0000_0000_0000n;

const laneMask = (double: boolean): bigint => (double ? (1n << 64n) - 1n : 0xffff_ffffn);

/** A NaN or an infinity among the lanes that count. */
export function leaveWhenSpecial(site: Site, r: Vector, double: boolean, scalar: boolean): void {
  const all = double ? exponent64 : exponent32;
  const exponent = keep.v128(v128.const(scalar ? all & laneMask(double) : all));
  const lanes = double ? i64x2 : i32x4;
  const found = keep.v128(lanes.eq(v128.and(r.get(), exponent.get()), exponent.get()));
  // Lanes that do not count compare 0 with 0.
  if (scalar) found.set(v128.and(found.get(), v128.const(laneMask(double))));
  when(v128.anyTrue(found.get()), () => leaveUnlessFlagged(site, special));
}

export function leaveWhenUnordered(
  site: Site,
  a: Vector,
  b: Vector,
  double: boolean,
  scalar: boolean,
): void {
  const kind = double ? f64x2 : f32x4;
  const found = keep.v128(v128.or(kind.ne(a.get(), a.get()), kind.ne(b.get(), b.get())));
  if (scalar) found.set(v128.and(found.get(), v128.const(laneMask(double))));
  when(v128.anyTrue(found.get()), () => leaveUnlessFlagged(site, invalid));
}
