/** Bit tests, scans, counts and CRC32. Intel SDM volume 2, instruction by name. */
import {
  brIf,
  type I64,
  i32,
  i64,
  keep,
  type Local,
  local,
  loop,
  when,
} from "../wasm/assembler.ts";
import { condition, flagsOfLogic, setCarryAndOverflow } from "./flags.ts";
import type { Emitter } from "./integer.ts";
import {
  cutLinear,
  fromI32,
  fromI64,
  type Int,
  integerOps,
  keepInt,
  toI32,
  toI64Signed,
  toI64Unsigned,
} from "./site.ts";

export const swapBytes: Emitter = (site) => {
  const to = site.place(0);
  const op = integerOps(to.size);
  const value = keepInt(to.size, to.read());
  const swap = (x: Local<Int>, mask: number | bigint, by: number): void => {
    const low = op.and(op.shrU(x.get(), op.const(by)), op.const(mask));
    x.set(op.or(low, op.shl(op.and(x.get(), op.const(mask)), op.const(by))));
  };
  if (to.size === 64) {
    swap(value, 0x00ff00ff00ff00ffn, 8);
    swap(value, 0x0000ffff0000ffffn, 16);
    value.set(op.rotl(value.get(), op.const(32)));
  } else {
    swap(value, 0x00ff00ff, 8);
    value.set(op.rotl(value.get(), op.const(16)));
  }
  to.write(value);
};

/** BT, BTS, BTR, BTC. With a register index and memory, the bit may be far away. */
export function bitTest(change: "none" | "set" | "reset" | "complement"): Emitter {
  return (site) => {
    const { size } = site;
    const op = integerOps(size);
    const target = site.place(0);
    const source = site.place(1);
    const index = keepInt(size, fromI64(size, toI64Unsigned(source.size, source.read())));
    let place = target;
    if (target.kind === "memory" && source.kind === "register") {
      const address = local.i64();
      const far = i64.shrS(toI64Signed(size, index.get()), i64.const(Math.log2(size)));
      const offset = keep.i64(i64.shl(far, i64.const(Math.log2(size / 8))));
      const sum = (): I64 => i64.add(site.address(), offset.get());
      address.set(site.legacy ? cutLinear(sum()) : sum());
      place = site.memory(size, address);
    }
    const bit = keepInt(size, op.and(index.get(), op.const(size - 1)));
    const value = keepInt(size, change === "none" ? place.read() : place.begin());
    const mask = keepInt(size, op.shl(op.const(1), bit.get()));
    if (change === "set") place.finish(op.or(value.get(), mask.get()));
    if (change === "complement") place.finish(op.xor(value.get(), mask.get()));
    if (change === "reset") place.finish(op.and(value.get(), op.xor(mask.get(), op.const(-1))));
    const cf = keep.i32(toI32(size, op.and(op.shrU(value.get(), bit.get()), op.const(1))));
    const of = keep.i32(condition(site, 0));
    setCarryAndOverflow(site, cf, of);
  };
}

/** BSF, BSR: the destination keeps all its bits when the source is 0 (AMD documents it). */
export function bitScan(reverse: boolean): Emitter {
  return (site) => {
    const { size } = site;
    const op = integerOps(size);
    const value = keepInt(size, site.place(1).read());
    const to = site.place(0);
    const width = size === 64 ? 63 : 31;
    when(op.ne(value.get(), op.const(0)), () => {
      const index = reverse ? op.sub(op.const(width), op.clz(value.get())) : op.ctz(value.get());
      to.write(keepInt(size, index));
    });
    flagsOfLogic(site, size, value);
  };
}

export const populationCount: Emitter = (site) => {
  const { size } = site;
  const op = integerOps(size);
  const value = keepInt(size, site.place(1).read());
  site.place(0).write(keepInt(size, op.popcnt(value.get())));
  flagsOfLogic(site, size, value);
  // Only ZF means anything; SF and PF are cleared with the rest.
  const isZero = i64.extendU(i32.xor(op.eqz(value.get()), i32.const(1)));
  const result = keep.i64(isZero);
  // PF must be 0: result 1 has odd parity, result 0 needs its parity flipped.
  site.setFlags(result.get(), i32.shl(i64.eqz(result.get()), i32.const(8)));
};

/** CRC32 (0x11EDC6F41, reflected), a bit at a time: the byte forms dominate. */
export const crc32: Emitter = (site) => {
  const to = site.place(0);
  const from = site.place(1);
  const data = keep.i64(toI64Unsigned(from.size, from.read()));
  const crc = keep.i32(toI32(to.size, to.read()));
  const bytes = local.i32();
  bytes.set(i32.const(from.size / 8));
  const bits = local.i32();
  loop((nextByte) => {
    crc.set(i32.xor(crc.get(), i32.and(i32.wrap(data.get()), i32.const(0xff))));
    bits.set(i32.const(8));
    loop((nextBit) => {
      const shifted = i32.shrU(crc.get(), i32.const(1));
      const low = i32.sub(i32.const(0), i32.and(crc.get(), i32.const(1)));
      crc.set(i32.xor(shifted, i32.and(low, i32.const(0x82f6_3b78 | 0))));
      bits.set(i32.sub(bits.get(), i32.const(1)));
      brIf(nextBit, bits.get());
    });
    data.set(i64.shrU(data.get(), i64.const(8)));
    bytes.set(i32.sub(bytes.get(), i32.const(1)));
    brIf(nextByte, bytes.get());
  });
  to.write(keepInt(to.size, fromI32(to.size, crc.get())));
};
