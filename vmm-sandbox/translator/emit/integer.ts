/**
 * What the general-purpose instructions do. Registers, memory and flags change only after the last
 * access that can fault. Flags the manuals leave undefined are set as our test machine's CPU does
 * where that is cheap, and are masked in the differential tests.
 *
 * Intel SDM volume 2, instruction by name.
 */
import { state } from "../state.ts";
import { type I32, i32, i64, keep, when } from "../wasm/assembler.ts";
import { bitScan, bitTest, crc32, populationCount, swapBytes } from "./bits.ts";
import {
  arithmeticFlags,
  auxFrom,
  carry,
  condition,
  flagsOfAdd,
  flagsOfLogic,
  flagsOfSub,
  setArithmeticFlags,
  setCarryAndOverflow,
} from "./flags.ts";
import {
  asInt,
  fromI32,
  fromI64,
  type Int,
  integerOps,
  keepInt,
  type Site,
  toI32,
  toI64Signed,
  toI64Unsigned,
  zeroExtend,
} from "./site.ts";

export type Emitter = (site: Site) => void;

/** Reads both operands, computes, sets flags, writes the first. */
export function add(withCarry: boolean): Emitter {
  return (site) => {
    const { size } = site;
    const op = integerOps(size);
    const to = site.place(0);
    const b = keepInt(size, site.place(1).read());
    const a = keepInt(size, to.begin());
    const r = op.local();
    if (withCarry) r.set(op.add(op.add(a.get(), b.get()), fromI32(size, carry(site))));
    else r.set(op.add(a.get(), b.get()));
    to.finish(r.get());
    flagsOfAdd(site, size, a, b, r);
  };
}

function subtract(withBorrow: boolean, store: boolean): Emitter {
  return (site) => {
    const { size } = site;
    const op = integerOps(size);
    const to = site.place(0);
    const b = keepInt(size, site.place(1).read());
    const a = keepInt(size, store ? to.begin() : to.read());
    const r = op.local();
    if (withBorrow) r.set(op.sub(op.sub(a.get(), b.get()), fromI32(size, carry(site))));
    else r.set(op.sub(a.get(), b.get()));
    if (store) to.finish(r.get());
    flagsOfSub(site, size, a, b, r);
  };
}

function logic(name: "and" | "or" | "xor", store: boolean): Emitter {
  return (site) => {
    const { size } = site;
    const op = integerOps(size);
    const to = site.place(0);
    const b = keepInt(size, site.place(1).read());
    const r = keepInt(size, op[name](store ? to.begin() : to.read(), b.get()));
    if (store) to.finish(r.get());
    flagsOfLogic(site, size, r);
  };
}

/** INC and DEC keep CF. */
function step(by: 1 | -1): Emitter {
  return (site) => {
    const { size } = site;
    const op = integerOps(size);
    const to = site.place(0);
    const a = keepInt(size, to.begin());
    const r = keepInt(size, zeroExtend(size, op.add(a.get(), op.const(by))));
    to.finish(r.get());
    const extreme = by === 1 ? 1n << BigInt(size - 1) : (1n << BigInt(size - 1)) - 1n;
    const limit = size === 64 ? BigInt.asIntN(64, extreme) : Number(BigInt.asIntN(32, extreme));
    const of = keep.i32(op.eq(r.get(), op.const(limit)));
    const cf = keep.i32(carry(site));
    // The carry or borrow out of bit 3 happened when the bit changed from 1 to 0, or 0 to 1.
    const from = toI32(size, by === 1 ? a.get() : r.get());
    const to8 = i32.xor(toI32(size, by === 1 ? r.get() : a.get()), i32.const(-1));
    const af = keep.i32(i32.and(i32.and(from, to8), i32.const(8)));
    const result = keep.i64(toI64Signed(size, r.get()));
    const aux = keep.i32(i32.or(auxFrom(cf, of), af.get()));
    site.setFlags(result.get(), aux.get());
  };
}

const negate: Emitter = (site) => {
  const { size } = site;
  const op = integerOps(size);
  const to = site.place(0);
  const b = keepInt(size, to.begin());
  const a = keepInt(size, op.const(0));
  const r = keepInt(size, op.sub(a.get(), b.get()));
  to.finish(r.get());
  flagsOfSub(site, size, a, b, r);
};

