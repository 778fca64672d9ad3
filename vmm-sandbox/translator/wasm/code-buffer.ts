/** The function being assembled: its bytes, its locals, its control structure. See assembler.ts. */
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

/** Branch hints so far: offset, 1 when taken mostly. */
let hints: number[] = [];

/** Hints of code that `takeCode` took. */
let takenHints: number[] = [];

function emptyPool(): Record<ValueTypeName, number[]> {
  return { i32: [], i64: [], f32: [], f64: [], v128: [] };
}

// SAFE: a phantom; no caller ever looks at the value, it only orders the code.
export const phantom = undefined as never;

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

export function signed32(value: number): void {
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

export function signed64(value: bigint): void {
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

/** A finished function body. */
export type Body = {
  /** As it stands in the code section without its size. */
  readonly bytes: Uint8Array;
  /** Offset in `bytes` of an `if`, 1 when mostly true or 0; offset, … */
  readonly hints: readonly number[];
};

/** Starts a function; parameters are locals 0…n-1. */
export function beginFunction(parameters: number): void {
  at = 0;
  depth = 0;
  paramCount = parameters;
  localTypes = [];
  freeLocals = emptyPool();
  usedLocals = [];
  hints = [];
  takenHints = [];
}

function shifted(list: readonly number[], by: number): number[] {
  return list.map((value, i) => (i % 2 === 0 ? value + by : value));
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
  const all = shifted(hints, at);
  at = 0;
  return { bytes: body, hints: all };
}

/** Takes what was assembled so far out, to be appended later: prologues are known last. */
export function takeCode(): Uint8Array {
  const code = bytes.slice(0, at);
  at = 0;
  takenHints = hints;
  hints = [];
  return code;
}

export function appendCode(code: Uint8Array): void {
  hints.push(...shifted(takenHints, at));
  takenHints = [];
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

/** `likely`: tells the engine which way is worth registers; the other is code out of the way. */
export function when(
  _condition: I32,
  then: () => void,
  otherwise?: () => void,
  likely?: boolean,
): void {
  if (likely !== undefined) hints.push(at, likely ? 1 : 0);
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
export function choose<T extends Value>(type: ValueTypeName) {
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

/** A function: its index in the module, or the slot of table 0 where it lies. */
export type Callee = number | { readonly slot: number; readonly type: number };

function callee(target: Callee, direct: number): void {
  if (typeof target === "number") {
    byte(direct);
    unsigned(target);
    return;
  }
  byte(0x41); // i32.const
  signed32(target.slot);
  byte(direct + 1); // the indirect form
  unsigned(target.type);
  unsigned(0);
}

/** Calls a function; the caller states the result's type. */
export function call<T = void>(target: Callee, ..._args: Value[]): T {
  callee(target, 0x10);
  return phantom;
}

export function returnCall(target: Callee, ..._args: Value[]): void {
  callee(target, 0x12);
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
