/**
 * Four-level paging (SDM volume 3A §4.5), the two- and three-level kinds of 32-bit systems, and the software TLB that caches it.
 *
 * Addresses travel as two 32-bit halves, so that no access allocates. The TLB holds 4 KiB entries
 * only; large pages are filled piece by piece. Two tables, one for CPL 3 and one for supervisor
 * accesses, so a change of privilege is a change of base address.
 *
 * ```
 * CR3 → PML4[47:39] → PDPT[38:30] → PD[29:21] → PT[20:12] → page
 *                     bit 7: 1 GiB   bit 7: 2 MiB
 * ```
 */
import { HOLE_END, HOLE_START } from "../../machine/layout.ts";
import {
  layout,
  pageMark,
  quickHash,
  state,
  tlbEntries,
  tlbEntry,
  tlbEntryBytes,
  walkState,
} from "../state.ts";
import { hostOfRam, tableIndex } from "./ram-host.ts";

export const access = { read: 0, write: 1, fetch: 2 } as const;

const present = 1;
const writable = 2;
const user = 4;
const accessed = 0x20;
const dirty = 0x40;
const large = 0x80;
const global = 0x100;
const entryWords = tlbEntryBytes / 4;

export const pageFaultBits = { present: 1, write: 2, user: 4, reserved: 8, fetch: 16 } as const;

export class Paging {
  /** Result of `walk`: the page's physical address, or -1; then `errorCode` says why. */
  physicalPage = 0;
  errorCode = 0;
  private pageIsWritable = false;
  pageIsGlobal = false;
  private pageIsLarge = false;
  private slowFills = 0;
  flushes = 0;

  private readonly words: Int32Array;
  private readonly ramBytes: number;
  /** By TLB: the entries that a CR3 write forgets, and whether they are listed. */
  private readonly filled: readonly Uint16Array[];
  private readonly isFilled: readonly Uint8Array[];
  /** By hash: 2 MiB regions of which pieces of larger pages were filled. */
  private readonly largeRegions: Uint8Array;
  private readonly marks: Uint8Array;

  constructor(memory: WebAssembly.Memory, ramBytes: number) {
    this.words = new Int32Array(memory.buffer);
    const of = (at: number, length: number) => new Uint8Array(memory.buffer, at, length);
    this.filled = [0, 1].map(
      (which) =>
        new Uint16Array(memory.buffer, layout.filledLists + which * tlbEntries * 2, tlbEntries),
    );
    this.isFilled = [0, 1].map((which) => of(layout.filledMarks + which * tlbEntries, tlbEntries));
    this.largeRegions = of(layout.largeRegions, 1 << largeRegionBits);
    this.marks = of(layout.pageMarks, (ramBytes + (HOLE_END - HOLE_START)) / 4096 + 1);
    this.ramBytes = ramBytes;
    this.flushAll();
  }

  /** Byte offset of physical RAM in the memory, or -1 when it is no RAM. */
  hostOf(physical: number): number {
    return hostOfRam(physical, this.ramBytes);
  }

  /** TLB entries filled. */
  get misses(): number {
    return this.slowFills + ((this.words[(layout.walk + walkState.fills) >> 2] as number) >>> 0);
  }

  private stateWord(offset: number): number {
    return this.words[(layout.state + offset) >> 2] as number;
  }

  get pagingEnabled(): boolean {
    return this.stateWord(state.cr0) < 0;
  }

  /**
   * Translates one page for an access by user or supervisor code, setting accessed and dirty bits.
   * False: `errorCode` is the page fault's.
   */
  walk(low: number, high: number, kind: number, isUser: boolean): boolean {
    if (!this.pagingEnabled) {
      this.physicalPage = (low & ~0xfff) >>> 0;
      this.pageIsWritable = true;
      this.pageIsGlobal = false;
      this.pageIsLarge = false;
      return true;
    }
    const base = (kind === access.write ? 2 : kind === access.fetch ? 16 : 0) | (isUser ? 4 : 0);
    const noExecute = (this.stateWord(state.efer) & 0x800) !== 0;
    // PML4 entries are 8 bytes: the index's three top bits come from the upper half.
    let table = this.tableAddress(this.stateWord(state.cr3), this.stateWord(state.cr3 + 4));
    let rights = writable | user;
    let executable = true;
    const isLong = (this.stateWord(state.efer) & 0x400) !== 0;
    if (!isLong) {
      if (!(this.stateWord(state.cr4) & 0x20)) return this.walk32(low, kind, isUser, base);
      const entry = this.directoryPointer(low);
      if (!(entry & present)) return this.fail(base);
      table = (entry & ~0xfff) >>> 0;
    }
    for (let level = isLong ? 3 : 1; level >= 0; level--) {
      const index = tableIndex(level, low, high);
      const host = this.hostOf(table + index * 8);
      const at = host < 0 ? -1 : host >>> 2;
      const entry = at < 0 ? 0 : (this.words[at] as number);
      const entryHigh = at < 0 ? 0 : (this.words[at + 1] as number);
      if (!(entry & present)) return this.fail(base);
      // Bits 51 to 48 and above are beyond our physical width; NX is reserved without EFER.NXE.
      if (entryHigh & 0x000f_ff00 || (entryHigh < 0 && !noExecute))
        return this.fail(base | pageFaultBits.present | pageFaultBits.reserved);
      rights &= entry;
      if (entryHigh < 0) executable = false;
      const isLeaf = level === 0 || ((entry & large) !== 0 && level < 3);
      if (!isLeaf) {
        if (entry & large && level === 3)
          return this.fail(base | pageFaultBits.present | pageFaultBits.reserved);
        if (!(entry & accessed)) this.words[at] = entry | accessed;
        table = this.tableAddress(entry, entryHigh);
        continue;
      }
      if (!this.permits(rights, executable, kind, isUser))
        return this.fail(base | pageFaultBits.present);
      const used = entry | accessed | (kind === access.write ? dirty : 0);
      if (used !== entry) this.words[at] = used;
      const offsetBits = level * 9;
      const within = level === 0 ? 0 : ((low >>> 12) & ((1 << offsetBits) - 1)) * 4096;
      const frame = this.tableAddress(entry, entryHigh);
      const size = 4096 * 2 ** offsetBits;
      this.physicalPage = frame - (frame % size) + within;
      this.pageIsGlobal = (entry & global) !== 0;
      this.pageIsLarge = level > 0;
      this.pageIsWritable =
        (used & dirty) !== 0 && this.permits(rights, executable, access.write, isUser);
      return true;
    }
    return false;
  }