const invert: Emitter = (site) => {
  const to = site.place(0);
  const op = integerOps(site.size);
  to.finish(op.xor(to.begin(), op.const(-1)));
};

const move: Emitter = (site) => {
  const to = site.place(0);
  to.write(keepInt(to.size, site.place(1).read()));
};

/** MOVZX, MOVSX, MOVSXD: the second operand's size is its own. */
function extend(signed: boolean): Emitter {
  return (site) => {
    const from = site.place(1);
    const to = site.place(0);
    const value = signed
      ? fromI64(to.size, toI64Signed(from.size, from.read()))
      : fromI64(to.size, toI64Unsigned(from.size, from.read()));
    to.write(keepInt(to.size, value));
  };
}

const loadAddress: Emitter = (site) => {
  const to = site.place(0);
  to.write(keepInt(to.size, fromI64(to.size, site.address())));
};

const exchange: Emitter = (site) => {
  const a = site.place(0);
  const b = site.place(1);
  const size = a.size;
  const old = keepInt(size, a.begin());
  const incoming = keepInt(size, b.read());
  a.finish(incoming.get());
  b.write(old);
};

const exchangeAdd: Emitter = (site) => {
  const { size } = site;
  const op = integerOps(size);
  const to = site.place(0);
  const from = site.place(1);
  const a = keepInt(size, to.begin());
  const b = keepInt(size, from.read());
  const r = keepInt(size, op.add(a.get(), b.get()));
  // The source is written first, so that XADD of a register with itself leaves the sum.
  if (to.kind === "register") {
    from.write(a);
    to.finish(r.get());
  } else {
    to.finish(r.get());
    from.write(a);
  }
  flagsOfAdd(site, size, a, b, r);
};

const compareExchange: Emitter = (site) => {
  const { size } = site;
  const op = integerOps(size);
  const to = site.place(0);
  const source = keepInt(size, site.place(1).read());
  const accumulator = site.register(0, size);
  const a = keepInt(size, accumulator.read());
  const b = keepInt(size, to.begin());
  const equal = keep.i32(op.eq(a.get(), b.get()));
  const r = keepInt(size, op.sub(a.get(), b.get()));
  // Memory is written even when the values differ: with what it held.
  const stored = op.local();
  stored.set(b.get());
  when(equal.get(), () => stored.set(source.get()));
  if (to.kind === "memory") {
    to.finish(stored.get());
    when(i32.eqz(equal.get()), () => accumulator.write(b));
  } else
    when(
      equal.get(),
      () => to.finish(source.get()),
      () => accumulator.write(b),
    );
  flagsOfSub(site, size, a, b, r);
};

const setCondition: Emitter = (site) => {
  site.place(0).write(keepInt(8, asInt(condition(site, site.opcode & 15))));
};

const conditionalMove: Emitter = (site) => {
  const { size } = site;
  const to = site.place(0);
  const value = keepInt(size, site.place(1).read());
  when(
    condition(site, site.opcode & 15),
    () => to.write(value),
    // A 32-bit destination is zero-extended even when nothing moves.
    size === 32 ? () => to.write(keepInt(32, to.read())) : undefined,
  );
};

/** CBW, CWDE, CDQE. */
const widenAccumulator: Emitter = (site) => {
  const { size } = site;
  const half = site.register(0, size >> 1);
  const to = site.register(0, size);
  to.write(keepInt(size, fromI64(size, toI64Signed(size >> 1, half.read()))));
};

/** CWD, CDQ, CQO: the sign of the accumulator fills rDX. */
const signToData: Emitter = (site) => {
  const { size } = site;
  const value = fromI64(
    size,
    i64.shrS(toI64Signed(size, site.register(0, size).read()), i64.const(63)),
  );
  site.register(2, size).write(keepInt(size, value));
};

function rflagsBit(bit: number, change: "clear" | "set"): Emitter {
  return (site) => {
    const flags = site.loadState32(state.eflags);
    site.storeState32(
      state.eflags,
      change === "set"
        ? i32.or(flags, i32.const(1 << bit))
        : i32.and(flags, i32.const(~(1 << bit))),
    );
  };
}

function setCarryTo(value: (site: Site) => I32): Emitter {
  return (site) => {
    const of = keep.i32(condition(site, 0));
    const cf = keep.i32(value(site));
    setCarryAndOverflow(site, cf, of);
  };
}

