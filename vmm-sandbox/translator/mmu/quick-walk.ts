/**
 * The usual page walk and what it leaves in the TLBs, in WebAssembly: 64-bit mode with CR0.WP and
 * EFER.NXE as every system of today has them, tables and page in the RAM below the PCI hole. Whatever
 * else is there, and every fault, is left to paging.ts, which says what all this means and begins anew.
 *
 * ```
 * walk: physical page, or with bits above it   24 writable and dirty   25 global   26 of a large page
 *       -1: TypeScript walks
 * ```
 */
import { accessKind } from "../emit/memory.ts";
import { layout, pageMark, quickHash, state, tlbEntries, tlbEntry, walkState } from "../state.ts";
import {
  type Body,
  beginFunction,
  type Callee,
  call,
  endFunction,
  type I32,
  type I64,
  i32,
  i64,
  keep,
  Local,
  ret,
  when,
} from "../wasm/assembler.ts";

/** What `walk` is asked for. */
const asked = { write: 1, fetch: 2 } as const;
const found = { writable: 24, global: 25, large: 26 } as const;
const pageBits = 0xff_ffff;

const [present, accessed, dirty, large] = [1, 0x20, 0x40, 0x80] as const;
/** Bits 40 to 51 are beyond our physical width. */
const reserved = 0x000f_ff00_0000_0000n;

const hostOf = (page: Local<I32>): I32 =>
  i32.add(i32.shl(page.get(), i32.const(12)), i32.const(layout.ram));
const known = (offset: number): I32 => i32.load(i32.const(0), layout.walk + offset);
const ofState = (offset: number): I32 => i32.load(i32.const(0), layout.state + offset);

/** (address i64, asked i32) → i32 */
export function walkBody(): Body {
  beginFunction(2);
  const address = new Local<I64>(0);
  const kind = new Local<I32>(1);
  const table = keep.i32(known(walkState.root));
  giveUpWhen(i32.eqz(table.get()));
  const top = i64.shrS(address.get(), i64.const(47));
  giveUpWhen(i64.gtU(i64.add(top, i64.const(1)), i64.const(1))); // not canonical
  const all = keep.i64(i64.const(-1));
  const any = keep.i64(i64.const(0));
  const entry = keep.i64(i64.const(0));
  const at = keep.i32(i32.const(0));
  const leaf = (level: number): void => leafBody({ address, kind, entry, at, all, any }, level);
  for (let level = 3; level >= 0; level--) {
    const shifted = i32.wrap(i64.shrU(address.get(), i64.const(12 + level * 9)));
    const index = i32.shl(i32.and(shifted, i32.const(511)), i32.const(3));
    at.set(i32.add(index, table.get()));
    entry.set(i64.load(at.get(), 0));
    const shape = i64.and(entry.get(), i64.const(reserved | BigInt(present)));
    giveUpWhen(i64.ne(shape, i64.const(present)));
    all.set(i64.and(all.get(), entry.get()));
    any.set(i64.or(any.get(), entry.get()));
    if (level === 0) break;
    const isLarge = i64.ne(i64.and(entry.get(), i64.const(large)), i64.const(0));
    if (level === 3) giveUpWhen(isLarge);
    else when(isLarge, () => leaf(level));
    when(i32.eqz(i32.and(i32.wrap(entry.get()), i32.const(accessed))), () =>
      i32.store(at.get(), i32.or(i32.wrap(entry.get()), i32.const(accessed)), 0),
    );
    table.set(i32.wrap(i64.shrU(entry.get(), i64.const(12))));
    giveUpWhen(i32.geU(table.get(), known(walkState.limit)));
    table.set(i32.add(i32.shl(table.get(), i32.const(12)), i32.const(layout.ram)));
  }
  leaf(0);
  i32.const(-1);
  return endFunction();
}

type Leaf = {
  readonly address: Local<I64>;
  readonly kind: Local<I32>;
  readonly entry: Local<I64>;
  readonly at: Local<I32>;
  readonly all: Local<I64>;
  readonly any: Local<I64>;
};

