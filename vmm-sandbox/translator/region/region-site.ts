/**
 * The JIT's `Site`: registers and flags are locals of one function, operands are known.
 *
 * Locals are loaded at the entry and stored at the two ways out (compile.ts): `leave`, after the
 * slow path or `raise` noted why, and `exitTo`, which goes on at `target` through the jump cache.
 */
import { commitIfStaged, type MemoryFunctions, translate } from "../emit/memory.ts";
import { memoryPlace, mmxPlace } from "../emit/memory-place.ts";
import {
  asInt,
  type Comparison,
  type Int,
  keepInt,
  type Place,
  type Site,
  type VectorPlace,
  type Writing,
} from "../emit/site.ts";
import { type Instruction, noRegister, operandKind, ripRegister } from "../isa/decode.ts";
import { layout, state } from "../state.ts";
import {
  br,
  type Callee,
  call,
  type I32,
  type I64,
  i32,
  i64,
  keep,
  type Label,
  type Local,
  local,
  ownLocal,
  type V128,
  when,
} from "../wasm/assembler.ts";
import { v128 } from "../wasm/simd.ts";

export type RegionFunctions = MemoryFunctions & { readonly raise: Callee };

/** Everything the instructions of one function share. */
export class RegionFrame {
  readonly general: (Local<I64> | undefined)[] = new Array(16).fill(undefined);
  readonly vectors: (Local<V128> | undefined)[] = new Array(16).fill(undefined);
  readonly writtenGeneral = new Set<number>();
  readonly writtenVectors = new Set<number>();
  readonly flagResult: Local<I64> = local.i64();
  readonly flagAux: Local<I32> = local.i32();
  readonly fuel: Local<I32> = local.i32();
  readonly target: Local<I64> = local.i64();
  readonly functions: RegionFunctions;
  readonly tlbBase: number;
  /** What set the flags last, in this block and while its locals are held. */
  comparison: Comparison | undefined;
  leave: Label = { depth: 0 };
  exitTo: Label = { depth: 0 };

  constructor(functions: RegionFunctions, tlbBase: number) {
    this.functions = functions;
    this.tlbBase = tlbBase;
  }

  /** The local of a general register, made when first used and never given back. */
  register(index: number): Local<I64> {
    const known = this.general[index] ?? ownLocal.i64();
    this.general[index] = known;
    return known;
  }

  vector(index: number): Local<V128> {
    const known = this.vectors[index] ?? ownLocal.v128();
    this.vectors[index] = known;
    return known;
  }
}

/** Identifies an instruction to TypeScript: bit 31, length, offset from the region's page. */
export function siteId(offset: number, length: number): number {
  return 0x8000_0000 | (length << 27) | (offset & 0x7ff_ffff);
}

/** The address at an offset from the region's page. */
export function ripAt(offset: number): I64 {
  return i64.add(i64.load(i32.const(0), layout.state + state.virtualPage), i64.const(offset));
}

/** How the ways out of an instruction are emitted. */
export type WaysOut = {
  /** To the target of its direct branch. */
  readonly direct: () => void;
  /** `frame.target` is set: whatever can be done before leaving for it. */
  readonly indirect: () => void;
};

export class RegionSite implements Site {
  readonly size: number;
  readonly opcode: number;
  readonly operandCount: number;
  readonly addressSize: number;
  readonly legacy = false;
  private readonly it: Instruction;
  private readonly offset: number;
  private readonly frame: RegionFrame;
  private readonly ways: WaysOut;
  private addressLocal: Local<I64> | undefined;

  constructor(frame: RegionFrame, it: Instruction, offset: number, ways: WaysOut) {
    this.frame = frame;
    this.it = it;
    this.offset = offset;
    this.ways = ways;
    this.size = it.size;
    this.opcode = it.opcode;
    this.operandCount = it.operandCount;
    this.addressSize = it.addressSize;
  }

  private id(): I32 {
    return i32.const(siteId(this.offset, this.it.length));
  }

