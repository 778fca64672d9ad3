/**
 * Stack, calls and jumps. A push writes memory before RSP changes, a pop reads before it changes,
 * so that a page fault finds the state untouched.
 *
 * Near branches in 64-bit mode always have 64-bit targets (SDM volume 2, CALL, JMP, RET).
 */

import { state } from "../state.ts";
import { type I32, type I64, i32, i64, keep, type Local, when } from "../wasm/assembler.ts";
import { condition } from "./flags.ts";
import type { Emitter } from "./integer.ts";
import { asInt, fromI64, type Int, keepInt, type Site, toI64Unsigned } from "./site.ts";
import { flagsToPush, leaveForInterrupt, setPoppedFlags } from "./stack-flags.ts";

const rsp = 4;
const rbp = 5;

/** Pushes `value` of `size` bits. */
function push(site: Site, size: number, value: Local<Int>): void {
  const pointer = site.register(rsp, 64);
  const address = keep.i64(i64.sub(asI64(pointer.read()), i64.const(size / 8)));
  site.memory(size, address).write(value);
  pointer.write(keepInt(64, asInt(address.get())));
}

const asI64 = (value: Int): I64 => value;

/** Reads the top of the stack; `drop` then removes it. */
function top(site: Site, size: number): Local<Int> {
  const address = keep.i64(site.register(rsp, 64).read());
  return keepInt(size, site.memory(size, address).read());
}

function dropBytes(site: Site, count: () => I64): void {
  const pointer = site.register(rsp, 64);
  pointer.write(keepInt(64, asInt(i64.add(pointer.read(), count()))));
}

const pushOperand: Emitter = (site) => {
  const from = site.place(0);
  // Immediates are sign-extended to the operand size already.
  push(site, site.size, keepInt(site.size, from.read()));
};

/** POP into memory: `address()` counts RSP as already moved (SDM volume 2, POP). */
const popOperand: Emitter = (site) => {
  const { size } = site;
  const to = site.place(0);
  const value = top(site, size);
  if (to.kind === "memory") to.write(value);
  dropBytes(site, () => i64.const(size / 8));
  if (to.kind === "register") to.write(value);
};

const call: Emitter = (site) => {
  push(site, 64, keepInt(64, asInt(site.nextRip())));
  site.jumpDirect();
};

const callIndirect: Emitter = (site) => {
  const target = keep.i64(site.place(0).read());
  push(site, 64, keepInt(64, asInt(site.nextRip())));
  site.jumpTo(target);
};

const jump: Emitter = (site) => site.jumpDirect();

const jumpIndirect: Emitter = (site) => site.jumpTo(keep.i64(site.place(0).read()));

const returnNear: Emitter = (site) => {
  const target = keep.i64(top(site, 64).get());
  dropBytes(site, () => i64.const(8));
  site.jumpTo(target);
};

const returnDropping: Emitter = (site) => {
  const target = keep.i64(top(site, 64).get());
  dropBytes(site, () =>
    i64.add(i64.const(8), i64.and(i64.extendU(site.immediate32()), i64.const(0xffff))),
  );
  site.jumpTo(target);
};

const jumpIf: Emitter = (site) => {
  when(condition(site, site.opcode & 15), () => site.jumpDirect());
};

/** LOOP, LOOPE, LOOPNE and JrCXZ count in the register of the address size. */
function loopWhile(kind: "always" | "equal" | "notEqual"): Emitter {
  return (site) => {
    const size = site.addressSize;
    const counter = site.register(1, size);
    const less = i64.sub(toI64Unsigned(size, counter.read()), i64.const(1));
    const value = keepInt(size, fromI64(size, less));
    counter.write(value);
    const more = keep.i32(i64.ne(toI64Unsigned(size, value.get()), i64.const(0)));
    if (kind === "equal") more.set(i32.and(more.get(), condition(site, 4)));
    if (kind === "notEqual") more.set(i32.and(more.get(), condition(site, 5)));
    when(more.get(), () => site.jumpDirect());
  };
}

