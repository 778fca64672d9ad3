/** Names of the vector operators (Core Specification 2.0 §5.4.8), in the assembler's style. */
import {
  byte,
  type F32,
  type F64,
  type I32,
  type I64,
  type V128,
  vector,
  vectorIf,
  vectorMemory,
} from "./assembler.ts";

// SAFE: a phantom, see assembler.ts.
const phantom = undefined as never;

type Unary<A, R> = (a: A) => R;
type Binary = (a: V128, b: V128) => V128;

function op1<A = V128, R = V128>(opcode: number): Unary<A, R> {
  return () => {
    vector(opcode);
    return phantom;
  };
}

function op2(opcode: number): Binary {
  return () => {
    vector(opcode);
    return phantom;
  };
}

function shift(opcode: number): (a: V128, by: I32) => V128 {
  return () => {
    vector(opcode);
    return phantom;
  };
}

function extract<R>(opcode: number): (a: V128, lane: number) => R {
  return (_a, lane) => {
    vector(opcode);
    byte(lane);
    return phantom;
  };
}

function replace<S>(opcode: number): (a: V128, lane: number, value: S) => V128 {
  return (_a, lane, _value) => {
    vector(opcode);
    byte(lane);
    return phantom;
  };
}

function load(opcode: number): (address: I32, offset?: number) => V128 {
  return (_address, offset = 0) => {
    vectorMemory(opcode, offset);
    return phantom;
  };
}

function storeLane(
  opcode: number,
): (address: I32, value: V128, lane: number, offset?: number) => void {
  return (_address, _value, lane, offset = 0) => {
    vectorMemory(opcode, offset);
    byte(lane);
  };
}

export const v128 = {
  if: vectorIf,
  load: load(0),
  load32Zero: load(92),
  load64Zero: load(93),
  /** Two bytes, zero-extended: there is no such load, so a splat is masked. */
  load16Zero(address: I32): V128 {
    // v128.load16_splat, then all lanes but the first cleared
    return v128.and(load(8)(address), v128.const(0xffffn));
  },
  store(_address: I32, _value: V128, offset = 0): void {
    vectorMemory(11, offset);
  },
  store32Lane: storeLane(90),
  store64Lane: storeLane(91),
  const(value: bigint): V128 {
    vector(12);
    for (let i = 0n; i < 16n; i++) byte(Number((value >> (8n * i)) & 0xffn));
    return phantom;
  },
  /** Lanes 0–15 are bytes of `a`, 16–31 of `b`. */
  shuffle(_a: V128, _b: V128, lanes: readonly number[]): V128 {
    vector(13);
    for (const lane of lanes) byte(lane);
    return phantom;
  },
  swizzle: op2(14),
  not: op1(77),
  and: op2(78),
  /** a & ~b */
  andnot: op2(79),
  or: op2(80),
  xor: op2(81),
  select: ((): V128 => {
    vector(82);
    return phantom;
  }) as (ifOne: V128, ifZero: V128, mask: V128) => V128,
  anyTrue: op1<V128, I32>(83),
};

export const i8x16 = {
  splat: op1<I32, V128>(15),
  extractS: extract<I32>(21),
  extractU: extract<I32>(22),
  replace: replace<I32>(23),
  eq: op2(35),
  ne: op2(36),
  ltS: op2(37),
  gtS: op2(39),
  gtU: op2(40),
  abs: op1(96),
  neg: op1(97),
  bitmask: op1<V128, I32>(100),
  narrowS: op2(101),
  narrowU: op2(102),
  shl: shift(107),
  shrS: shift(108),
  shrU: shift(109),
  add: op2(110),
  addSatS: op2(111),
  addSatU: op2(112),
  sub: op2(113),
  subSatS: op2(114),
  subSatU: op2(115),
  minS: op2(118),
  minU: op2(119),
  maxS: op2(120),
  maxU: op2(121),
  avgrU: op2(123),
  popcnt: op1(98),
};

