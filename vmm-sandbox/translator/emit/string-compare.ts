/**
 * PCMPISTRI, which the C library's strcspn, strspn, strpbrk and strcmp are made of (SDM volume 2
 * §4.1). The immediate is read at run time:
 *
 *   bits 1:0 bytes or words, unsigned or signed · 3:2 equal any, ranges, equal each, equal ordered
 *   bits 5:4 polarity · bit 6 highest index instead of lowest
 *
 * Each aggregation yields one bit per element of the second string; both strings end at their
 * first zero element.
 */
import { layout } from "../state.ts";
import {
  block,
  br,
  brIf,
  type I32,
  i32,
  i64,
  keep,
  type Local,
  local,
  loop,
  type V128,
  when,
} from "../wasm/assembler.ts";
import { i8x16, i16x8, v128 } from "../wasm/simd.ts";
import type { Emitter } from "./integer.ts";
import { asInt, keepInt, type Site } from "./site.ts";

type Vector = Local<V128>;
type Lanes = {
  readonly bits: 8 | 16;
  readonly splat: (a: I32) => V128;
  readonly eq: (a: V128, b: V128) => V128;
  readonly bitmask: (a: V128) => I32;
  readonly maxS: (a: V128, b: V128) => V128;
  readonly maxU: (a: V128, b: V128) => V128;
};
const byteLanes: Lanes = { bits: 8, ...i8x16 };
const wordLanes: Lanes = { bits: 16, ...i16x8 };

type Strings = {
  readonly lanes: Lanes;
  readonly a: Vector;
  readonly b: Vector;
  readonly lengthA: Local<I32>;
  readonly lengthB: Local<I32>;
  readonly control: Local<I32>;
  /** IntRes1. */
  readonly bits: Local<I32>;
};

/** The low `length` bits set. */
function below(length: Local<I32>): I32 {
  return i32.sub(i32.shl(i32.const(1), length.get()), i32.const(1));
}

function lengthOf(lanes: Lanes, value: Vector): Local<I32> {
  const count = 128 / lanes.bits;
  const zeroes = lanes.bitmask(lanes.eq(value.get(), v128.const(0n)));
  return keep.i32(i32.ctz(i32.or(zeroes, i32.const(1 << count))));
}

/** Element `index` of the first string, which was spilled. */
function elementA(strings: Strings, index: () => I32): V128 {
  const { lanes } = strings;
  const at = i32.mul(index(), i32.const(lanes.bits / 8));
  return lanes.splat(
    lanes.bits === 8 ? i32.load8U(at, layout.lanes) : i32.load16U(at, layout.lanes),
  );
}

/** Runs `body` for i = 0, step, 2·step… while i + extra < lengthA. */
function forEachA(
  strings: Strings,
  step: number,
  extra: number,
  body: (i: Local<I32>) => void,
): void {
  const i = local.i32();
  i.set(i32.const(0));
  block((end) => {
    loop((again) => {
      brIf(end, i32.geS(i32.add(i.get(), i32.const(extra)), strings.lengthA.get()));
      body(i);
      i.set(i32.add(i.get(), i32.const(step)));
      br(again);
    });
  });
}

function equalAny(s: Strings): void {
  const found = local.v128();
  found.set(v128.const(0n));
  forEachA(s, 1, 0, (i) =>
    found.set(
      v128.or(
        found.get(),
        s.lanes.eq(
          elementA(s, () => i.get()),
          s.b.get(),
        ),
      ),
    ),
  );
  s.bits.set(i32.and(s.lanes.bitmask(found.get()), below(s.lengthB)));
}

/** low ≤ b ≤ high: b is the maximum of b and low, and high that of b and high. */
function ranges(s: Strings): void {
  const found = local.v128();
  found.set(v128.const(0n));
  const inside = (i: Local<I32>, max: (a: V128, b: V128) => V128): V128 => {
    const low = keep.v128(elementA(s, () => i.get()));
    const high = keep.v128(elementA(s, () => i32.add(i.get(), i32.const(1))));
    return v128.and(
      s.lanes.eq(max(s.b.get(), low.get()), s.b.get()),
      s.lanes.eq(max(s.b.get(), high.get()), high.get()),
    );
  };
  forEachA(s, 2, 1, (i) =>
    when(
      i32.and(s.control.get(), i32.const(2)),
      () => found.set(v128.or(inside(i, s.lanes.maxS), found.get())),
      () => found.set(v128.or(inside(i, s.lanes.maxU), found.get())),
    ),
  );
  s.bits.set(i32.and(s.lanes.bitmask(found.get()), below(s.lengthB)));
}

