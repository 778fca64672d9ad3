/**
 * MMX: the SSE emitters on 64-bit registers, which are the mantissas of x87's (SDM volume 1 §9.5).
 *
 * An operand is read as a vector whose upper half is zero, and its lower half is written, so what
 * works lane by lane is the same emitter. What crosses lanes is here. Mnemonics end in "mm".
 */
import { layout, state } from "../state.ts";
import { i32, i64, keep, type V128, when } from "../wasm/assembler.ts";
import { f32x4, f64x2, i8x16, i16x8, i32x4, v128 } from "../wasm/simd.ts";
import type { Emitter } from "./integer.ts";
import { strictly } from "./mxcsr.ts";
import type { Site } from "./site.ts";
import { conversionEmitters } from "./sse-float.ts";
import {
  extractLane,
  fromRegister,
  insertLane,
  moveEmitters,
  shuffleWords,
  toRegister,
} from "./sse-lanes.ts";
import {
  binary,
  doubles,
  horizontal,
  type Op2,
  quads,
  read,
  shuffled,
  spill,
  type Vector,
  words,
  write,
} from "./vector-operands.ts";

/** An MMX instruction: pending x87 exceptions first; afterwards TOP is 0 and all registers in use. */
function mmx(emit: Emitter): Emitter {
  return (site) => {
    when(i32.and(site.loadState32(state.fsw), i32.const(0x80)), () => site.raise(16));
    emit(site);
    site.storeState32(state.ftop, i32.const(0));
    site.storeState32(state.ftags, i32.const(0xff));
  };
}

/** Both operands' 64 bits as one vector. */
const joined = (a: Vector, b: Vector): V128 => v128.shuffle(a.get(), b.get(), quads(0, 2));

const pack = (op: Op2): Emitter =>
  binary((a, b) => {
    const both = keep.v128(joined(a, b));
    return op(both.get(), both.get());
  });

const byteLanes = (...lanes: readonly number[]): readonly number[] => [...lanes, ...lanes];

const pairs = (op: Op2): Emitter =>
  horizontal(op, words(0, 2, 8, 10, 0, 2, 8, 10), words(1, 3, 9, 11, 1, 3, 9, 11));
const pairsOfDoubles = (op: Op2): Emitter =>
  horizontal(op, doubles(0, 4, 0, 4), doubles(1, 5, 1, 5));

const alignRight: Emitter = (site) => {
  const n = keep.i32(site.immediate32());
  when(i32.gtU(n.get(), i32.const(16)), () => n.set(i32.const(16)));
  const b = read(site, 1);
  spill([keep.v128(joined(b, read(site, 0))), undefined]);
  write(site, v128.load(n.get(), layout.lanes));
};

/** MASKMOVQ and MASKMOVDQU: the bytes whose mask byte is negative, to the address in rDI. */
export function maskedMove(bytes: 8 | 16): Emitter {
  return (site) => {
    const mask = keep.i32(i8x16.bitmask(read(site, 1).get()));
    spill([read(site, 0)]);
    const base = keep.i64(site.address());
    for (let i = 0; i < bytes; i++)
      when(i32.and(mask.get(), i32.const(1 << i)), () => storeByte(site, base, i));
  };
}

function storeByte(site: Site, base: ReturnType<typeof keep.i64>, i: number): void {
  const address = keep.i64(i64.add(base.get(), i64.const(i)));
  const host = site.host(address, 1, true);
  i32.store8(host.get(), i32.load8U(i32.const(0), layout.lanes + i));
  site.commit(host);
}

/** CVTPI2PS and CVTPI2PD from memory leave x87 alone. */
function fromIntegers(convert: Emitter): Emitter {
  const withRegister = mmx(convert);
  return (site) => {
    if (site.vector(1).kind === "memory") convert(site);
    else withRegister(site);
  };
}

const integersToDoubles: Emitter = (site) =>
  write(site, f64x2.convertLowI32S(keep.v128(site.vector(1).read()).get()));

const integersToSingles: Emitter = (site) => {
  const b = keep.v128(site.vector(1).read());
  const converted = keep.v128(f32x4.convertI32S(b.get()));
  write(site, v128.shuffle(converted.get(), read(site, 0).get(), quads(0, 3)));
};

/** x87 registers become free again. */
const emptyState: Emitter = (site) => {
  when(i32.and(site.loadState32(state.fsw), i32.const(0x80)), () => site.raise(16));
  site.storeState32(state.ftop, i32.const(0));
  site.storeState32(state.ftags, i32.const(0));
};

const own: Readonly<Record<string, Emitter>> = {
  packsswb: pack(i8x16.narrowS),
  packuswb: pack(i8x16.narrowU),
  packssdw: pack(i16x8.narrowS),
  punpckhbw: shuffled(byteLanes(4, 20, 5, 21, 6, 22, 7, 23)),
  punpckhwd: shuffled(words(2, 10, 3, 11, 2, 10, 3, 11)),
  punpckhdq: shuffled(doubles(1, 5, 1, 5)),
  phaddw: pairs(i16x8.add),
  phaddsw: pairs(i16x8.addSatS),
  phsubw: pairs(i16x8.sub),
  phsubsw: pairs(i16x8.subSatS),
  phaddd: pairsOfDoubles(i32x4.add),
  phsubd: pairsOfDoubles(i32x4.sub),
  pshufb: binary((a, b) => v128.swizzle(a.get(), v128.and(b.get(), i8x16.splat(i32.const(0x87))))),
  palignr: alignRight,
  pshufw: shuffleWords(false),
  pextrw: extractLane(2, 3),
  pinsrw: insertLane(2, 3),
  movg: fromRegister,
  movx: toRegister,
  movq: moveEmitters["movups"] as Emitter,
  movq2dq: moveEmitters["movups"] as Emitter,
  movdq2q: moveEmitters["movups"] as Emitter,
  maskmovq: maskedMove(8),
};

const converted: Readonly<Record<string, string>> = {
  cvtps2pi: "cvtps2dq",
  cvttps2pi: "cvttps2dq",
  cvtpd2pi: "cvtpd2dq",
  cvttpd2pi: "cvttpd2dq",
};

/** Where 64 bits are 128 bits cut in half. */
const likeSse =
  "pand por pxor pandn paddb paddw paddd paddq psubb psubw psubd psubq paddsb paddsw paddusb paddusw psubsb psubsw psubusb psubusw pminub pmaxub pminsw pmaxsw pavgb pavgw pcmpeqb pcmpeqw pcmpeqd pcmpgtb pcmpgtw pcmpgtd pmullw pmulhw pmulhuw pmaddwd pmuludq psadbw pmulhrsw pmaddubsw psignb psignw psignd pabsb pabsw pabsd psllw pslld psllq psrlw psrld psrlq psraw psrad punpcklbw punpcklwd punpckldq pmovmskb".split(
    " ",
  );

export function mmxEmitters(sse: Readonly<Record<string, Emitter>>): Record<string, Emitter> {
  const table: Record<string, Emitter> = {
    emms: emptyState,
    cvtpi2psmm: strictly(fromIntegers(integersToSingles)),
    cvtpi2pdmm: fromIntegers(integersToDoubles),
    maskmovdqu: maskedMove(16),
  };
  for (const name of likeSse) table[`${name}mm`] = mmx(sse[name] as Emitter);
  for (const [name, emit] of Object.entries(own)) table[`${name}mm`] = mmx(emit);
  for (const [name, from] of Object.entries(converted))
    table[`${name}mm`] = mmx(conversionEmitters[from] as Emitter);
  return table;
}
