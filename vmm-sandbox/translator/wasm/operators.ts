/** WebAssembly's scalar operators, by type. See assembler.ts for the style. */
import {
  byte,
  choose,
  type F32,
  type F64,
  type I32,
  type I64,
  phantom,
  signed32,
  signed64,
  unsigned,
  type V128,
  type Value,
} from "./code-buffer.ts";

type Unary<A, R> = (a: A) => R;

type Binary<A, R> = (a: A, b: A) => R;

type Load<R> = (address: I32, offset?: number) => R;

type Store<V> = (address: I32, value: V, offset?: number) => void;

function unary<A, R>(opcode: number): Unary<A, R> {
  return () => {
    byte(opcode);
    return phantom;
  };
}

function binary<A, R>(opcode: number): Binary<A, R> {
  return () => {
    byte(opcode);
    return phantom;
  };
}

// Every alignment hint is 0: hints change nothing on the processors we run on.
function load<R>(opcode: number): Load<R> {
  return (_address, offset = 0) => {
    byte(opcode);
    byte(0);
    unsigned(offset);
    return phantom;
  };
}

function store<V>(opcode: number): Store<V> {
  return (_address, _value, offset = 0) => {
    byte(opcode);
    byte(0);
    unsigned(offset);
  };
}

function prefixed(prefix: number, opcode: number): void {
  byte(prefix);
  unsigned(opcode);
}

function saturating<A, R>(opcode: number): Unary<A, R> {
  return () => {
    prefixed(0xfc, opcode);
    return phantom;
  };
}

export const memoryCopy = (_to: I32, _from: I32, _count: I32): void => {
  prefixed(0xfc, 10);
  byte(0);
  byte(0);
};

export const memoryFill = (_to: I32, _value: I32, _count: I32): void => {
  prefixed(0xfc, 11);
  byte(0);
};

/** Integer operators of one width, opcodes counted from those of i32 (Core §5.4.7). */
function integer<T extends Value>(compare: number, arithmetic: number) {
  return {
    eqz: unary<T, I32>(compare),
    eq: binary<T, I32>(compare + 1),
    ne: binary<T, I32>(compare + 2),
    ltS: binary<T, I32>(compare + 3),
    ltU: binary<T, I32>(compare + 4),
    gtS: binary<T, I32>(compare + 5),
    gtU: binary<T, I32>(compare + 6),
    leS: binary<T, I32>(compare + 7),
    leU: binary<T, I32>(compare + 8),
    geS: binary<T, I32>(compare + 9),
    geU: binary<T, I32>(compare + 10),
    clz: unary<T, T>(arithmetic),
    ctz: unary<T, T>(arithmetic + 1),
    popcnt: unary<T, T>(arithmetic + 2),
    add: binary<T, T>(arithmetic + 3),
    sub: binary<T, T>(arithmetic + 4),
    mul: binary<T, T>(arithmetic + 5),
    divS: binary<T, T>(arithmetic + 6),
    divU: binary<T, T>(arithmetic + 7),
    remS: binary<T, T>(arithmetic + 8),
    remU: binary<T, T>(arithmetic + 9),
    and: binary<T, T>(arithmetic + 10),
    or: binary<T, T>(arithmetic + 11),
    xor: binary<T, T>(arithmetic + 12),
    shl: binary<T, T>(arithmetic + 13),
    shrS: binary<T, T>(arithmetic + 14),
    shrU: binary<T, T>(arithmetic + 15),
    rotl: binary<T, T>(arithmetic + 16),
    rotr: binary<T, T>(arithmetic + 17),
  };
}

export const i32 = {
  ...integer<I32>(0x45, 0x67),
  const(value: number): I32 {
    byte(0x41);
    signed32(value);
    return phantom;
  },
  if: choose<I32>("i32"),
  load: load<I32>(0x28),
  load8S: load<I32>(0x2c),
  load8U: load<I32>(0x2d),
  load16S: load<I32>(0x2e),
  load16U: load<I32>(0x2f),
  store: store<I32>(0x36),
  store8: store<I32>(0x3a),
  store16: store<I32>(0x3b),
  wrap: unary<I64, I32>(0xa7),
  extend8S: unary<I32, I32>(0xc0),
  extend16S: unary<I32, I32>(0xc1),
  truncF32: saturating<F32, I32>(0),
  truncF64: saturating<F64, I32>(2),
  reinterpretF32: unary<F32, I32>(0xbc),
};

