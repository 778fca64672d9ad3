/**
 * Shifts, rotates and double shifts. The count is masked to 5 bits (6 for 64-bit operands); a
 * count of 0 changes no flag. OF is defined for counts of 1 only; for others we do as the
 * formula of count 1 says, which is what current processors do.
 *
 * Intel SDM volume 2: SAL/SAR/SHL/SHR, RCL/RCR/ROL/ROR, SHLD, SHRD.
 */
import { type I32, i32, i64, keep, type Local, local, when } from "../wasm/assembler.ts";
import { carry, setCarryAndOverflow } from "./flags.ts";
import type { Emitter } from "./integer.ts";
import {
  asInt,
  fromI32,
  fromI64,
  type Int,
  integerOps,
  keepInt,
  type Place,
  type Site,
  toI32,
  toI64Signed,
  toI64Unsigned,
  zeroExtend,
} from "./site.ts";

/** The masked count as i32. */
function countOf(site: Site, operand: number, size: number): Local<I32> {
  const place = site.place(operand);
  return keep.i32(i32.and(toI32(place.size, place.read()), i32.const(size === 64 ? 63 : 31)));
}

function setAll(
  site: Site,
  size: number,
  r: Local<I32> | Local<Int>,
  cf: Local<I32>,
  of: Local<I32>,
) {
  const result = keep.i64(toI64Signed(size, r.get() as Int));
  const high = i32.shl(cf.get(), i32.const(31));
  const aux = keep.i32(i32.or(high, i32.shl(i32.xor(cf.get(), of.get()), i32.const(30))));
  site.setFlags(result.get(), aux.get());
}

function topBit(size: number, value: Local<Int>, below = 0): I32 {
  const op = integerOps(size);
  return toI32(size, op.and(op.shrU(value.get(), op.const(size - 1 - below)), op.const(1)));
}

function lowBit(size: number, value: Int): I32 {
  return i32.and(toI32(size, value), i32.const(1));
}

/** When the count is 0, a 32-bit register destination is still zero-extended. */
function orUntouched(to: Place, size: number): (() => void) | undefined {
  return size === 32 && to.kind === "register" ? () => to.write(keepInt(32, to.read())) : undefined;
}

function shift(kind: "shl" | "shr" | "sar"): Emitter {
  return (site) => {
    const size = site.place(0).size;
    const op = integerOps(size);
    const to = site.place(0);
    const count = countOf(site, 1, size);
    const a = keepInt(size, to.begin());
    const n = keepInt(size, fromI32(size, count.get()));
    when(
      count.get(),
      () => {
        const r = op.local();
        const cf = local.i32();
        const of = local.i32();
        if (kind === "shl") {
          // Counts of 8- and 16-bit operands may exceed the width: i32 holds all of them.
          r.set(op.shl(a.get(), n.get()));
          if (size < 32) cf.set(i32.and(i32.shrU(r.get(), i32.const(size)), i32.const(1)));
          else cf.set(lowBit(size, op.shrU(a.get(), op.sub(op.const(size), n.get()))));
          r.set(zeroExtend(size, r.get()));
          of.set(i32.xor(topBit(size, r), cf.get()));
        } else if (kind === "shr") {
          cf.set(lowBit(size, op.shrU(a.get(), op.sub(n.get(), op.const(1)))));
          r.set(op.shrU(a.get(), n.get()));
          of.set(i32.xor(topBit(size, r), topBit(size, r, 1)));
        } else {
          const s = size < 32 ? keepInt(size, fromI64(size, toI64Signed(size, a.get()))) : a;
          cf.set(lowBit(size, op.shrS(s.get(), op.sub(n.get(), op.const(1)))));
          r.set(zeroExtend(size, op.shrS(s.get(), n.get())));
          of.set(i32.const(0));
        }
        to.finish(r.get());
        setAll(site, size, r, cf, of);
      },
      orUntouched(to, size),
    );
  };
}

function rotate(left: boolean): Emitter {
  return (site) => {
    const size = site.place(0).size;
    const op = integerOps(size);
    const to = site.place(0);
    const count = countOf(site, 1, size);
    const a = keepInt(size, to.begin());
    when(
      count.get(),
      () => {
        const r = op.local();
        if (size >= 32) {
          const n = fromI32(size, count.get());
          // The phantom order is value, count: swap through a local.
          const by = keepInt(size, n);
          r.set(left ? op.rotl(a.get(), by.get()) : op.rotr(a.get(), by.get()));
        } else {
          const by = keep.i32(i32.and(count.get(), i32.const(size - 1)));
          const other = keep.i32(i32.and(i32.sub(i32.const(size), by.get()), i32.const(size - 1)));
          const [up, down] = left ? [by, other] : [other, by];
          const high = i32.shl(a.get(), up.get());
          r.set(zeroExtend(size, asInt(i32.or(high, i32.shrU(a.get(), down.get())))));
        }
        to.finish(r.get());
        const cf = local.i32();
        const of = local.i32();
        if (left) {
          cf.set(lowBit(size, r.get()));
          of.set(i32.xor(topBit(size, r), cf.get()));
        } else {
          cf.set(topBit(size, r));
          of.set(i32.xor(cf.get(), topBit(size, r, 1)));
        }
        setCarryAndOverflow(site, cf, of);
      },
      orUntouched(to, size),
    );
  };
}

