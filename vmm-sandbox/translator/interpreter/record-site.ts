/**
 * The interpreter's `Site`: operands are read through the record, whose address is parameter 0;
 * parameter 1 is the effective address that an address record before it computed.
 *
 *   handler(record i32, ea i64) → (), ending in a tail call to the next record's handler
 */
import { wrapCodeAddress } from "../emit/legacy.ts";
import { commitIfStaged, translate } from "../emit/memory.ts";
import { memoryPlace, mmxPlace } from "../emit/memory-place.ts";
import {
  asInt,
  type Int,
  keepInt,
  type Place,
  type Site,
  type VectorPlace,
  type Writing,
} from "../emit/site.ts";
import { exitReason, layout, record, state } from "../state.ts";
import {
  type Callee,
  call,
  type I32,
  type I64,
  i32,
  i64,
  keep,
  Local,
  local,
  ret,
  returnCall,
  returnCallIndirect,
  type V128,
  when,
} from "../wasm/assembler.ts";
import { v128 } from "../wasm/simd.ts";
import type { CoreFunctionName } from "./core-functions.ts";

export type CoreFunctions = Readonly<Record<CoreFunctionName, Callee>> & {
  /** Type of all handlers. */
  readonly handlerType: number;
};

/** What distinguishes the handlers: where operands come from. */
export type OperandForm = {
  readonly kind: "register" | "memory" | "base" | "immediate" | "vector" | "mmx" | "none";
  readonly size: number;
};

/** Where the first, second and third register operand is; "base" forms have their base in `b`. */
const registerFields = [record.a, record.b, record.immediate] as const;

export class RecordSite implements Site {
  readonly size: number;
  readonly opcode: number;
  readonly addressSize: number;
  readonly operandCount: number;
  readonly legacy: boolean;
  private readonly forms: readonly OperandForm[];
  private readonly core: CoreFunctions;
  private readonly rec = new Local<I32>(0);
  private readonly ea = new Local<I64>(1);
  private baseAddress: Local<I64> | undefined;

  constructor(
    forms: readonly OperandForm[],
    size: number,
    opcode: number,
    addressSize: number,
    core: CoreFunctions,
    legacy = false,
  ) {
    this.legacy = legacy;
    this.forms = forms;
    this.size = size;
    this.opcode = opcode;
    this.addressSize = addressSize;
    this.operandCount = forms.length;
    this.core = core;
  }

  private field(offset: number): I32 {
    return i32.load16U(this.rec.get(), offset);
  }

  private form(operand: number): OperandForm {
    const form = this.forms[operand];
    if (!form) throw new RangeError(`Cannot emit: instruction has no operand ${operand}`);
    return form;
  }

  /** Registers are numbered over all operands, so `add [m], r` finds its register in field a. */
  private registerField(operand: number): number {
    let seen = 0;
    for (let i = 0; i < operand; i++) {
      const { kind } = this.form(i);
      if (kind === "register" || kind === "vector" || kind === "mmx") seen++;
    }
    const field = registerFields[seen];
    if (field === undefined) throw new RangeError("Cannot emit: four register operands");
    return field;
  }

  place(operand: number): Place {
    const form = this.form(operand);
    switch (form.kind) {
      case "register": {
        const field = this.registerField(operand);
        return this.registerPlace(form.size, () => this.field(field), layout.state);
      }
      case "memory":
      case "base": {
        const address = local.i64();
        address.set(this.address());
        return this.memory(form.size, address);
      }
      case "immediate":
        return this.immediatePlace(form.size);
      default:
        throw new RangeError(`Cannot emit: operand ${operand} is no integer`);
    }
  }

  vector(operand: number): VectorPlace {
    const form = this.form(operand);
    if (form.kind === "vector") {
      const field = this.registerField(operand);
      return this.registerVector(() => this.field(field), layout.state, form.size);
    }
    if (form.kind === "mmx") {
      const field = this.registerField(operand);
      return mmxPlace(() => this.field(field), layout.state);
    }
    const address = keep.i64(this.address());
    return this.vectorMemory(form.size, address);
  }

  vectorRegister(number: number): VectorPlace {
    return this.registerVector(() => i32.const(0), layout.state + state.xmm + number * 16);
  }

  private registerVector(address: () => I32, offset: number, size = 128): VectorPlace {
    return {
      kind: "vector",
      size,
      read: () => v128.load(address(), offset),
      write: (value) => v128.store(address(), value.get(), offset),
    };
  }

  private vectorMemory(size: number, address: Local<I64>): VectorPlace {
    return {
      kind: "memory",
      size,
      read: (): V128 => {
        const host = this.host(address, size / 8, false);
        if (size === 128) return v128.load(host.get());
        if (size === 64) return v128.load64Zero(host.get());
        if (size === 32) return v128.load32Zero(host.get());
        return v128.load16Zero(host.get());
      },
      write: (value: Local<V128>): void => {
        const host = this.host(address, size / 8, true);
        if (size === 128) v128.store(host.get(), value.get());
        else if (size === 64) v128.store64Lane(host.get(), value.get(), 0);
        else v128.store32Lane(host.get(), value.get(), 0);
        this.commit(host);
      },
    };
  }

  private immediatePlace(size: number): Place {
    const read = (): Int =>
      size === 64
        ? asInt(i64.load32S(this.rec.get(), this.immediateField))
        : asInt(i32.load(this.rec.get(), this.immediateField));
    const never = (): never => {
      throw new TypeError("Cannot write an immediate");
    };
    return {
      kind: "immediate",
      size,
      // Records hold 8- and 16-bit immediates zero-extended.
      read,
      begin: never,
      finish: never,
      write: never,
    };
  }

