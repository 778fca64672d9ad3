/**
 * An assembler for WebAssembly function bodies, written so that emitters read like expressions.
 *
 * Every operator takes its operands as arguments: `i32.add(x.get(), i32.const(1))`. JavaScript
 * evaluates arguments first, and evaluating an argument appends its code; the operator then appends
 * its opcode, which is WebAssembly's stack order. The values `I32`, `I64`… exist only for the type
 * checker: an expression must be used exactly where it is written and never be kept in a variable
 * (keep it in a `Local` instead).
 *
 * One function is assembled at a time, into module-wide state: a region JIT calls these functions
 * millions of times, and this form needs neither allocation nor dispatch.
 *
 * WebAssembly Core Specification 2.0 §5.4; tail calls: §5.4.1 of 3.0.
 */
declare const kind: unique symbol;
export type I32 = { readonly [kind]: "i32" };
export type I64 = { readonly [kind]: "i64" };
export type F32 = { readonly [kind]: "f32" };
export type F64 = { readonly [kind]: "f64" };
export type V128 = { readonly [kind]: "v128" };
export type Value = I32 | I64 | F32 | F64 | V128;

export const valueType = { i32: 0x7f, i64: 0x7e, f32: 0x7d, f64: 0x7c, v128: 0x7b } as const;
export type ValueTypeName = keyof typeof valueType;

/** Longest body we ever write; engines stop optimising long before. */
const maxBodyBytes = 4 << 20;

let bytes = new Uint8Array(1 << 16);
let at = 0;
let depth = 0;
let paramCount = 0;
let localTypes: ValueTypeName[] = [];
let freeLocals: Record<ValueTypeName, number[]> = emptyPool();
let usedLocals: number[] = [];

function emptyPool(): Record<ValueTypeName, number[]> {
  return { i32: [], i64: [], f32: [], f64: [], v128: [] };
}

// SAFE: a phantom; no caller ever looks at the value, it only orders the code.
const phantom = undefined as never;

export function byte(value: number): void {
  if (at === bytes.length) grow();
  bytes[at++] = value;
}

function grow(): void {
  if (bytes.length >= maxBodyBytes)
    throw new RangeError(`Cannot assemble a function over ${maxBodyBytes} bytes`);
  const larger = new Uint8Array(bytes.length * 2);
  larger.set(bytes);
  bytes = larger;
}

export function unsigned(value: number): void {
  let rest = value;
  while (rest > 0x7f) {
    byte((rest & 0x7f) | 0x80);
    rest >>>= 7;
  }
  byte(rest);
}

function signed32(value: number): void {
  let rest = value | 0;
  for (;;) {
    const low = rest & 0x7f;
    rest >>= 7;
    if ((rest === 0 && (low & 0x40) === 0) || (rest === -1 && (low & 0x40) !== 0)) {
      byte(low);
      return;
    }
    byte(low | 0x80);
  }
}

function signed64(value: bigint): void {
  let rest = BigInt.asIntN(64, value);
  for (;;) {
    const low = Number(rest & 0x7fn);
    rest >>= 7n;
    if ((rest === 0n && (low & 0x40) === 0) || (rest === -1n && (low & 0x40) !== 0)) {
      byte(low);
      return;
    }
    byte(low | 0x80);
  }
}

/** A local variable or parameter of the function being assembled. */
export class Local<T extends Value> {
  readonly index: number;
  constructor(index: number) {
    this.index = index;
  }
  get(): T {
    byte(0x20);
    unsigned(this.index);
    return phantom;
  }
  set(_value: T): void {
    byte(0x21);
    unsigned(this.index);
  }
  tee(_value: T): T {
    byte(0x22);
    unsigned(this.index);
    return phantom;
  }
}

/** A finished function body, as it stands in the code section without its size. */
export type Body = Uint8Array;

/** Starts a function; parameters are locals 0…n-1. */
export function beginFunction(parameters: number): void {
  at = 0;
  depth = 0;
  paramCount = parameters;
  localTypes = [];
  freeLocals = emptyPool();
  usedLocals = [];
}

export function endFunction(): Body {
  byte(0x0b);
  const code = bytes.slice(0, at);
  at = 0;
  const runs: [number, ValueTypeName][] = [];
  for (const type of localTypes) {
    const last = runs.at(-1);
    if (last && last[1] === type) last[0]++;
    else runs.push([1, type]);
  }
  unsigned(runs.length);
  for (const [count, type] of runs) {
    unsigned(count);
    byte(valueType[type]);
  }
  const body = new Uint8Array(at + code.length);
  body.set(bytes.subarray(0, at));
  body.set(code, at);
  at = 0;
  return body;
}

/** Takes what was assembled so far out, to be appended later: prologues are known last. */
export function takeCode(): Uint8Array {
  const code = bytes.slice(0, at);
  at = 0;
  return code;
}