  /** Three-level paging: CR3 names four entries, which carry no rights. SDM volume 3A §4.4. */
  private directoryPointer(low: number): number {
    const table = (this.stateWord(state.cr3) & ~31) >>> 0;
    const at = this.hostOf(table + (low >>> 30) * 8);
    return at < 0 ? 0 : (this.words[at >> 2] as number);
  }

  /** Two levels of 4-byte entries, 4 MiB pages with CR4.PSE. SDM volume 3A §4.3. */
  private walk32(low: number, kind: number, isUser: boolean, base: number): boolean {
    let table = (this.stateWord(state.cr3) & ~0xfff) >>> 0;
    let rights = writable | user;
    for (let level = 1; level >= 0; level--) {
      const host = this.hostOf(table + ((low >>> (12 + level * 10)) & 1023) * 4);
      const at = host >>> 2;
      const entry = host < 0 ? 0 : (this.words[at] as number);
      if (!(entry & present)) return this.fail(base);
      rights &= entry;
      const isLarge = level === 1 && (entry & large) !== 0 && !!(this.stateWord(state.cr4) & 0x10);
      if (level === 1 && !isLarge) {
        if (!(entry & accessed)) this.words[at] = entry | accessed;
        table = (entry & ~0xfff) >>> 0;
        continue;
      }
      if (!this.permits(rights, true, kind, isUser)) return this.fail(base | pageFaultBits.present);
      const used = entry | accessed | (kind === access.write ? dirty : 0);
      if (used !== entry) this.words[at] = used;
      this.physicalPage = isLarge
        ? ((entry & ~0x3f_ffff) >>> 0) + (low & 0x3f_f000)
        : (entry & ~0xfff) >>> 0;
      this.pageIsGlobal = (entry & global) !== 0;
      this.pageIsLarge = isLarge;
      this.pageIsWritable =
        (used & dirty) !== 0 && this.permits(rights, true, access.write, isUser);
      return true;
    }
    return false;
  }

  private tableAddress(low: number, high: number): number {
    return ((low & ~0xfff) >>> 0) + (high & 0xf_ffff) * 0x1_0000_0000;
  }

  private permits(rights: number, executable: boolean, kind: number, isUser: boolean): boolean {
    if (isUser && !(rights & user)) return false;
    if (kind === access.fetch) return executable || (this.stateWord(state.efer) & 0x800) === 0;
    if (kind === access.write && !(rights & writable))
      return !isUser && (this.stateWord(state.cr0) & 0x1_0000) === 0;
    return true;
  }

  private fail(code: number): false {
    // The fetch bit is only reported with NX enabled.
    this.errorCode = this.stateWord(state.efer) & 0x800 ? code : code & ~16;
    return false;
  }

  /** Remembers the page that `walk` just found. `allowWrite`: no code is cached from it. */
  fill(low: number, high: number, isUser: boolean, allowWrite: boolean): void {
    this.slowFills++;
    const which = isUser ? 1 : 0;
    const index = (low >>> 12) & (tlbEntries - 1);
    const at = ((isUser ? layout.userTlb : layout.kernelTlb) >> 2) + index * entryWords;
    const words = this.words;
    const host = this.hostOf(this.physicalPage);
    if (this.pageIsLarge) this.largeRegions[regionHash(low, high)] = 1;
    words[at] = low & ~0xfff;
    words[at + 1] = high;
    const write = allowWrite && this.pageIsWritable;
    if (write) this.mark(this.physicalPage / 4096, pageMark.writable);
    words[at + 2] = write ? low & ~0xfff : -1;
    words[at + 3] = write ? high : -1;
    words[at + tlbEntry.addend / 4] = (host - (low & ~0xfff)) | 0;
    words[at + tlbEntry.physicalPage / 4] = this.physicalPage / 4096;
    // Only what a CR3 write forgets is listed.
    const marks = this.isFilled[which] as Uint8Array;
    if (this.pageIsGlobal || marks[index]) return;
    marks[index] = 1;
    const counter = filledCounter(which);
    const count = words[counter] as number;
    (this.filled[which] as Uint16Array)[count] = index;
    words[counter] = count + 1;
  }