const jumpIfCounterZero: Emitter = (site) => {
  const size = site.addressSize;
  when(i64.eqz(toI64Unsigned(size, site.register(1, size).read())), () => site.jumpDirect());
};

const leave: Emitter = (site) => {
  const { size } = site;
  const frame = keep.i64(site.register(rbp, 64).read());
  const value = keepInt(size, site.memory(size, frame).read());
  const above = keepInt(64, asInt(i64.add(frame.get(), i64.const(size / 8))));
  site.register(rsp, 64).write(above);
  site.register(rbp, size).write(value);
};

const pushFlags: Emitter = (site) => push(site, site.size, flagsToPush(site));

const popFlags: Emitter = (site) => {
  const { size } = site;
  const value = top(site, size);
  dropBytes(site, () => i64.const(size / 8));
  setPoppedFlags(site, value);
  site.jumpTo(keep.i64(site.nextRip()));
};

/** CPL above IOPL may not touch IF. */
function checkInterruptPrivilege(site: Site, flags: Local<I32>): void {
  const iopl = i32.and(i32.shrU(flags.get(), i32.const(12)), i32.const(3));
  when(i32.ltU(iopl, site.loadState32(state.cpl)), () => site.raise(13));
}

/**
 * STI. Interrupts are let in at the next jump at the earliest, so the instruction after STI always
 * runs, HLT included (SDM volume 2, STI).
 */
const setInterruptFlag: Emitter = (site) => {
  const flags = keep.i32(site.loadState32(state.eflags));
  checkInterruptPrivilege(site, flags);
  site.storeState32(state.eflags, i32.or(flags.get(), i32.const(0x200)));
  leaveForInterrupt(site);
};

const clearInterruptFlag: Emitter = (site) => {
  const flags = keep.i32(site.loadState32(state.eflags));
  checkInterruptPrivilege(site, flags);
  site.storeState32(state.eflags, i32.and(flags.get(), i32.const(~0x200)));
};

/** SYSCALL and SWAPGS are hot; the rest of the system instructions are helpers. */
const swapGs: Emitter = (site) => {
  when(site.loadState32(state.cpl), () => site.raise(13));
  const a = keep.i64(site.loadState64(state.segmentBase + 5 * 8));
  const b = keep.i64(site.loadState64(state.kernelGsBase));
  site.storeState64(state.segmentBase + 5 * 8, b.get());
  site.storeState64(state.kernelGsBase, a.get());
};

/** RDFSBASE and its kin: 64-bit code that CR4.FSGSBASE allows it. */
function segmentBase(segment: 4 | 5, write: boolean): Emitter {
  return (site) => {
    const allowed = i32.and(site.loadState32(state.cr4), i32.const(0x1_0000));
    when(i32.eqz(allowed), () => site.raise(6));
    const at = state.segmentBase + segment * 8;
    const place = site.place(0);
    if (!write) {
      place.write(keepInt(place.size, fromI64(place.size, site.loadState64(at))));
      return;
    }
    const base = keep.i64(toI64Unsigned(place.size, place.read()));
    const top = keep.i64(i64.shrS(base.get(), i64.const(47)));
    when(i64.gtU(i64.add(top.get(), i64.const(1)), i64.const(1)), () => site.raise(13));
    site.storeState64(at, base.get());
  };
}

export const controlEmitters: Readonly<Record<string, Emitter>> = {
  push: pushOperand,
  pop: popOperand,
  call,
  callind: callIndirect,
  jmp: jump,
  jmpind: jumpIndirect,
  ret: returnNear,
  retn: returnDropping,
  jcc: jumpIf,
  loop: loopWhile("always"),
  loope: loopWhile("equal"),
  loopne: loopWhile("notEqual"),
  jcxz: jumpIfCounterZero,
  leave,
  pushf: pushFlags,
  popf: popFlags,
  swapgs: swapGs,
  rdfsbase: segmentBase(4, false),
  rdgsbase: segmentBase(5, false),
  wrfsbase: segmentBase(4, true),
  wrgsbase: segmentBase(5, true),
  cli: clearInterruptFlag,
  sti: setInterruptFlag,
};