export function appendCode(code: Uint8Array): void {
  while (at + code.length > bytes.length) grow();
  bytes.set(code, at);
  at += code.length;
}

/** Bytes of code assembled so far in this function. */
export function codeSize(): number {
  return at;
}

function newLocal<T extends Value>(type: ValueTypeName): Local<T> {
  let index = freeLocals[type].pop();
  if (index === undefined) {
    index = paramCount + localTypes.length;
    localTypes.push(type);
  }
  usedLocals.push(index);
  return new Local<T>(index);
}

/** A fresh local, holding whatever it held before: set it before reading it. */
export const local = {
  i32: (): Local<I32> => newLocal<I32>("i32"),
  i64: (): Local<I64> => newLocal<I64>("i64"),
  f32: (): Local<F32> => newLocal<F32>("f32"),
  f64: (): Local<F64> => newLocal<F64>("f64"),
  v128: (): Local<V128> => newLocal<V128>("v128"),
};

/** Gives all locals made since `mark` back for reuse; returns the new mark when called without. */
export function localMark(): number {
  return usedLocals.length;
}

export function releaseLocals(mark: number): void {
  while (usedLocals.length > mark) {
    const index = usedLocals.pop() ?? 0;
    const type = localTypes[index - paramCount];
    if (type) freeLocals[type].push(index);
  }
}

function fresh<T extends Value>(type: ValueTypeName): Local<T> {
  return new Local<T>(paramCount + localTypes.push(type) - 1);
}

/** Locals that no other code of the function uses, before or after. */
export const ownLocal = {
  i64: (): Local<I64> => fresh<I64>("i64"),
  v128: (): Local<V128> => fresh<V128>("v128"),
};

/** Evaluates once, for several uses. */
export const keep = {
  i32(value: I32): Local<I32> {
    const result = local.i32();
    result.set(value);
    return result;
  },
  i64(value: I64): Local<I64> {
    const result = local.i64();
    result.set(value);
    return result;
  },
  f32(value: F32): Local<F32> {
    const result = local.f32();
    result.set(value);
    return result;
  },
  f64(value: F64): Local<F64> {
    const result = local.f64();
    result.set(value);
    return result;
  },
  v128(value: V128): Local<V128> {
    const result = local.v128();
    result.set(value);
    return result;
  },
};

export type Label = { readonly depth: number };

export function block(body: (exit: Label) => void): void {
  byte(0x02);
  byte(0x40);
  body({ depth: ++depth });
  depth--;
  byte(0x0b);
}

export function loop(body: (again: Label) => void): void {
  byte(0x03);
  byte(0x40);
  body({ depth: ++depth });
  depth--;
  byte(0x0b);
}

export function when(_condition: I32, then: () => void, otherwise?: () => void): void {
  byte(0x04);
  byte(0x40);
  depth++;
  then();
  if (otherwise) {
    byte(0x05);
    otherwise();
  }
  depth--;
  byte(0x0b);
}

/** `condition ? then : otherwise` with lazily evaluated arms. */
function choose<T extends Value>(type: ValueTypeName) {
  return (_condition: I32, then: () => T, otherwise: () => T): T => {
    byte(0x04);
    byte(valueType[type]);
    depth++;
    then();
    byte(0x05);
    otherwise();
    depth--;
    byte(0x0b);
    return phantom;
  };
}

export function br(label: Label): void {
  byte(0x0c);
  unsigned(depth - label.depth);
}

export function brIf(label: Label, _condition: I32): void {
  byte(0x0d);
  unsigned(depth - label.depth);
}

export function brTable(labels: readonly Label[], otherwise: Label, _index: I32): void {
  byte(0x0e);
  unsigned(labels.length);
  for (const label of labels) unsigned(depth - label.depth);
  unsigned(depth - otherwise.depth);
}

export function ret(): void {
  byte(0x0f);
}

export function unreachable(): void {
  byte(0x00);
}

export function drop(_value: Value): void {
  byte(0x1a);
}

/** Calls a function by index; the caller states the result's type. */
export function call<T = void>(functionIndex: number, ..._args: Value[]): T {
  byte(0x10);
  unsigned(functionIndex);
  return phantom;
}

export function returnCall(functionIndex: number, ..._args: Value[]): void {
  byte(0x12);
  unsigned(functionIndex);
}

/** Tail call through table 0; `typeIndex` is the module's. */
export function returnCallIndirect(typeIndex: number, _args: readonly Value[], _slot: I32): void {
  byte(0x13);
  unsigned(typeIndex);
  unsigned(0);
}

export function select<T extends Value>(_ifTrue: T, _ifFalse: T, _condition: I32): T {
  byte(0x1b);
  return phantom;
}

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