  /** A "base" form uses the first immediate for its displacement. */
  private get immediateField(): number {
    return this.forms.some((form) => form.kind === "base") ? record.immediate2 : record.immediate;
  }

  isImmediate(operand: number): boolean {
    return this.form(operand).kind === "immediate";
  }

  immediate32(): I32 {
    return i32.load(this.rec.get(), this.immediateField);
  }

  register(number: number, size: number): Place {
    const offset = state.gpr + (number >= 16 ? (number - 16) * 8 + 1 : number * 8);
    return this.registerPlace(size, () => i32.const(0), layout.state + offset);
  }

  private registerPlace(size: number, address: () => I32, offset: number): Place {
    const read = (): Int => {
      if (size === 64) return asInt(i64.load(address(), offset));
      if (size === 32) return asInt(i32.load(address(), offset));
      return asInt(size === 16 ? i32.load16U(address(), offset) : i32.load8U(address(), offset));
    };
    const write = (value: Local<Int>): void => {
      if (size === 64) i64.store(address(), value.get(), offset);
      else if (size === 32) i64.store(address(), i64.extendU(value.get()), offset);
      else if (size === 16) i32.store16(address(), value.get(), offset);
      else i32.store8(address(), value.get(), offset);
    };
    const finish = (value: Int): void => write(keepInt(size, value));
    return { kind: "register", size, read, begin: read, finish, write };
  }

  address(): I64 {
    if (!this.forms.some((form) => form.kind === "base")) return this.ea.get();
    if (!this.baseAddress) {
      const base = i64.load(this.field(record.b), layout.state);
      this.baseAddress = keep.i64(i64.add(base, i64.load32S(this.rec.get(), record.immediate)));
    }
    return this.baseAddress.get();
  }

  memory(size: number, address: Local<I64>): Place {
    return memoryPlace(this, size, address);
  }

  host(address: Local<I64>, bytes: number, write: Writing): Local<I32> {
    return translate(
      address,
      bytes,
      write,
      this.core,
      () => this.rec.get(),
      () => ret(),
    );
  }

  commit(host: Local<I32>): void {
    commitIfStaged(host, this.core);
  }

  flagResult(): I64 {
    return this.loadState64(state.flagResult);
  }

  flagAux(): I32 {
    return this.loadState32(state.flagAux);
  }

  setFlags(_result: I64, aux: I32): void {
    const high = keep.i32(aux);
    const result = local.i64();
    result.set(_result);
    this.storeLocal64(state.flagResult, result);
    i32.store(i32.const(0), high.get(), layout.state + state.flagAux);
  }

  setFlagAux(aux: I32): void {
    this.storeState32(state.flagAux, aux);
  }

  loadState32(offset: number): I32 {
    return i32.load(i32.const(0), layout.state + offset);
  }

  storeState32(offset: number, value: I32): void {
    const kept = keep.i32(value);
    i32.store(i32.const(0), kept.get(), layout.state + offset);
  }

  loadState64(offset: number): I64 {
    return i64.load(i32.const(0), layout.state + offset);
  }

  storeState64(offset: number, value: I64): void {
    this.storeLocal64(offset, keep.i64(value));
  }

  private storeLocal64(offset: number, value: Local<I64>): void {
    i64.store(i32.const(0), value.get(), layout.state + offset);
  }

  private thisRip(): I64 {
    const offset = i32.and(this.field(record.where), i32.const(0xfff));
    return i64.add(i64.extendU(offset), this.loadState64(state.virtualPage));
  }

  nextRip(): I64 {
    const length = i64.extendU(i32.shrU(this.field(record.where), i32.const(12)));
    return i64.add(length, this.thisRip());
  }

  raise(vector: number): void {
    call(this.core.raise, i32.const(vector), this.rec.get());
    ret();
  }

  /** Counts the instructions of the run so far; leaves when fuel is gone. */
  private spend(cost: () => I32, leave: () => void): void {
    const fuel = keep.i32(i32.sub(this.loadState32(state.fuel), cost()));
    i32.store(i32.const(0), fuel.get(), layout.state + state.fuel);
    when(i32.ltS(fuel.get(), i32.const(0)), () => {
      leave();
      i32.store(i32.const(0), i32.const(exitReason.fuel), layout.state + state.exit);
      ret();
    });
  }

  jumpTo(target: Local<I64>): void {
    returnCall(this.core.jump, target.get(), i32.const(0));
  }

  /** Record fields: immediate = displacement, immediate2 = the target's record or 0, a = count. */
  jumpDirect(): void {
    const next = (): I64 => i64.add(this.nextRip(), i64.load32S(this.rec.get(), record.immediate));
    const target = (): I64 => (this.legacy ? wrapCodeAddress(this, next) : next());
    this.spend(
      () => this.field(record.a),
      () => this.storeLocal64(state.rip, keep.i64(target())),
    );
    const link = keep.i32(i32.load(this.rec.get(), record.immediate2));
    when(link.get(), () => {
      returnCallIndirect(
        this.core.handlerType,
        [link.get(), this.ea.get()],
        i32.load16U(link.get(), record.handler),
      );
    });
    returnCall(this.core.jump, target(), this.rec.get());
  }

  exhaustFuel(): void {
    i32.store(i32.const(0), i32.const(0), layout.state + state.fuel);
  }

  yieldHere(cost: I32): void {
    const kept = keep.i32(cost);
    this.spend(
      () => kept.get(),
      () => this.storeLocal64(state.rip, keep.i64(this.thisRip())),
    );
  }

  /** Goes on with the next record. */
  next(): void {
    returnCallIndirect(
      this.core.handlerType,
      [i32.add(this.rec.get(), i32.const(record.sizeBytes)), this.ea.get()],
      i32.load16U(this.rec.get(), record.sizeBytes + record.handler),
    );
  }
}
