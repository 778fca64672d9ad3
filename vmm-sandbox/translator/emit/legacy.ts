/**
 * Stack, calls and jumps of 16- and 32-bit code: compatibility mode, protected mode, real mode.
 *
 * RIP is linear everywhere (state.ts), so a near jump is RIP plus displacement; only what the
 * program sees of RIP, on its stack or in a register, counts from CS. Offsets wrap at the operand
 * size, stack addresses at the size SS says (`state.stackMask`), linear addresses at 4 GiB.
 * SDM volume 1 §3.3.5 and §6.2.3; volume 2, instruction by name. Limits are not checked.
 */
import { state } from "../state.ts";
import { type I32, type I64, i32, i64, keep, type Local, when } from "../wasm/assembler.ts";
import { bitTest } from "./bits.ts";
import { condition } from "./flags.ts";
import type { Emitter } from "./integer.ts";
import { asInt, cutLinear, fromI64, type Int, keepInt, type Site, toI64Unsigned } from "./site.ts";
import { flagsToPush, setPoppedFlags } from "./stack-flags.ts";

const [rcx, rsp, rbp] = [1, 4, 5];
const segmentBase = (index: number): number => state.segmentBase + index * 8;
const codeBase = segmentBase(1);
const stackBase = segmentBase(2);

/** The linear address of an offset in the code segment, after the offset wraps. */
export function wrapCodeAddress(site: Pick<Site, "size" | "loadState64">, target: () => I64): I64 {
  if (site.size !== 16) return cutLinear(target());
  const offset = i64.sub(target(), site.loadState64(codeBase));
  return cutLinear(i64.add(i64.and(offset, i64.const(0xffff)), site.loadState64(codeBase)));
}

/** A stack pointer after moving by `bytes`, as an offset. */
function moved(site: Site, pointer: Local<I64>, bytes: I64): Local<I64> {
  return keep.i64(i64.and(i64.add(pointer.get(), bytes), site.loadState64(state.stackMask)));
}

function stackAddress(site: Site, offset: Local<I64>): Local<I64> {
  return keep.i64(cutLinear(i64.add(offset.get(), site.loadState64(stackBase))));
}

const readPointer = (site: Site, register: number): Local<I64> =>
  keep.i64(site.register(register, 64).read());

/** rSP, keeping the bits that the stack's size leaves alone. */
function setPointer(site: Site, offset: Local<I64>): void {
  const pointer = site.register(rsp, 64);
  const mask = keep.i64(site.loadState64(state.stackMask));
  const kept = i64.and(pointer.read(), i64.xor(mask.get(), i64.const(-1)));
  pointer.write(keepInt(64, asInt(i64.or(kept, offset.get()))));
}

function push(site: Site, size: number, value: Local<Int>): void {
  const offset = moved(site, readPointer(site, rsp), i64.const(-size / 8));
  site.memory(size, stackAddress(site, offset)).write(value);
  setPointer(site, offset);
}

/** What `from` (rSP or rBP) points to. */
function top(site: Site, size: number, from: Local<I64>): Local<Int> {
  const offset = moved(site, from, i64.const(0));
  return keepInt(size, site.memory(size, stackAddress(site, offset)).read());
}

function drop(site: Site, bytes: () => I64): void {
  setPointer(site, moved(site, readPointer(site, rsp), bytes()));
}

const pushOperand: Emitter = (site) =>
  push(site, site.size, keepInt(site.size, site.place(0).read()));

const popOperand: Emitter = (site) => {
  const { size } = site;
  const to = site.place(0);
  const value = top(site, size, readPointer(site, rsp));
  if (to.kind === "memory") to.write(value);
  drop(site, () => i64.const(size / 8));
  if (to.kind === "register") to.write(value);
};

function pushReturn(site: Site): void {
  const offset = i64.sub(site.nextRip(), site.loadState64(codeBase));
  push(site, site.size, keepInt(site.size, fromI64(site.size, offset)));
}

/** Goes on at an offset in the code segment. */
function jumpToOffset(site: Site, offset: Local<Int>): void {
  const from = site.loadState64(codeBase);
  const target = i64.add(from, toI64Unsigned(site.size, offset.get()));
  site.jumpTo(keep.i64(cutLinear(target)));
}

const call: Emitter = (site) => {
  pushReturn(site);
  site.jumpDirect();
};

const callIndirect: Emitter = (site) => {
  const target = keepInt(site.size, site.place(0).read());
  pushReturn(site);
  jumpToOffset(site, target);
};

const jumpIndirect: Emitter = (site) =>
  jumpToOffset(site, keepInt(site.size, site.place(0).read()));

const returnNear: Emitter = (site) => {
  const target = top(site, site.size, readPointer(site, rsp));
  drop(site, () => i64.const(site.size / 8));
  jumpToOffset(site, target);
};

const returnDropping: Emitter = (site) => {
  const target = top(site, site.size, readPointer(site, rsp));
  drop(site, () =>
    i64.add(i64.const(site.size / 8), i64.and(i64.extendU(site.immediate32()), i64.const(0xffff))),
  );
  jumpToOffset(site, target);
};

const jumpIf: Emitter = (site) => when(condition(site, site.opcode & 15), () => site.jumpDirect());

const leave: Emitter = (site) => {
  const { size } = site;
  const frame = moved(site, readPointer(site, rbp), i64.const(0));
  const value = top(site, size, frame);
  setPointer(site, moved(site, frame, i64.const(size / 8)));
  site.register(rbp, size).write(value);
};

const pushFlags: Emitter = (site) => push(site, site.size, flagsToPush(site));

const popFlags: Emitter = (site) => {
  const value = top(site, site.size, readPointer(site, rsp));
  drop(site, () => i64.const(site.size / 8));
  setPoppedFlags(site, value);
  site.jumpTo(keep.i64(cutLinear(site.nextRip())));
};

/** LOOP and its kin count in CX or ECX, as the address size says. */
function loopWhile(kind: "always" | "equal" | "notEqual"): Emitter {
  return (site) => {
    const size = site.addressSize;
    const counter = site.register(rcx, size);
    const value = keepInt(size, asInt(i32.sub(counter.read(), i32.const(1))));
    if (size === 16) value.set(asInt(i32.and(value.get(), i32.const(0xffff))));
    counter.write(value);
    const more = keep.i32(i32.ne(value.get(), i32.const(0)));
    const and = (other: I32): void => more.set(i32.and(more.get(), other));
    if (kind === "equal") and(condition(site, 4));
    if (kind === "notEqual") and(condition(site, 5));
    when(more.get(), () => site.jumpDirect());
  };
}

const jumpIfCounterZero: Emitter = (site) =>
  when(i32.eqz(site.register(rcx, site.addressSize).read()), () => site.jumpDirect());

/** What 16- and 32-bit code does otherwise than 64-bit code. */
export const legacyEmitters: Readonly<Record<string, Emitter>> = {
  push: pushOperand,
  pop: popOperand,
  call,
  callind: callIndirect,
  jmp: (site) => site.jumpDirect(),
  jmpind: jumpIndirect,
  ret: returnNear,
  retn: returnDropping,
  jcc: jumpIf,
  leave,
  pushf: pushFlags,
  popf: popFlags,
  loop: loopWhile("always"),
  loope: loopWhile("equal"),
  loopne: loopWhile("notEqual"),
  jcxz: jumpIfCounterZero,
  // A bit far away may lie across the end of the 4 GiB.
  bt: bitTest("none"),
  bts: bitTest("set"),
  btr: bitTest("reset"),
  btc: bitTest("complement"),
};
export const countedJumps = ["loop", "loope", "loopne", "jcxz"] as const;