  place(operand: number): Place {
    const size = this.it.sizes[operand] as number;
    switch (this.it.kinds[operand]) {
      case operandKind.register:
        return this.register(this.it.values[operand] as number, size);
      case operandKind.memory: {
        const address = keep.i64(this.address());
        return this.memory(size, address);
      }
      case operandKind.immediate:
        return this.immediatePlace(size);
      default:
        throw new RangeError(`Cannot emit "${this.it.mnemonic}": operand ${operand} is no integer`);
    }
  }

  private immediatePlace(size: number): Place {
    const never = (): never => {
      throw new TypeError("Cannot write an immediate");
    };
    const read = (): Int => {
      if (size === 64) return asInt(i64.const(this.wideImmediate()));
      return asInt(i32.const(this.cleanImmediate(size)));
    };
    return { kind: "immediate", size, read, begin: never, finish: never, write: never };
  }

  private wideImmediate(): bigint | number {
    const { immediate, immediateHigh } = this.it;
    if (immediateHigh === immediate >> 31) return immediate;
    return (BigInt(immediateHigh) << 32n) | BigInt(immediate >>> 0);
  }

  private cleanImmediate(size: number): number {
    const { immediate } = this.it;
    return size === 8 ? immediate & 0xff : size === 16 ? immediate & 0xffff : immediate;
  }

  isImmediate(operand: number): boolean {
    return this.it.kinds[operand] === operandKind.immediate;
  }

  immediate32(): I32 {
    const last = this.it.operandCount - 1;
    return i32.const(this.cleanImmediate(this.it.sizes[last] as number));
  }

  register(number: number, size: number): Place {
    const high = number >= 16;
    const index = high ? number - 16 : number;
    const register = this.frame.register(index);
    const read = (): Int => {
      if (size === 64) return asInt(register.get());
      const word = i32.wrap(register.get());
      if (size === 32) return asInt(word);
      if (size === 16) return asInt(i32.and(word, i32.const(0xffff)));
      return asInt(i32.and(high ? i32.shrU(word, i32.const(8)) : word, i32.const(0xff)));
    };
    const write = (value: Local<Int>): void => {
      this.frame.writtenGeneral.add(index);
      if (size === 64) register.set(value.get());
      else if (size === 32) register.set(i64.extendU(value.get()));
      else {
        const mask = size === 16 ? 0xffffn : high ? 0xff00n : 0xffn;
        const kept = i64.and(register.get(), i64.const(~mask));
        const cut = i64.and(
          high ? i64.shl(i64.extendU(value.get()), i64.const(8)) : i64.extendU(value.get()),
          i64.const(mask),
        );
        register.set(i64.or(kept, cut));
      }
    };
    const finish = (value: Int): void => write(keepInt(size, value));
    return { kind: "register", size, read, begin: read, finish, write };
  }

  vector(operand: number): VectorPlace {
    const size = this.it.sizes[operand] as number;
    if (this.it.kinds[operand] === operandKind.xmm)
      return this.vectorRegister(this.it.values[operand] as number, size);
    if (this.it.kinds[operand] === operandKind.mmx) {
      const at = layout.state + state.st + (this.it.values[operand] as number) * 16;
      return mmxPlace(() => i32.const(0), at);
    }
    const address = keep.i64(this.address());
    return {
      kind: "memory",
      size,
      read: () => {
        const host = this.host(address, size / 8, false);
        if (size === 128) return v128.load(host.get());
        if (size === 64) return v128.load64Zero(host.get());
        return size === 32 ? v128.load32Zero(host.get()) : v128.load16Zero(host.get());
      },
      write: (value) => {
        const host = this.host(address, size / 8, true);
        if (size === 128) v128.store(host.get(), value.get());
        else if (size === 64) v128.store64Lane(host.get(), value.get(), 0);
        else v128.store32Lane(host.get(), value.get(), 0);
        this.commit(host);
      },
    };
  }

  vectorRegister(index: number, size = 128): VectorPlace {
    const register = this.frame.vector(index);
    return {
      kind: "vector",
      size,
      read: () => register.get(),
      write: (value) => {
        this.frame.writtenVectors.add(index);
        register.set(value.get());
      },
    };
  }