function equalEach(s: Strings): void {
  const same = s.lanes.bitmask(s.lanes.eq(s.a.get(), s.b.get()));
  const bothValid = i32.and(i32.and(same, below(s.lengthA)), below(s.lengthB));
  const all = (1 << (128 / s.lanes.bits)) - 1;
  const neither = i32.xor(i32.or(below(s.lengthA), below(s.lengthB)), i32.const(all));
  s.bits.set(i32.or(bothValid, neither));
}

/** Bit j: the first string stands at element j, as far as the vector shows it. */
function equalOrdered(s: Strings): void {
  const count = 128 / s.lanes.bits;
  s.bits.set(i32.const((1 << count) - 1));
  forEachA(s, 1, 0, (i) => {
    const equal = s.lanes.bitmask(
      s.lanes.eq(
        elementA(s, () => i.get()),
        s.b.get(),
      ),
    );
    const valid = i32.and(equal, below(s.lengthB));
    // Element j + i decides about j; past the vector's end nothing is held against it.
    const ones = i32.or(valid, i32.const(-1 << count));
    s.bits.set(i32.and(i32.shrS(ones, i.get()), s.bits.get()));
  });
  s.bits.set(i32.and(s.bits.get(), i32.const((1 << count) - 1)));
}

function aggregate(site: Site, lanes: Lanes, a: Vector, b: Vector, control: Local<I32>): void {
  const lengthA = lengthOf(lanes, a);
  const lengthB = lengthOf(lanes, b);
  const bits = local.i32();
  const strings = { lanes, a, b, lengthA, lengthB, control, bits };
  const how = keep.i32(i32.and(i32.shrU(control.get(), i32.const(2)), i32.const(3)));
  const ways = [equalAny, ranges, equalEach, equalOrdered];
  for (const [code, way] of ways.entries())
    when(i32.eq(how.get(), i32.const(code)), () => way(strings));
  const polarity = keep.i32(i32.and(i32.shrU(control.get(), i32.const(4)), i32.const(3)));
  const count = 128 / lanes.bits;
  when(i32.eq(polarity.get(), i32.const(1)), () =>
    bits.set(i32.xor(bits.get(), i32.const((1 << count) - 1))),
  );
  when(i32.eq(polarity.get(), i32.const(3)), () => bits.set(i32.xor(bits.get(), below(lengthB))));
  finish(site, strings, count);
}

/** ECX and the flags: CF any bit, ZF and SF the strings' ends, OF bit 0; AF and PF clear. */
function finish(site: Site, s: Strings, count: number): void {
  const index = local.i32();
  when(
    i32.and(s.control.get(), i32.const(0x40)),
    () => index.set(i32.sub(i32.const(31), i32.clz(s.bits.get()))),
    () => index.set(i32.ctz(s.bits.get())),
  );
  when(i32.eqz(s.bits.get()), () => index.set(i32.const(count)));
  site.register(1, 32).write(keepInt(32, asInt(index.get())));
  const zf = keep.i32(i32.ltU(s.lengthB.get(), i32.const(count)));
  const sf = keep.i32(i32.ltU(s.lengthA.get(), i32.const(count)));
  const cf = keep.i32(i32.ne(s.bits.get(), i32.const(0)));
  const of = keep.i32(i32.and(s.bits.get(), i32.const(1)));
  const result = i64.extendU(i32.xor(zf.get(), i32.const(1)));
  const high = i32.shl(cf.get(), i32.const(31));
  const carries = i32.or(high, i32.shl(i32.xor(cf.get(), of.get()), i32.const(30)));
  // The result's own parity is even exactly when it is 0: flip it then.
  const parity = i32.or(carries, i32.shl(zf.get(), i32.const(8)));
  site.setFlags(result, i32.or(parity, sf.get()));
}

export const compareStrings: Emitter = (site) => {
  const b = keep.v128(site.vector(1).read());
  const a = keep.v128(site.vector(0).read());
  const control = keep.i32(site.immediate32());
  v128.store(i32.const(0), a.get(), layout.lanes);
  when(
    i32.and(control.get(), i32.const(1)),
    () => aggregate(site, wordLanes, a, b, control),
    () => aggregate(site, byteLanes, a, b, control),
  );
};