/** Returns from the walk, with the page or without. */
function leafBody({ address, kind, entry, at, all, any }: Leaf, level: number): void {
  const isWrite = (): I32 => i32.and(kind.get(), i32.const(asked.write));
  const isUser = i32.eq(ofState(state.tlb), i32.const(layout.userTlb));
  const needed = keep.i32(i32.or(i32.shl(isUser, i32.const(2)), i32.shl(isWrite(), i32.const(1))));
  const has = i32.and(i32.wrap(all.get()), needed.get());
  giveUpWhen(i32.ne(has, needed.get()));
  const isFetch = (): I32 => i32.and(kind.get(), i32.const(asked.fetch));
  when(isFetch(), () => giveUpWhen(i64.ltS(any.get(), i64.const(0)))); // no-execute, anywhere

  const within = 2 ** (level * 9) - 1;
  const frame = i32.and(i32.wrap(i64.shrU(entry.get(), i64.const(12))), i32.const(~within));
  const page = keep.i32(
    level === 0
      ? frame
      : i32.or(frame, i32.and(i32.wrap(i64.shrU(address.get(), i64.const(12))), i32.const(within))),
  );
  giveUpWhen(i32.geU(page.get(), known(walkState.limit)));
  const used = keep.i32(
    i32.or(
      i32.or(i32.wrap(entry.get()), i32.const(accessed)),
      i32.mul(isWrite(), i32.const(dirty)),
    ),
  );
  when(i32.ne(used.get(), i32.wrap(entry.get())), () => i32.store(at.get(), used.get(), 0));
  const isDirty = i32.shrU(used.get(), i32.const(6));
  const mayWrite = i32.and(isDirty, i32.shrU(i32.wrap(all.get()), i32.const(1)));
  const writes = keep.i32(i32.shl(i32.and(mayWrite, i32.const(1)), i32.const(found.writable)));
  const global = i32.and(i32.shrU(used.get(), i32.const(8)), i32.const(1));
  const globals = keep.i32(i32.shl(global, i32.const(found.global)));
  i32.or(
    i32.or(page.get(), i32.const(level > 0 ? 1 << found.large : 0)),
    i32.or(writes.get(), globals.get()),
  );
  ret();
}

function giveUpWhen(condition: I32): void {
  when(
    condition,
    () => {
      i32.const(-1);
      ret();
    },
    undefined,
    false,
  );
}

/** In the slow path of an access: returns its host address when the walk is a usual one. */
export function answerQuickly(address: Local<I64>, kind: Local<I32>, walk: Callee): void {
  const offset = i32.and(i32.wrap(address.get()), i32.const(0xfff));
  const end = i32.add(offset, i32.and(kind.get(), i32.const(0xff)));
  when(i32.leU(end, i32.const(4096)), () => {
    const isWrite = keep.i32(
      i32.ne(i32.and(kind.get(), i32.const(accessKind.write)), i32.const(0)),
    );
    const result = keep.i32(call<I32>(walk, address.get(), isWrite.get()));
    when(i32.geS(result.get(), i32.const(0)), () => {
      const page = keep.i32(i32.and(result.get(), i32.const(pageBits)));
      const mark = keep.i32(i32.load8U(page.get(), layout.pageMarks));
      // A store to a page with code is TypeScript's.
      when(i32.eqz(i32.and(isWrite.get(), mark.get())), () => {
        fillTlb(address, result, page, mark);
        i32.add(hostOf(page), i32.and(i32.wrap(address.get()), i32.const(0xfff)));
        ret();
      });
    });
  });
}