  private mark(page: number, bit: number): void {
    this.marks[page] = (this.marks[page] as number) | bit;
  }

  /** After whatever may have changed how WebAssembly walks. */
  private allowQuickWalk(): void {
    const words = this.words;
    const low = Math.min(this.ramBytes, HOLE_START);
    const efer = this.stateWord(state.efer);
    const table = this.tableAddress(this.stateWord(state.cr3), this.stateWord(state.cr3 + 4));
    // Long mode active, NX enabled; paging, and the supervisor minds pages that are not writable.
    const usual =
      (efer & 0xc00) === 0xc00 && ((this.stateWord(state.cr0) & 0x8001_0000) | 0) === usualCr0;
    words[(layout.walk + walkState.limit) >> 2] = low / 4096;
    words[(layout.walk + walkState.root) >> 2] = usual && table < low ? layout.ram + table : 0;
  }

  /** Host address of an access that the TLB allows, or 0. */
  find(low: number, high: number, bytes: number, write: boolean, isUser: boolean): number {
    if ((low & 0xfff) + bytes > 4096) return 0;
    const index = (low >>> 12) & (tlbEntries - 1);
    const at = ((isUser ? layout.userTlb : layout.kernelTlb) >> 2) + index * entryWords;
    const tag = write ? at + 2 : at;
    if (this.words[tag] !== (low & ~0xfff) || this.words[tag + 1] !== high) return 0;
    return (low + (this.words[at + tlbEntry.addend / 4] as number)) >>> 0;
  }

  private clear(which: number, index: number): void {
    const at = ((which ? layout.userTlb : layout.kernelTlb) >> 2) + index * entryWords;
    // One by one: `fill` is a call, and this happens for each entry that a CR3 write clears.
    const { words } = this;
    words[at] = -1;
    words[at + 1] = -1;
    words[at + 2] = -1;
    words[at + 3] = -1;
  }

  flushAll(): void {
    this.flushes++;
    this.allowQuickWalk();
    this.largeRegions.fill(0);
    for (let which = 0; which < 2; which++) {
      const base = (which ? layout.userTlb : layout.kernelTlb) >> 2;
      this.words.fill(-1, base, base + tlbEntries * entryWords);
      this.words[filledCounter(which)] = 0;
      (this.isFilled[which] as Uint8Array).fill(0);
    }
  }

  /** A CR3 write: global pages stay while CR4.PGE is set. */
  flushNonGlobal(): void {
    if (!(this.stateWord(state.cr4) & 0x80)) {
      this.flushAll();
      return;
    }
    this.flushes++;
    this.allowQuickWalk();
    for (let which = 0; which < 2; which++) {
      const list = this.filled[which] as Uint16Array;
      const marks = this.isFilled[which] as Uint8Array;
      const count = this.words[filledCounter(which)] as number;
      for (let i = 0; i < count; i++) {
        const index = list[i] as number;
        this.clear(which, index);
        marks[index] = 0;
      }
      this.words[filledCounter(which)] = 0;
    }
  }

  /** INVLPG: one entry, or (true) everything when a larger page was filled piece by piece there. */
  flushPage(low: number, high: number): boolean {
    if (this.largeRegions[regionHash(low, high)]) {
      this.flushAll();
      return true;
    }
    const index = (low >>> 12) & (tlbEntries - 1);
    this.clear(0, index);
    this.clear(1, index);
    return false;
  }

  /** Takes write access to a physical page from all entries: code is cached from it now. */
  protect(page: number): void {
    const mark = this.marks[page] as number;
    if (!(mark & pageMark.writable)) return;
    this.marks[page] = mark & ~pageMark.writable;
    const words = this.words;
    for (const base of [layout.kernelTlb >> 2, layout.userTlb >> 2])
      for (let at = base; at < base + tlbEntries * entryWords; at += entryWords)
        if (words[at + tlbEntry.physicalPage / 4] === page) {
          words[at + 2] = -1;
          words[at + 3] = -1;
        }
  }
}

const usualCr0 = 0x8001_0000 | 0;
const largeRegionBits = 13;

function filledCounter(which: number): number {
  return ((layout.walk + walkState.filledCounts) >> 2) + which;
}

function regionHash(low: number, high: number): number {
  return Math.imul((high << 11) | (low >>> 21), quickHash) >>> (32 - largeRegionBits);
}