const loadFlagsToAh: Emitter = (site) => {
  const flags = i32.and(arithmeticFlags(site), i32.const(0xd5));
  site.register(16, 8).write(keepInt(8, asInt(i32.or(flags, i32.const(2)))));
};

const storeAhToFlags: Emitter = (site) => {
  const overflow = keep.i32(i32.shl(condition(site, 0), i32.const(11)));
  const flags = keep.i32(
    i32.or(i32.and(site.register(16, 8).read(), i32.const(0xd5)), overflow.get()),
  );
  setArithmeticFlags(site, flags);
};

/** CMPXCHG8B and CMPXCHG16B: the pair in rDX:rAX against memory. */
const compareExchangePair: Emitter = (site) => {
  const { size } = site;
  const bytes = size / 4;
  const address = keep.i64(site.address());
  if (size === 64) when(i32.and(i32.wrap(address.get()), i32.const(15)), () => site.raise(13));
  const host = site.host(address, bytes, "update");
  const op = integerOps(size);
  const load = (offset: number): Int =>
    size === 64 ? asInt(i64.load(host.get(), offset)) : asInt(i32.load(host.get(), offset));
  const put = (offset: number, value: () => Int): void =>
    size === 64 ? i64.store(host.get(), value(), offset) : i32.store(host.get(), value(), offset);
  const low = keepInt(size, load(0));
  const high = keepInt(size, load(size / 8));
  const [ax, dx, cx, bx] = [0, 2, 1, 3].map((n) => site.register(n, size)) as [
    ReturnType<Site["register"]>,
    ReturnType<Site["register"]>,
    ReturnType<Site["register"]>,
    ReturnType<Site["register"]>,
  ];
  const different = op.or(op.xor(low.get(), ax.read()), op.xor(high.get(), dx.read()));
  const equal = keep.i32(op.eqz(different));
  when(
    equal.get(),
    () => {
      put(0, () => bx.read());
      put(size / 8, () => cx.read());
    },
    () => {
      ax.write(low);
      dx.write(high);
    },
  );
  site.commit(host);
  // Only ZF changes.
  const flags = i32.and(arithmeticFlags(site), i32.const(~0x40));
  setArithmeticFlags(site, keep.i32(i32.or(flags, i32.shl(equal.get(), i32.const(6)))));
};

const nothing: Emitter = () => {};

/** CLFLUSH faults where a load of the byte would, and there is nothing to flush. */
const touch: Emitter = (site) => {
  keepInt(8, site.place(0).read());
};

/** XLAT: AL from the table at rBX. */
const tableLookup: Emitter = (site) => {
  const address = keep.i64(i64.add(site.address(), i64.extendU(site.register(0, 8).read())));
  site.register(0, 8).write(keepInt(8, site.memory(8, address).read()));
};

export const integerEmitters: Readonly<Record<string, Emitter>> = {
  add: add(false),
  adc: add(true),
  sub: subtract(false, true),
  sbb: subtract(true, true),
  cmp: subtract(false, false),
  and: logic("and", true),
  or: logic("or", true),
  xor: logic("xor", true),
  test: logic("and", false),
  inc: step(1),
  dec: step(-1),
  neg: negate,
  not: invert,
  mov: move,
  movzx: extend(false),
  movsx: extend(true),
  movsxd: extend(true),
  lea: loadAddress,
  xchg: exchange,
  xadd: exchangeAdd,
  cmpxchg: compareExchange,
  cmpxchg16b: compareExchangePair,
  setcc: setCondition,
  cmov: conditionalMove,
  bswap: swapBytes,
  cbw: widenAccumulator,
  cwd: signToData,
  cld: rflagsBit(10, "clear"),
  std: rflagsBit(10, "set"),
  clc: setCarryTo(() => i32.const(0)),
  stc: setCarryTo(() => i32.const(1)),
  cmc: setCarryTo((site) => i32.xor(carry(site), i32.const(1))),
  lahf: loadFlagsToAh,
  sahf: storeAhToFlags,
  bt: bitTest("none"),
  bts: bitTest("set"),
  btr: bitTest("reset"),
  btc: bitTest("complement"),
  bsf: bitScan(false),
  bsr: bitScan(true),
  popcnt: populationCount,
  crc32,
  xlat: tableLookup,
  nop: nothing,
  prefetch: nothing,
  pause: nothing,
  lfence: nothing,
  mfence: nothing,
  sfence: nothing,
  clflush: touch,
};
