/** PUSHF and POPF, as far as they are the same whatever the stack: what is pushed, what is taken. */
import { layout, state } from "../state.ts";
import { type I32, i32, i64, keep, type Local, local, when } from "../wasm/assembler.ts";
import { arithmeticFlags, setArithmeticFlags } from "./flags.ts";
import { fromI64, type Int, keepInt, type Site, toI64Signed } from "./site.ts";

/** VM and RF read as 0. */
export function flagsToPush(site: Site): Local<Int> {
  const { size } = site;
  count(site, state.pushfCounts);
  const system = i32.and(site.loadState32(state.eflags), i32.const(~0x3_0000));
  const flags = keep.i32(i32.or(system, arithmeticFlags(site)));
  const mask = i32.const(size === 16 ? 0xffff : -1);
  return keepInt(size, fromI64(size, i64.extendU(i32.and(flags.get(), mask))));
}

/** IOPL changes only at CPL 0 and IF only when CPL ≤ IOPL. */
export function setPoppedFlags(site: Site, popped: Local<Int>): void {
  const { size } = site;
  const value = keep.i32(i32.wrap(toI64Signed(size, popped.get())));
  const old = keep.i32(site.loadState32(state.eflags));
  const cpl = keep.i32(site.loadState32(state.cpl));
  const iopl = i32.and(i32.shrU(old.get(), i32.const(12)), i32.const(3));
  const mayIf = keep.i32(i32.geU(iopl, cpl.get()));
  // TF DF NT AC ID, plus IF (bit 9) and IOPL (bits 12 and 13) as allowed.
  const wide = size === 16 ? 0x4500 : 0x24_4500;
  const change = local.i32();
  change.set(i32.const(wide));
  when(mayIf.get(), () => change.set(i32.or(change.get(), i32.const(0x200))));
  when(i32.eqz(cpl.get()), () => change.set(i32.or(change.get(), i32.const(0x3200))));
  const kept = i32.and(old.get(), i32.xor(change.get(), i32.const(-1)));
  site.storeState32(state.eflags, i32.or(kept, i32.and(value.get(), change.get())));
  setArithmeticFlags(site, value);
  leaveForInterrupt(site);
  // TF and AC: the run loop goes on instruction by instruction.
  when(i32.and(value.get(), i32.const(0x4_0100)), () => site.exhaustFuel());
  count(site, state.popfCounts);
}

/** Sensitive instructions are counted by privilege level: see system/sensitive.ts. */
function count(site: Site, counters: number): void {
  const at = keep.i32(i32.shl(site.loadState32(state.cpl), i32.const(2)));
  const next = keep.i32(i32.add(i32.load(at.get(), layout.state + counters), i32.const(1)));
  i32.store(at.get(), next.get(), layout.state + counters);
}

/** IF may have been set: an interrupt that waits for it must not wait for fuel. */
export function leaveForInterrupt(site: Site): void {
  const enabled: I32 = i32.shrU(site.loadState32(state.eflags), i32.const(9));
  when(i32.and(enabled, site.loadState32(state.interruptPending)), () => site.exhaustFuel());
}