/** RCL and RCR rotate through CF: size + 1 bits. */
function rotateThroughCarry(left: boolean): Emitter {
  return (site) => {
    const size = site.place(0).size;
    const to = site.place(0);
    const count = countOf(site, 1, size);
    if (size < 32) count.set(i32.remU(count.get(), i32.const(size + 1)));
    const a = keepInt(size, to.begin());
    when(
      count.get(),
      () => {
        const cf = keep.i32(carry(site));
        const value = keep.i64(toI64Unsigned(size, a.get()));
        const n = keep.i64(i64.extendU(count.get()));
        const r = local.i64();
        const out = local.i32();
        const bit = (
          x: Local<ReturnType<typeof i64.const>>,
          by: () => ReturnType<typeof i64.const>,
        ) => i32.and(i32.wrap(i64.shrU(x.get(), by())), i32.const(1));
        // Shifts of 64 count as 0 in WebAssembly, so each is split into (n - 1) and 1.
        if (left) {
          out.set(bit(value, () => i64.sub(i64.const(size), n.get())));
          const shifted = i64.shl(value.get(), n.get());
          const carried = i64.shl(i64.extendU(cf.get()), i64.sub(n.get(), i64.const(1)));
          r.set(i64.or(shifted, carried));
          const wrapped = i64.shrU(value.get(), i64.sub(i64.const(size), n.get()));
          r.set(i64.or(i64.shrU(wrapped, i64.const(1)), r.get()));
        } else {
          out.set(bit(value, () => i64.sub(n.get(), i64.const(1))));
          const shifted = i64.shrU(value.get(), n.get());
          const carried = i64.shl(i64.extendU(cf.get()), i64.sub(i64.const(size), n.get()));
          r.set(i64.or(shifted, carried));
          const wrapped = i64.shl(value.get(), i64.sub(i64.const(size), n.get()));
          r.set(i64.or(i64.shl(wrapped, i64.const(1)), r.get()));
        }
        const result = keepInt(size, zeroExtend(size, fromI64(size, r.get())));
        to.finish(result.get());
        const of = local.i32();
        if (left) of.set(i32.xor(topBit(size, result), out.get()));
        else of.set(i32.xor(topBit(size, result), topBit(size, result, 1)));
        setCarryAndOverflow(site, out, of);
      },
      orUntouched(to, size),
    );
  };
}

function doubleShift(left: boolean): Emitter {
  return (site) => {
    const { size } = site;
    const to = site.place(0);
    const count = countOf(site, 2, size);
    const b = keepInt(size, site.place(1).read());
    const a = keepInt(size, to.begin());
    const op = integerOps(size);
    when(
      count.get(),
      () => {
        const r = op.local();
        const cf = local.i32();
        if (size === 16) doubleShift16(left, a, b, count, r as Local<I32>, cf);
        else {
          const n = keepInt(size, fromI32(size, count.get()));
          const rest = keepInt(size, op.sub(op.const(size), n.get()));
          if (left) {
            r.set(op.or(op.shl(a.get(), n.get()), op.shrU(b.get(), rest.get())));
            cf.set(lowBit(size, op.shrU(a.get(), rest.get())));
          } else {
            r.set(op.or(op.shrU(a.get(), n.get()), op.shl(b.get(), rest.get())));
            cf.set(lowBit(size, op.shrU(a.get(), op.sub(n.get(), op.const(1)))));
          }
        }
        to.finish(r.get());
        const of = keep.i32(i32.xor(topBit(size, a), topBit(size, r)));
        setAll(site, size, r, cf, of);
      },
      orUntouched(to, size),
    );
  };
}

/** Counts above 16 are undefined; we shift the three words a:b:a as AMD and Intel do. */
function doubleShift16(
  left: boolean,
  a: Local<I32>,
  b: Local<I32>,
  count: Local<I32>,
  r: Local<I32>,
  cf: Local<I32>,
): void {
  const wide = local.i64();
  const n = keep.i64(i64.extendU(count.get()));
  const join = (x: Local<I32>, y: Local<I32>, z: Local<I32>): void => {
    const top = i64.shl(i64.extendU(x.get()), i64.const(32));
    const middle = i64.or(top, i64.shl(i64.extendU(y.get()), i64.const(16)));
    wide.set(i64.or(middle, i64.extendU(z.get())));
  };
  if (left) {
    join(a, b, a);
    const out = i64.shrU(wide.get(), i64.sub(i64.const(48), n.get()));
    cf.set(i32.and(i32.wrap(out), i32.const(1)));
    const moved = i64.shrU(i64.shl(wide.get(), n.get()), i64.const(32));
    r.set(i32.and(i32.wrap(moved), i32.const(0xffff)));
  } else {
    join(a, b, a);
    const out = i64.shrU(wide.get(), i64.sub(n.get(), i64.const(1)));
    cf.set(i32.and(i32.wrap(out), i32.const(1)));
    r.set(i32.and(i32.wrap(i64.shrU(wide.get(), n.get())), i32.const(0xffff)));
  }
}

export const shiftEmitters: Readonly<Record<string, Emitter>> = {
  shl: shift("shl"),
  shr: shift("shr"),
  sar: shift("sar"),
  rol: rotate(true),
  ror: rotate(false),
  rcl: rotateThroughCarry(true),
  rcr: rotateThroughCarry(false),
  shld: doubleShift(true),
  shrd: doubleShift(false),
};
