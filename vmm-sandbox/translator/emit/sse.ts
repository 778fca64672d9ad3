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
import {
  type F64,
  type I32,
  i32,
  i64,
  keep,
  local,
  select,
  type V128,
  when,
} from "../wasm/assembler.ts";
import { i8x16, i16x8, i32x4, i64x2, v128 } from "../wasm/simd.ts";
import type { Emitter } from "./integer.ts";
import { mmxEmitters } from "./mmx.ts";
import { conversionEmitters, dotProduct, floatEmitters } from "./sse-float.ts";
import {
  alignRight,
  blend,
  blendVariable,
  extract,
  extractWide,
  fromRegister,
  insert,
  insertSingle,
  maskTo,
  moveEmitters,
  shiftBytes,
  shuffleDoubles,
  shuffleDoublewords,
  shuffleSingles,
  shuffleWords,
  toRegister,
} from "./sse-lanes.ts";
import { compareStrings } from "./string-compare.ts";
import {
  binary,
  doubles,
  horizontal,
  interleave,
  type Op2,
  plain,
  quadLanes,
  quads,
  read,
  setComparison,
  shuffled,
  swapped,
  unary,
  type V1,
  type Vector,
  words,
  write,
} from "./vector-operands.ts";

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

const vectorEmitters: Readonly<Record<string, Emitter>> = {
  ...moveEmitters,
  ...floatEmitters,
  ...conversionEmitters,
  ...integerVectorEmitters,
};

export const sseEmitters: Readonly<Record<string, Emitter>> = {
  ...vectorEmitters,
  ...mmxEmitters(vectorEmitters),
};

export type { F64 };
