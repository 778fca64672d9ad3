/**
 * Multiplication and division.
 *
 * 64 × 64 → 128 bits is four 32-bit products; 128 / 64 is a shift-and-subtract loop, entered only
 * when the dividend really has more than 64 bits, which compiled code almost never produces.
 *
 * Intel SDM volume 2: MUL, IMUL, DIV, IDIV (#DE on overflow and on zero).
 */
import {
  block,
  brIf,
  type I32,
  type I64,
  i32,
  i64,
  keep,
  type Local,
  local,
  loop,
  when,
} from "../wasm/assembler.ts";
import type { Emitter } from "./integer.ts";
import {
  asInt,
  fromI64,
  integerOps,
  keepInt,
  type Site,
  toI64Signed,
  toI64Unsigned,
  zeroExtend,
} from "./site.ts";

/** Upper half of the unsigned product. */
function highProduct(a: Local<I64>, b: Local<I64>): Local<I64> {
  const mask = 0xffff_ffffn;
  const low = (x: Local<I64>): I64 => i64.and(x.get(), i64.const(mask));
  const high = (x: Local<I64>): I64 => i64.shrU(x.get(), i64.const(32));
  const ll = keep.i64(i64.mul(low(a), low(b)));
  const hl = keep.i64(i64.mul(high(a), low(b)));
  const lh = keep.i64(i64.mul(low(a), high(b)));
  const hh = keep.i64(i64.mul(high(a), high(b)));
  const middle = keep.i64(i64.add(i64.add(high(ll), low(hl)), low(lh)));
  return keep.i64(i64.add(i64.add(hh.get(), high(hl)), i64.add(high(lh), high(middle))));
}

/** Upper half of the signed product. */
function highProductSigned(a: Local<I64>, b: Local<I64>): Local<I64> {
  const high = highProduct(a, b);
  const fix = (x: Local<I64>, y: Local<I64>): I64 =>
    i64.and(i64.shrS(x.get(), i64.const(63)), y.get());
  return keep.i64(i64.sub(i64.sub(high.get(), fix(a, b)), fix(b, a)));
}

/** CF = OF = overflow; SF, ZF, PF, AF are undefined: we set SF and PF from the result as Intel does. */
function productFlags(site: Site, result: Local<I64>, overflow: Local<I32>): void {
  site.setFlags(result.get(), i32.shl(overflow.get(), i32.const(31)));
}

/** rDX:rAX = rAX × operand. */
function multiply(signed: boolean): Emitter {
  return (site) => {
    const from = site.place(0);
    const { size } = from;
    const widen = signed ? toI64Signed : toI64Unsigned;
    const b = keep.i64(widen(size, from.read()));
    const a = keep.i64(widen(size, site.register(0, size).read()));
    const product = keep.i64(i64.mul(a.get(), b.get()));
    const overflow = local.i32();
    if (size === 64) {
      const high = signed ? highProductSigned(a, b) : highProduct(a, b);
      const expected = signed ? i64.shrS(product.get(), i64.const(63)) : i64.const(0);
      overflow.set(i64.ne(expected, high.get()));
      site.register(0, 64).write(keepInt(64, asInt(product.get())));
      site.register(2, 64).write(keepInt(64, asInt(high.get())));
      productFlags(site, product, overflow);
      return;
    }
    const low = keep.i64(widen(size, zeroExtend(size, fromI64(size, product.get()))));
    overflow.set(i64.ne(low.get(), product.get()));
    if (size === 8) site.register(0, 16).write(keepInt(16, asInt(i32.wrap(product.get()))));
    else {
      site.register(0, size).write(keepInt(size, fromI64(size, product.get())));
      const high = i64.shrU(product.get(), i64.const(size));
      site.register(2, size).write(keepInt(size, fromI64(size, high)));
    }
    const signedLow = keep.i64(toI64Signed(size, fromI64(size, product.get())));
    productFlags(site, signedLow, overflow);
  };
}

/** Two- and three-operand IMUL. */
const imul: Emitter = (site) => {
  const { size } = site;
  if (site.operandCount === 1) {
    multiply(true)(site);
    return;
  }
  const last = site.operandCount - 1;
  const b = keep.i64(toI64Signed(size, site.place(last).read()));
  const a = keep.i64(toI64Signed(size, site.place(last - 1).read()));
  const product = keep.i64(i64.mul(a.get(), b.get()));
  const low = keep.i64(toI64Signed(size, fromI64(size, product.get())));
  const overflow = local.i32();
  if (size === 64)
    overflow.set(i64.ne(highProductSigned(a, b).get(), i64.shrS(product.get(), i64.const(63))));
  else overflow.set(i64.ne(low.get(), product.get()));
  site.place(0).write(keepInt(size, fromI64(size, product.get())));
  productFlags(site, low, overflow);
};

const divideError = 0;