/** As `Paging.fill`. */
function fillTlb(
  address: Local<I64>,
  result: Local<I32>,
  page: Local<I32>,
  mark: Local<I32>,
): void {
  const bit = (shift: number): I32 =>
    i32.and(i32.shrU(result.get(), i32.const(shift)), i32.const(1));
  const pageNumber = i32.wrap(i64.shrU(address.get(), i64.const(12)));
  const index = keep.i32(i32.and(pageNumber, i32.const(tlbEntries - 1)));
  const entry = keep.i32(i32.add(i32.shl(index.get(), i32.const(5)), ofState(state.tlb)));
  const tag = keep.i64(i64.and(address.get(), i64.const(-4096)));
  i64.store(entry.get(), tag.get(), tlbEntry.readTag);
  i64.store(entry.get(), i64.const(-1), tlbEntry.writeTag);
  const hasCode = (): I32 => i32.and(mark.get(), i32.const(pageMark.code));
  const marked = (): I32 => i32.or(mark.get(), i32.const(pageMark.writable));
  when(i32.and(bit(found.writable), i32.eqz(hasCode())), () => {
    i64.store(entry.get(), tag.get(), tlbEntry.writeTag);
    i32.store8(page.get(), marked(), layout.pageMarks);
  });
  const addend = (): I32 => i32.sub(hostOf(page), i32.wrap(tag.get()));
  i32.store(entry.get(), addend(), tlbEntry.addend);
  i32.store(entry.get(), page.get(), tlbEntry.physicalPage);
  when(bit(found.large), () => {
    const region = i32.wrap(i64.shrU(address.get(), i64.const(21)));
    const place = i32.shrU(i32.mul(region, i32.const(quickHash)), i32.const(32 - 13));
    i32.store8(place, i32.const(1), layout.largeRegions);
  });
  when(i32.eqz(bit(found.global)), () => listEntry(index));
  const count = (): I32 => i32.add(known(walkState.fills), i32.const(1));
  i32.store(i32.const(0), count(), layout.walk + walkState.fills);
}

/** Notes that a CR3 write forgets this entry. */
function listEntry(index: Local<I32>): void {
  const isUser = i32.eq(ofState(state.tlb), i32.const(layout.userTlb));
  const which = keep.i32(isUser);
  const place = keep.i32(i32.add(i32.mul(which.get(), i32.const(tlbEntries)), index.get()));
  when(i32.eqz(i32.load8U(place.get(), layout.filledMarks)), () => {
    i32.store8(place.get(), i32.const(1), layout.filledMarks);
    const counter = keep.i32(i32.shl(which.get(), i32.const(2)));
    const count = keep.i32(i32.load(counter.get(), layout.walk + walkState.filledCounts));
    const list = i32.mul(which.get(), i32.const(tlbEntries));
    const row = i32.shl(i32.add(list, count.get()), i32.const(1));
    i32.store16(row, index.get(), layout.filledLists);
    const next = (): I32 => i32.add(count.get(), i32.const(1));
    i32.store(counter.get(), next(), layout.walk + walkState.filledCounts);
  });
}

/** As `RunCaches.addPage`, of the page at `target`; `leave` when TypeScript has to walk. */
export function refillFetchTlb(
  target: Local<I64>,
  tag: Local<I64>,
  entry: Local<I32>,
  walk: Callee,
  leave: () => void,
): void {
  const result = keep.i32(call<I32>(walk, target.get(), i32.const(asked.fetch)));
  when(i32.ltS(result.get(), i32.const(0)), leave);
  i64.store(entry.get(), i64.and(tag.get(), i64.const(-4096)), layout.fetchTlb);
  const page = (): I32 => i32.and(result.get(), i32.const(pageBits));
  i32.store(entry.get(), page(), layout.fetchTlb + 8);
  const isUser = keep.i32(i32.eq(ofState(state.tlb), i32.const(layout.userTlb)));
  const pageNumber = i32.wrap(i64.shrU(target.get(), i64.const(12)));
  const hash = keep.i32(i32.shrU(i32.mul(pageNumber, i32.const(quickHash)), i32.const(32 - 15)));
  const list = i32.shl(isUser.get(), i32.const(16));
  const place = i32.add(list, i32.shl(hash.get(), i32.const(1)));
  const generation = i32.and(
    i32.load16U(i32.const(0), layout.state + state.modeTag + 6),
    i32.const(0x1fff),
  );
  i32.store16(place, generation, layout.knownPages);
  const isGlobal = i32.shrU(result.get(), i32.const(found.global));
  const isLocal = i32.eqz(i32.and(isGlobal, i32.const(1)));
  when(i32.and(isLocal, i32.eqz(isUser.get())), () =>
    i32.store(i32.const(0), i32.const(1), layout.walk + walkState.supervisorIsLocal),
  );
}
