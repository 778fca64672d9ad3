/**
 * Guest memory accesses: the TLB's fast path in line, everything else through one slow path.
 *
 *   host = wrap(address) + addend   if   (address + bytes - 1) & ~0xfff == tag of the entry
 *
 * An access within one page passes unaligned; one that crosses, misses, reaches a device, writes a
 * page with translated code or needs an accessed or dirty bit fails the comparison. The slow path
 * returns a host address (of scratch, for crossings and devices), or 0 when the guest faulted.
 */

import { layout, state, tlbEntry } from "../state.ts";
import {
  type Callee,
  call,
  type I32,
  type I64,
  i32,
  i64,
  type Local,
  local,
  when,
} from "../wasm/assembler.ts";
import type { Writing } from "./site.ts";

/** Flags beside the size in the slow path's `kind`. */
export const accessKind = { write: 0x100, page: 0x200, update: 0x400 } as const;

/** Indexes of the functions the fast path falls back to, in the module being built. */
export type MemoryFunctions = {
  /** (address i64, kind i32, site i32) → host address or 0. */
  readonly slow: Callee;
  /** (): writes what was staged in scratch to where it belongs. */
  readonly commit: Callee;
};

/** The entry's address, or its offset in the TLB when `tlbBase` is known and added by the loads. */
function entryOf(address: Local<I64>, tlbBase: number | undefined): I32 {
  const index = i32.shrU(i32.wrap(address.get()), i32.const(7));
  const offset = i32.and(index, i32.const(0x1_ffe0));
  if (tlbBase !== undefined) return offset;
  return i32.add(offset, i32.load(i32.const(0), layout.state + state.tlb));
}

function matches(address: Local<I64>, bytes: number, entry: Local<I32>, tag: number): I32 {
  const end = bytes === 1 ? address.get() : i64.add(address.get(), i64.const(bytes - 1));
  const page = i64.and(end, i64.const(-4096));
  return i64.eq(page, i64.load(entry.get(), tag));
}

/**
 * Host address of an access; `fault` leaves when the slow path gave none. `tlbBase`: code of one
 * privilege level knows its TLB, other code reads it from the state.
 */
export function translate(
  address: Local<I64>,
  bytes: number,
  write: Writing,
  functions: MemoryFunctions,
  site: () => I32,
  fault: () => void,
  tlbBase?: number,
): Local<I32> {
  const entry = local.i32();
  const host = local.i32();
  const base = tlbBase ?? 0;
  entry.set(entryOf(address, tlbBase));
  const extra = write === "page" ? accessKind.page : write === "update" ? accessKind.update : 0;
  const kind = bytes | (write ? accessKind.write : 0) | extra;
  when(
    matches(address, bytes, entry, base + (write ? tlbEntry.writeTag : tlbEntry.readTag)),
    () => {
      const low = i32.wrap(address.get());
      host.set(i32.add(low, i32.load(entry.get(), base + tlbEntry.addend)));
    },
    () => {
      host.set(call<I32>(functions.slow, address.get(), i32.const(kind), site()));
      when(i32.eqz(host.get()), fault, undefined, false);
    },
    true,
  );
  return host;
}

/** After a store: one comparison on the way of every read-modify-write. */
export function commitIfStaged(host: Local<I32>, functions: MemoryFunctions): void {
  const staged = i32.ltU(host.get(), i32.const(layout.scratchEnd));
  when(staged, () => call(functions.commit), undefined, false);
}