  address(): I64 {
    this.addressLocal ??= keep.i64(this.effectiveAddress());
    return this.addressLocal.get();
  }

  private effectiveAddress(): I64 {
    const { it } = this;
    const isString = /^(movs8|movsv|lods|cmps8|cmpsv)/.test(it.row.mnemonic);
    const sum = keep.i64(isString ? i64.const(0) : this.offsetAddress());
    if (it.addressSize === 32) sum.set(i64.and(sum.get(), i64.const(0xffff_ffffn)));
    if (it.segment >= 4)
      sum.set(i64.add(sum.get(), this.loadState64(state.segmentBase + it.segment * 8)));
    return sum.get();
  }

  private offsetAddress(): I64 {
    const { it } = this;
    if (it.row.mnemonic.startsWith("maskmov")) return this.frame.register(7).get();
    if (it.row.mnemonic === "xlat") return this.frame.register(3).get();
    if (it.base === ripRegister) return i64.add(this.nextRip(), i64.const(it.displacement));
    let displacement: bigint | number = it.displacement;
    if (it.isAbsolute64)
      displacement = (BigInt(it.displacementHigh) << 32n) | BigInt(it.displacement >>> 0);
    // SDM volume 2, POP: an address with RSP counts it after the increment.
    if (it.row.mnemonic === "pop" && it.base === 4) displacement = it.displacement + it.size / 8;
    if (it.base === noRegister && it.index === noRegister) return i64.const(displacement);
    const scaled = (): I64 => {
      const index = this.frame.register(it.index).get();
      return it.scale === 0 ? index : i64.shl(index, i64.const(it.scale));
    };
    const base = (): I64 => this.frame.register(it.base).get();
    const sum =
      it.base === noRegister
        ? scaled()
        : it.index === noRegister
          ? base()
          : i64.add(base(), scaled());
    return displacement === 0 ? sum : i64.add(sum, i64.const(displacement));
  }

  memory(size: number, address: Local<I64>): Place {
    return memoryPlace(this, size, address);
  }

  host(address: Local<I64>, bytes: number, write: Writing): Local<I32> {
    return translate(
      address,
      bytes,
      write,
      this.frame.functions,
      () => this.id(),
      () => br(this.frame.leave),
      this.frame.tlbBase,
    );
  }

  commit(host: Local<I32>): void {
    commitIfStaged(host, this.frame.functions);
  }

  flagResult(): I64 {
    return this.frame.flagResult.get();
  }
  flagAux(): I32 {
    return this.frame.flagAux.get();
  }
  noteComparison(comparison: Comparison): void {
    this.frame.comparison = comparison;
  }
  lastComparison(): Comparison | undefined {
    return this.frame.comparison;
  }
  setFlags(_result: I64, _aux: I32): void {
    this.frame.comparison = undefined;
    this.frame.flagAux.set(_aux);
    this.frame.flagResult.set(_result);
  }
  setFlagAux(aux: I32): void {
    this.frame.comparison = undefined;
    this.frame.flagAux.set(aux);
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
    const kept = keep.i64(value);
    i64.store(i32.const(0), kept.get(), layout.state + offset);
  }

  nextRip(): I64 {
    return ripAt(this.offset + this.it.length);
  }

  raise(vector: number): void {
    call(this.frame.functions.raise, i32.const(vector), this.id());
    br(this.frame.leave);
  }

  jumpTo(target: Local<I64>): void {
    this.frame.target.set(target.get());
    this.ways.indirect();
    br(this.frame.exitTo);
  }

  jumpDirect(): void {
    this.ways.direct();
  }

  exhaustFuel(): void {
    this.frame.fuel.set(i32.const(0));
  }

  yieldHere(cost: I32): void {
    const { fuel } = this.frame;
    const spent = keep.i32(cost);
    fuel.set(i32.sub(fuel.get(), spent.get()));
    when(i32.ltS(fuel.get(), i32.const(0)), () => {
      this.frame.target.set(ripAt(this.offset));
      br(this.frame.exitTo);
    });
  }
}