/** Up to 32 bits: the dividend fits in 64. */
function divideNarrow(site: Site, signed: boolean): void {
  const from = site.place(0);
  const { size } = from;
  const divisor = keep.i64((signed ? toI64Signed : toI64Unsigned)(size, from.read()));
  when(i64.eqz(divisor.get()), () => site.raise(divideError));
  const dividend = local.i64();
  if (size === 8)
    dividend.set((signed ? toI64Signed : toI64Unsigned)(16, site.register(0, 16).read()));
  else {
    const high = (signed ? toI64Signed : toI64Unsigned)(size, site.register(2, size).read());
    const top = i64.shl(high, i64.const(size));
    dividend.set(i64.or(top, toI64Unsigned(size, site.register(0, size).read())));
  }
  const quotient = local.i64();
  const remainder = local.i64();
  if (signed) {
    // -2⁶³ / -1 traps in WebAssembly; it is #DE here anyway.
    const least = i64.eq(dividend.get(), i64.const(-(1n << 63n)));
    when(i32.and(least, i64.eq(divisor.get(), i64.const(-1))), () => site.raise(divideError));
    quotient.set(i64.divS(dividend.get(), divisor.get()));
    remainder.set(i64.remS(dividend.get(), divisor.get()));
    const back = toI64Signed(size, fromI64(size, quotient.get()));
    when(i64.ne(back, quotient.get()), () => site.raise(divideError));
  } else {
    quotient.set(i64.divU(dividend.get(), divisor.get()));
    remainder.set(i64.remU(dividend.get(), divisor.get()));
    when(i32.wrap(i64.shrU(quotient.get(), i64.const(size))), () => site.raise(divideError));
    if (size < 32)
      when(i64.gtU(quotient.get(), i64.const(size === 8 ? 0xff : 0xffff)), () =>
        site.raise(divideError),
      );
  }
  if (size === 8) {
    const low = i64.and(quotient.get(), i64.const(0xff));
    const both = i64.or(low, i64.shl(remainder.get(), i64.const(8)));
    site.register(0, 16).write(keepInt(16, asInt(i32.and(i32.wrap(both), i32.const(0xffff)))));
    return;
  }
  site.register(0, size).write(keepInt(size, fromI64(size, quotient.get())));
  site.register(2, size).write(keepInt(size, fromI64(size, remainder.get())));
}

/** high:low / divisor, all unsigned, quotient known to fit; both results in place of high and low. */
function divide128(high: Local<I64>, low: Local<I64>, divisor: Local<I64>): void {
  when(
    i64.eqz(high.get()),
    () => {
      const q = keep.i64(i64.divU(low.get(), divisor.get()));
      high.set(i64.remU(low.get(), divisor.get()));
      low.set(q.get());
    },
    () => {
      // Restoring division: the remainder grows in `high`, the quotient shifts into `low`.
      const left = keep.i32(i32.const(64));
      const carry = local.i64();
      loop((again) => {
        carry.set(i64.shrS(high.get(), i64.const(63)));
        const doubled = i64.shl(high.get(), i64.const(1));
        high.set(i64.or(doubled, i64.shrU(low.get(), i64.const(63))));
        low.set(i64.shl(low.get(), i64.const(1)));
        const over = i32.wrap(carry.get());
        when(i32.or(over, i64.geU(high.get(), divisor.get())), () => {
          high.set(i64.sub(high.get(), divisor.get()));
          low.set(i64.or(low.get(), i64.const(1)));
        });
        left.set(i32.sub(left.get(), i32.const(1)));
        brIf(again, left.get());
      });
    },
  );
}

function divideWide(site: Site, signed: boolean): void {
  const divisor = keep.i64(site.place(0).read());
  const low = keep.i64(site.register(0, 64).read());
  const high = keep.i64(site.register(2, 64).read());
  if (!signed) {
    // Also true for a zero divisor.
    when(i64.geU(high.get(), divisor.get()), () => site.raise(divideError));
    divide128(high, low, divisor);
  } else {
    when(i64.eqz(divisor.get()), () => site.raise(divideError));
    const negative = keep.i64(i64.shrS(high.get(), i64.const(63)));
    const opposite = keep.i64(i64.xor(i64.shrS(divisor.get(), i64.const(63)), negative.get()));
    const magnitude = (x: Local<I64>): void => {
      const s = keep.i64(i64.shrS(x.get(), i64.const(63)));
      x.set(i64.sub(i64.xor(x.get(), s.get()), s.get()));
    };
    // |high:low|: invert both and add 1, the carry reaches high only when low was 0.
    when(i32.wrap(negative.get()), () => {
      low.set(i64.sub(i64.const(0), low.get()));
      const inverted = i64.xor(high.get(), i64.const(-1));
      high.set(i64.add(inverted, i64.extendU(i64.eqz(low.get()))));
    });
    magnitude(divisor);
    when(i64.geU(high.get(), divisor.get()), () => site.raise(divideError));
    divide128(high, low, divisor);
    // The quotient's magnitude may be 2⁶³ only when it is negative.
    const limit = i64.sub(i64.const((1n << 63n) - 1n), opposite.get());
    when(i64.ltU(limit, low.get()), () => site.raise(divideError));
    low.set(i64.sub(i64.xor(low.get(), opposite.get()), opposite.get()));
    high.set(i64.sub(i64.xor(high.get(), negative.get()), negative.get()));
  }
  site.register(0, 64).write(keepInt(64, asInt(low.get())));
  site.register(2, 64).write(keepInt(64, asInt(high.get())));
}

function divide(signed: boolean): Emitter {
  return (site) => {
    if (site.place(0).size === 64) divideWide(site, signed);
    else divideNarrow(site, signed);
  };
}

export const multiplyEmitters: Readonly<Record<string, Emitter>> = {
  mul: multiply(false),
  imul,
  imul3: imul,
  div: divide(false),
  idiv: divide(true),
};

// Used by tests of the arithmetic alone.
export { block, highProduct, integerOps };