export const i16x8 = {
  splat: op1<I32, V128>(16),
  extractS: extract<I32>(24),
  extractU: extract<I32>(25),
  replace: replace<I32>(26),
  eq: op2(45),
  gtS: op2(49),
  abs: op1(128),
  neg: op1(129),
  q15mulr: op2(130),
  bitmask: op1<V128, I32>(132),
  narrowS: op2(133),
  narrowU: op2(134),
  extendLowS: op1(135),
  extendHighS: op1(136),
  extendLowU: op1(137),
  extendHighU: op1(138),
  shl: shift(139),
  shrS: shift(140),
  shrU: shift(141),
  add: op2(142),
  addSatS: op2(143),
  addSatU: op2(144),
  sub: op2(145),
  subSatS: op2(146),
  subSatU: op2(147),
  mul: op2(149),
  minS: op2(150),
  minU: op2(151),
  maxS: op2(152),
  maxU: op2(153),
  avgrU: op2(155),
  extaddPairwiseU8: op1(125),
};

export const i32x4 = {
  splat: op1<I32, V128>(17),
  extract: extract<I32>(27),
  replace: replace<I32>(28),
  eq: op2(55),
  gtS: op2(59),
  abs: op1(160),
  neg: op1(161),
  bitmask: op1<V128, I32>(164),
  extendLowS: op1(167),
  extendHighS: op1(168),
  extendLowU: op1(169),
  extendHighU: op1(170),
  shl: shift(171),
  shrS: shift(172),
  shrU: shift(173),
  add: op2(174),
  sub: op2(177),
  mul: op2(181),
  minS: op2(182),
  minU: op2(183),
  maxS: op2(184),
  maxU: op2(185),
  dotI16: op2(186),
  extmulLowS: op2(188),
  extmulHighS: op2(189),
  extmulLowU: op2(190),
  extmulHighU: op2(191),
  extaddPairwiseU16: op1(127),
  truncSatF32: op1(248),
  truncSatF64Zero: op1(252),
};

export const i64x2 = {
  splat: op1<I64, V128>(18),
  extract: extract<I64>(29),
  replace: replace<I64>(30),
  eq: op2(214),
  gtS: op2(217),
  neg: op1(193),
  bitmask: op1<V128, I32>(196),
  extendLowS: op1(199),
  extendHighS: op1(200),
  extendLowU: op1(201),
  extendHighU: op1(202),
  shl: shift(203),
  shrS: shift(204),
  shrU: shift(205),
  add: op2(206),
  sub: op2(209),
  mul: op2(213),
  extmulLowS: op2(220),
  extmulLowU: op2(222),
};

export const f32x4 = {
  splat: op1<F32, V128>(19),
  extract: extract<F32>(31),
  replace: replace<F32>(32),
  eq: op2(65),
  ne: op2(66),
  lt: op2(67),
  le: op2(69),
  neg: op1(225),
  sqrt: op1(227),
  add: op2(228),
  sub: op2(229),
  mul: op2(230),
  div: op2(231),
  /** b < a ? b : a, lane by lane: MINPS with its operands exchanged. */
  pmin: op2(234),
  pmax: op2(235),
  ceil: op1(103),
  floor: op1(104),
  trunc: op1(105),
  nearest: op1(106),
  convertI32S: op1(250),
  demoteF64Zero: op1(94),
};

export const f64x2 = {
  splat: op1<F64, V128>(20),
  extract: extract<F64>(33),
  replace: replace<F64>(34),
  eq: op2(71),
  ne: op2(72),
  lt: op2(73),
  le: op2(75),
  neg: op1(237),
  sqrt: op1(239),
  add: op2(240),
  sub: op2(241),
  mul: op2(242),
  div: op2(243),
  pmin: op2(246),
  pmax: op2(247),
  ceil: op1(116),
  floor: op1(117),
  trunc: op1(122),
  nearest: op1(148),
  convertLowI32S: op1(254),
  promoteLowF32: op1(95),
};