export const i64 = {
  ...integer<I64>(0x50, 0x79),
  const(value: number | bigint): I64 {
    byte(0x42);
    if (typeof value === "number" && value === (value | 0)) signed32(value);
    else signed64(BigInt(value));
    return phantom;
  },
  if: choose<I64>("i64"),
  load: load<I64>(0x29),
  load8S: load<I64>(0x30),
  load8U: load<I64>(0x31),
  load16S: load<I64>(0x32),
  load16U: load<I64>(0x33),
  load32S: load<I64>(0x34),
  load32U: load<I64>(0x35),
  store: store<I64>(0x37),
  store8: store<I64>(0x3c),
  store16: store<I64>(0x3d),
  store32: store<I64>(0x3e),
  extendS: unary<I32, I64>(0xac),
  extendU: unary<I32, I64>(0xad),
  extend8S: unary<I64, I64>(0xc2),
  extend16S: unary<I64, I64>(0xc3),
  extend32S: unary<I64, I64>(0xc4),
  truncF32: saturating<F32, I64>(4),
  truncF64: saturating<F64, I64>(6),
  reinterpretF64: unary<F64, I64>(0xbd),
};

function float<T extends Value>(compare: number, arithmetic: number) {
  return {
    eq: binary<T, I32>(compare),
    ne: binary<T, I32>(compare + 1),
    lt: binary<T, I32>(compare + 2),
    gt: binary<T, I32>(compare + 3),
    le: binary<T, I32>(compare + 4),
    ge: binary<T, I32>(compare + 5),
    abs: unary<T, T>(arithmetic),
    neg: unary<T, T>(arithmetic + 1),
    ceil: unary<T, T>(arithmetic + 2),
    floor: unary<T, T>(arithmetic + 3),
    trunc: unary<T, T>(arithmetic + 4),
    nearest: unary<T, T>(arithmetic + 5),
    sqrt: unary<T, T>(arithmetic + 6),
    add: binary<T, T>(arithmetic + 7),
    sub: binary<T, T>(arithmetic + 8),
    mul: binary<T, T>(arithmetic + 9),
    div: binary<T, T>(arithmetic + 10),
  };
}

const floatBits = new DataView(new ArrayBuffer(8));

function floatConst(value: number): F64 {
  byte(0x44);
  floatBits.setFloat64(0, value, true);
  for (let i = 0; i < 8; i++) byte(floatBits.getUint8(i));
  return phantom;
}

function floatConst32(value: number): F32 {
  byte(0x43);
  floatBits.setFloat32(0, value, true);
  for (let i = 0; i < 4; i++) byte(floatBits.getUint8(i));
  return phantom;
}

export const f32 = {
  ...float<F32>(0x5b, 0x8b),
  const: floatConst32,
  if: choose<F32>("f32"),
  load: load<F32>(0x2a),
  store: store<F32>(0x38),
  fromI32S: unary<I32, F32>(0xb2),
  fromI64S: unary<I64, F32>(0xb4),
  demote: unary<F64, F32>(0xb6),
  reinterpret: unary<I32, F32>(0xbe),
};

export const f64 = {
  ...float<F64>(0x61, 0x99),
  const: floatConst,
  if: choose<F64>("f64"),
  load: load<F64>(0x2b),
  store: store<F64>(0x39),
  fromI32S: unary<I32, F64>(0xb7),
  fromI64S: unary<I64, F64>(0xb9),
  promote: unary<F32, F64>(0xbb),
  reinterpret: unary<I64, F64>(0xbf),
};

/** Vector operators carry a 0xfd prefix (Core §5.4.8); simd.ts names them. */
export function vector(opcode: number): void {
  prefixed(0xfd, opcode);
}

export function vectorMemory(opcode: number, offset: number): void {
  prefixed(0xfd, opcode);
  byte(0);
  unsigned(offset);
}

export const vectorIf = choose<V128>("v128");
