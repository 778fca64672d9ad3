/** SSE instructions that move lanes: shuffles, shifts of whole vectors, extracts, inserts, blends. */
import { layout } from "../state.ts";
import { type I32, type I64, i32, i64, keep, local, type V128, when } from "../wasm/assembler.ts";
import { i16x8, i32x4, i64x2, v128 } from "../wasm/simd.ts";
import type { Emitter } from "./integer.ts";
import { asInt, fromI32, keepInt, type Site } from "./site.ts";
import {
  bitMask,
  checkAligned,
  doubles,
  lowQuad,
  quads,
  read,
  shuffled,
  spill,
  spilledLane,
  unary,
  type Vector,
  write,
} from "./vector-operands.ts";

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

/** MOVQ and MOVD between vectors and memory; into a register, the rest becomes zero. */
function moveLow(bits: 32 | 64): Emitter {
  return (site) => {
    const to = site.vector(0);
    const value = keep.v128(site.vector(1).read());
    if (to.kind === "vector" && bits === 64) value.set(v128.and(value.get(), v128.const(lowQuad)));
    to.write(value);
  };
}

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

/** PSRLDQ and PSLLDQ: bytes, through memory with zeroes around. */
export function shiftBytes(left: boolean): Emitter {
  return (site) => {
    const n = keep.i32(site.immediate32());
    when(i32.gtU(n.get(), i32.const(16)), () => n.set(i32.const(16)));
    spill([undefined, read(site, 0), undefined]);
    const at = left ? i32.sub(i32.const(16), n.get()) : i32.add(i32.const(16), n.get());
    write(site, v128.load(at, layout.lanes));
  };
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

export const shuffleDoublewords: Emitter = (site) =>
  pickDoubles(site, [read(site, 1)], [0, 0, 0, 0]);

export const shuffleSingles: Emitter = (site) => {
  const b = read(site, 1);
  pickDoubles(site, [read(site, 0), b], [0, 0, 4, 4]);
};

export const shuffleDoubles: Emitter = (site) => {
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
export function shuffleWords(high: boolean): Emitter {
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

export const alignRight: Emitter = (site) => {
  const n = keep.i32(site.immediate32());
  when(i32.gtU(n.get(), i32.const(32)), () => n.set(i32.const(32)));
  const b = read(site, 1);
  spill([b, read(site, 0), undefined]);
  // 16 zero bytes follow; a count of 32 reads just them.
  write(site, v128.load(n.get(), layout.lanes));
};

/** Extracts lane `immediate` & `mask` into a register or memory. */
export function extractLane(bytes: 1 | 2, mask: number): Emitter {
  return (site) => {
    spill([read(site, 1)]);
    const index = i32.and(site.immediate32(), i32.const(mask));
    const lane = keep.i32(spilledLane(index, bytes));
    const to = site.place(0);
    to.write(keepInt(to.size, fromI32(to.size, lane.get())));
  };
}

export const extractWide: Emitter = (site) => {
  const to = site.place(0);
  spill([read(site, 1)]);
  const bytes = to.size / 8;
  const index = i32.and(site.immediate32(), i32.const(16 / bytes - 1));
  const at = keep.i32(i32.mul(index, i32.const(bytes)));
  const value =
    bytes === 8 ? asInt(i64.load(at.get(), layout.lanes)) : asInt(i32.load(at.get(), layout.lanes));
  to.write(keepInt(to.size, value));
};

export const extract = (bytes: 1 | 2): Emitter => extractLane(bytes, 16 / bytes - 1);

export const insert = (bytes: 1 | 2 | 0): Emitter => insertLane(bytes);

/** `mask` is that of the lane's number; without it, a vector's 16 bytes decide. */
export function insertLane(bytes: 1 | 2 | 0, mask?: number): Emitter {
  return (site) => {
    const from = site.place(1);
    const size = bytes === 0 ? from.size / 8 : bytes;
    const value = keepInt(from.size, from.read());
    spill([read(site, 0)]);
    const index = i32.and(site.immediate32(), i32.const(mask ?? 16 / size - 1));
    const at = keep.i32(i32.mul(index, i32.const(size)));
    if (size === 8) i64.store(at.get(), value.get(), layout.lanes);
    else if (size === 4) i32.store(at.get(), value.get(), layout.lanes);
    else if (size === 2) i32.store16(at.get(), value.get(), layout.lanes);
    else i32.store8(at.get(), value.get(), layout.lanes);
    write(site, v128.load(i32.const(0), layout.lanes));
  };
}

/** INSERTPS: source lane by bits 7:6 (memory: its only one), target by 5:4, zeroes by 3:0. */
export const insertSingle: Emitter = (site) => {
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

/** Lanes of the second operand where the immediate's bit is set. */
export function blend(
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
export function blendVariable(signs: (mask: V128) => V128): Emitter {
  return (site) => {
    const b = read(site, 1);
    const a = read(site, 0);
    const mask = (): V128 => site.vectorRegister(0).read();
    write(site, v128.select(b.get(), a.get(), signs(mask())));
  };
}

export function maskTo(bits: (a: V128) => I32): Emitter {
  return (site) => {
    const mask = keep.i32(bits(read(site, 1).get()));
    const to = site.place(0);
    to.write(keepInt(to.size, fromI32(to.size, mask.get())));
  };
}

/** Register to vector and back; the rest of the vector becomes zero. */
export const fromRegister: Emitter = (site) => {
  const from = site.place(1);
  const value = keepInt(from.size, from.read());
  write(
    site,
    from.size === 64
      ? i64x2.replace(v128.const(0n), 0, value.get())
      : i32x4.replace(v128.const(0n), 0, value.get()),
  );
};

export const toRegister: Emitter = (site) => {
  const b = read(site, 1);
  const to = site.place(0);
  const value =
    to.size === 64 ? asInt(i64x2.extract(b.get(), 0)) : asInt(i32x4.extract(b.get(), 0));
  to.write(keepInt(to.size, value));
};

export const moveEmitters: Record<string, Emitter> = {
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
