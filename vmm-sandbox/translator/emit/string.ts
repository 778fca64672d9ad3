/**
 * String instructions, with and without REP. Each iteration commits rSI, rDI and rCX before the
 * next, so a fault or an interrupt in the middle resumes where it stopped (SDM volume 2, REP).
 *
 * REP MOVS and REP STOS going up run in chunks that stay within one page on each side: one check,
 * then the engine's memory.copy or memory.fill.
 */

import { state } from "../state.ts";
import {
  block,
  br,
  brIf,
  type I32,
  type I64,
  i32,
  i64,
  keep,
  type Local,
  local,
  loop,
  memoryCopy,
  memoryFill,
  when,
} from "../wasm/assembler.ts";
import { flagsOfSub } from "./flags.ts";
import type { Emitter } from "./integer.ts";
import {
  asInt,
  cutLinear,
  fromI64,
  type Int,
  integerOps,
  keepInt,
  type Site,
  toI64Unsigned,
} from "./site.ts";

const [rcx, rsi, rdi] = [1, 6, 7];

type Operation = "movs" | "stos" | "lods" | "scas" | "cmps";

/**
 * The source honours a segment override; the site's address() is then that segment's base. The
 * destination is in ES, which only 16- and 32-bit code gives a base.
 */
function readIndex(site: Site, register: number): Local<I64> {
  const index = toI64Unsigned(site.addressSize, site.register(register, site.addressSize).read());
  if (site.legacy) {
    const base = register === rsi ? site.address() : site.loadState64(state.segmentBase);
    return keep.i64(cutLinear(i64.add(index, base)));
  }
  if (register === rsi) return keep.i64(i64.add(index, site.address()));
  return keep.i64(index);
}

function advance(site: Site, register: number, by: () => I64): void {
  const size = site.addressSize;
  const place = site.register(register, size);
  const sum = i64.add(toI64Unsigned(size, place.read()), by());
  place.write(keepInt(size, fromI64(size, sum)));
}

/** ±bytes by the direction flag. */
function stride(site: Site, bytes: number): Local<I64> {
  const df = i32.and(i32.shrU(site.loadState32(state.eflags), i32.const(10)), i32.const(1));
  const doubled = i64.mul(i64.extendU(df), i64.const(-2 * bytes));
  return keep.i64(i64.add(doubled, i64.const(bytes)));
}

function element(site: Site, operation: Operation, size: number, step: Local<I64>): void {
  const accumulator = site.register(0, size);
  const by = (): I64 => step.get();
  switch (operation) {
    case "movs": {
      const value = keepInt(size, site.memory(size, readIndex(site, rsi)).read());
      site.memory(size, readIndex(site, rdi)).write(value);
      advance(site, rsi, by);
      advance(site, rdi, by);
      return;
    }
    case "stos":
      site.memory(size, readIndex(site, rdi)).write(keepInt(size, accumulator.read()));
      advance(site, rdi, by);
      return;
    case "lods":
      accumulator.write(keepInt(size, site.memory(size, readIndex(site, rsi)).read()));
      advance(site, rsi, by);
      return;
    case "scas":
      compare(site, size, keepInt(size, accumulator.read()), () =>
        site.memory(size, readIndex(site, rdi)).read(),
      );
      advance(site, rdi, by);
      return;
    case "cmps":
      compare(site, size, keepInt(size, site.memory(size, readIndex(site, rsi)).read()), () =>
        site.memory(size, readIndex(site, rdi)).read(),
      );
      advance(site, rsi, by);
      advance(site, rdi, by);
  }
}

function compare(site: Site, size: number, a: Local<Int>, other: () => Int): void {
  const b = keepInt(size, other());
  const r = keepInt(size, integerOps(size).sub(a.get(), b.get()));
  flagsOfSub(site, size, a, b, r);
}

function counter(site: Site): I64 {
  return toI64Unsigned(site.addressSize, site.register(rcx, site.addressSize).read());
}

/** Elements up to the end of the page that `address` is in. */
function elementsLeft(address: Local<I64>, bytes: number): I32 {
  const before = (): I32 => i32.and(i32.wrap(address.get()), i32.const(0xfff));
  return i32.divU(i32.sub(i32.const(0x1000), before()), i32.const(bytes));
}

function minimum(a: Local<I32>, b: () => I32): void {
  const other = keep.i32(b());
  when(i32.gtU(a.get(), other.get()), () => a.set(other.get()));
}

/** One chunk of REP MOVS or STOS upwards; falls through when an element must go alone. */
function chunk(site: Site, operation: "movs" | "stos", size: number, done: () => void): void {
  const bytes = size / 8;
  const to = readIndex(site, rdi);
  const count = local.i32();
  const left = keep.i64(counter(site));
  count.set(i32.const(0x1000));
  when(i64.ltU(left.get(), i64.const(0x1000)), () => count.set(i32.wrap(left.get())));
  minimum(count, () => elementsLeft(to, bytes));
  const from = operation === "movs" ? readIndex(site, rsi) : undefined;
  if (from) minimum(count, () => elementsLeft(from, bytes));
  when(i32.geU(count.get(), i32.const(2)), () => {
    const last = keep.i32(i32.mul(count.get(), i32.const(bytes)));
    // The first element's check holds for the page; one is written even if the page is a device's.
    const source = from ? site.host(from, bytes, false) : undefined;
    const host = site.host(to, bytes, "page");
    const plain = local.i32();
    plain.set(i32.geU(host.get(), i32.const(0x1_0000)));
    if (source) {
      plain.set(i32.and(plain.get(), i32.geU(source.get(), i32.const(0x1_0000))));
      // Overlapping upwards copies repeat their beginning, which memory.copy would not do.
      const apart = i32.geU(i32.sub(host.get(), source.get()), last.get());
      plain.set(i32.and(plain.get(), apart));
    }
    when(plain.get(), () => {
      if (source) memoryCopy(host.get(), source.get(), last.get());
      else fill(site, size, host, count, last);
      const moved = keep.i64(i64.extendU(last.get()));
      advance(site, rdi, () => moved.get());
      if (from) advance(site, rsi, () => moved.get());
      advance(site, rcx, () => i64.sub(i64.const(0), i64.extendU(count.get())));
      done();
    });
  });
}

function fill(
  site: Site,
  size: number,
  host: Local<I32>,
  count: Local<I32>,
  bytes: Local<I32>,
): void {
  const value = keepInt(size, site.register(0, size).read());
  if (size === 8) {
    memoryFill(host.get(), value.get(), bytes.get());
    return;
  }
  const at = keep.i32(host.get());
  const left = keep.i32(count.get());
  const put = (): void => {
    if (size === 64) i64.store(at.get(), value.get());
    else if (size === 32) i32.store(at.get(), value.get());
    else i32.store16(at.get(), value.get());
  };
  block((end) => {
    // Zeroing pages is what the kernel does most.
    const isZero = size === 64 ? i64.eqz(value.get()) : i32.eqz(value.get());
    when(isZero, () => {
      memoryFill(host.get(), i32.const(0), bytes.get());
      br(end);
    });
    loop((again) => {
      put();
      at.set(i32.add(at.get(), i32.const(size / 8)));
      left.set(i32.sub(left.get(), i32.const(1)));
      brIf(again, left.get());
    });
  });
}

/** `repeat`: 0 none, 0xf3 REP/REPE, 0xf2 REPNE. */
export function stringEmitter(operation: Operation, repeat: number): Emitter {
  return (site) => {
    const size = site.opcode & 1 ? site.size : 8;
    const step = stride(site, size / 8);
    if (repeat === 0) {
      element(site, operation, size, step);
      return;
    }
    block((end) => {
      loop((again) => {
        brIf(end, i64.eqz(counter(site)));
        if (operation === "movs" || operation === "stos")
          when(i64.gtS(step.get(), i64.const(0)), () =>
            chunk(site, operation, size, () => {
              site.yieldHere(i32.const(256));
              br(again);
            }),
          );
        element(site, operation, size, step);
        advance(site, rcx, () => i64.const(-1));
        if (operation === "scas" || operation === "cmps") {
          const equal = i64.eqz(site.flagResult());
          brIf(end, repeat === 0xf3 ? i32.eqz(equal) : equal);
        }
        site.yieldHere(i32.const(1));
        br(again);
      });
    });
  };
}

export const stringOperations: Readonly<Record<string, Operation>> = {
  movs8: "movs",
  movsv: "movs",
  stos8: "stos",
  stosv: "stos",
  lods8: "lods",
  lodsv: "lods",
  scas8: "scas",
  scasv: "scas",
  cmps8: "cmps",
  cmpsv: "cmps",
};
export { asInt };
