/**
 * Turns guest code into runs of records.
 *
 * A run starts where execution entered and goes straight on, past conditional jumps, to the first
 * unconditional transfer, the end of the page or a length limit. Runs are keyed by physical
 * address and mode, hold page offsets instead of addresses, and so serve every virtual address
 * their page is mapped at.
 *
 * A write to a page with runs goes to `invalidate`: the runs it overlaps become stale records,
 * which ask for a new look-up. Nothing is freed before the arena is full; then everything is.
 */
import { type CodeSize, codeSizeOf } from "../isa/code-size.ts";
import { Decoder, Instruction, noRegister, operandKind, ripRegister } from "../isa/decode.ts";
import type { SavedRuns } from "../saved-code.ts";
import { layout, record, state } from "../state.ts";
import {
  CodePage,
  crossingKey,
  endsRun,
  markRegion,
  type RegionCode,
  type Run,
  type TranslateStatistics,
} from "./code-page.ts";
import { CodePageMap, resetHeads } from "./code-page-map.ts";
import { firstPlanHandler, specialHandlers } from "./core.ts";
import { addressForm, emitters, type HandlerSet } from "./forms.ts";
import { HelperSites } from "./helper-sites.ts";

/** Instructions per run; long enough for any basic block, short enough to bound wasted decoding. */
const maxRunInstructions = 48;

/** A run never needs more: a counter, two records an instruction, the final jump. */
const maxRunRecords = maxRunInstructions * 2 + 3;

export class Translator {
  readonly statistics: TranslateStatistics = {
    runs: 0,
    instructions: 0,
    flushes: 0,
    invalidations: 0,
    regionsDropped: 0,
  };
  readonly helpers = new HelperSites();
  private readonly pages = new CodePageMap();
  /** Runs of one instruction across a page's end, by page, offset and mode. */
  private readonly crossings = new Map<number, { readonly first: number; readonly next: number }>();
  private readonly bytes: Uint8Array;
  private readonly halves: Uint16Array;
  private readonly words: Int32Array;
  private next: number = layout.records;
  private readonly decoder = new Decoder();
  private readonly instruction = new Instruction();
  private readonly staging = new Uint8Array(32);
  private readonly set: HandlerSet;
  /** Whether 16- or 32-bit code is being translated. */
  private legacy = false;
  /** Takes write access from the TLB when a physical page gets its first run. */
  private readonly protect: (page: number) => void;

  constructor(memory: WebAssembly.Memory, set: HandlerSet, protect: (page: number) => void) {
    this.bytes = new Uint8Array(memory.buffer);
    this.halves = new Uint16Array(memory.buffer);
    this.words = new Int32Array(memory.buffer);
    this.set = set;
    this.protect = protect;
  }

  hasCode(page: number): boolean {
    return this.pages.has(page);
  }

  /** Record of the run at a physical page and offset, or 0. */
  find(page: number, offset: number, mode: number): number {
    return this.pages.get(page)?.entries.get(mode)?.[offset] ?? 0;
  }

  /** The run of an instruction that crosses from `page` into `next`, or 0. */
  findCrossing(page: number, offset: number, mode: number, next: number): number {
    const known = this.crossings.get(crossingKey(page, offset, mode));
    if (known === undefined || known.next !== next) return 0;
    return this.halves[known.first >> 1] === specialHandlers.stale ? 0 : known.first;
  }

  /** Entries after which a run is compiled: docs/decisions/065. */
  hotThreshold = 4000;

  /** Whether the run that begins with this record still stands for its code. */
  isLive(first: number): boolean {
    return this.halves[first >> 1] !== specialHandlers.stale;
  }

  /** Watches the bytes of a region; when they change, its head becomes stale. */
  addRegion(region: RegionCode): void {
    for (const [page, ranges] of region.ranges) {
      const known = this.pageOf(page);
      known.regions.add(region);
      markRegion(known, ranges);
    }
  }

  /** Makes the region's function the handler of the first record of the run it replaces. */
  link(region: RegionCode, slot: number): void {
    this.halves[region.head >> 1] = slot;
  }

  /** The run is hot and waits to be compiled; it counts no longer. */
  stopCounting(first: number): void {
    if (this.halves[first >> 1] === specialHandlers.count)
      this.halves[first >> 1] = specialHandlers.pass;
  }

  get isFull(): boolean {
    return this.next + maxRunRecords * record.sizeBytes > layout.recordsEnd;
  }

  /** Forgets everything; the caller also empties the jump cache. */
  flush(): void {
    this.statistics.flushes++;
    this.pages.clear();
    this.crossings.clear();
    this.next = layout.records;
    this.helpers.clear();
  }

  /** Runs as if none had been entered yet; without those across two pages, which are few. */
  save(): SavedRuns {
    const rows = this.pages.rows();
    const records = this.bytes.slice(layout.records, this.next);
    resetHeads(rows, records, this.hotThreshold);
    return { rows, helpers: this.helpers.save(), records };
  }

  /** Into an empty one, over the same RAM; the pages of the runs. */
  restore({ rows, helpers, records }: SavedRuns): readonly number[] {
    this.bytes.set(records, layout.records);
    this.next = layout.records + records.length;
    this.helpers.restore(helpers);
    this.pages.freeze(rows);
    return this.pages.frozen;
  }

  /**
   * Translates at `offset` of the physical page whose bytes are at `host`. An instruction that
   * crosses into the next page stands alone and needs `nextHost` (its page `nextPage`); undefined
   * when that is needed and missing.
   */
  translate(
    page: number,
    host: number,
    offset: number,
    mode: number,
    following?: { readonly page: number; readonly host: number },
  ): number | undefined {
    const first = this.next;
    const codeSize = codeSizeOf(mode);
    this.legacy = codeSize !== 64;
    let at = offset;
    let count = 0;
    let crossing = false;
    const counter = this.record(specialHandlers.count, offset);
    this.words[(counter + record.immediate) >> 2] = this.hotThreshold;
    for (;;) {
      const { instruction } = this;
      let status = this.decoder.decode(instruction, this.bytes, host + at, host + 4096, codeSize);
      if (status === "truncated") {
        if (count > 0) break;
        if (!following) {
          this.next = first;
          return undefined;
        }
        crossing = true;
        this.halves[counter >> 1] = specialHandlers.pass;
        status = this.decodeCrossing(host, at, following.host, codeSize);
      }
      count++;
      const ends = this.append(at, count, status === "ok");
      at += Math.max(1, instruction.length);
      if (ends) {
        this.finish(page, offset, at, first, mode, crossing, following);
        return first;
      }
      if (crossing || at >= 4096 || count >= maxRunInstructions) break;
    }
    this.appendGoOn(count);
    this.finish(page, offset, at, first, mode, crossing, following);
    return first;
  }

  /**
   * One instruction by itself, to be run at once: the next translation takes its place. 0: it
   * crosses the page's end, and needs the next one's `nextHost`.
   */
  translateAlone(host: number, offset: number, mode: number, nextHost?: number): number {
    const first = this.next;
    const codeSize = codeSizeOf(mode);
    this.legacy = codeSize !== 64;
    const { instruction } = this;
    const end = host + 4096;
    let status = this.decoder.decode(instruction, this.bytes, host + offset, end, codeSize);
    if (status === "truncated") {
      if (nextHost === undefined) return 0;
      status = this.decodeCrossing(host, offset, nextHost, codeSize);
    }
    if (!this.append(offset, 1, status === "ok")) this.appendGoOn(1);
    this.next = first;
    return first;
  }

  /** What was decoded last; a copy. */
  lastInstruction(): Instruction {
    return this.helpers.get(this.helpers.numberOf(this.instruction));
  }

  private decodeCrossing(host: number, at: number, nextHost: number, codeSize: CodeSize) {
    const here = 4096 - at;
    this.staging.set(this.bytes.subarray(host + at, host + 4096));
    this.staging.set(this.bytes.subarray(nextHost, nextHost + 16), here);
    return this.decoder.decode(this.instruction, this.staging, 0, here + 16, codeSize);
  }

  private finish(
    page: number,
    start: number,
    end: number,
    first: number,
    mode: number,
    crossing: boolean,
    following?: { readonly page: number },
  ): void {
    this.statistics.runs++;
    const records = (this.next - first) / record.sizeBytes;
    const here = this.pageOf(page);
    this.addRun(here, { start, end: Math.min(end, 4096), firstRecord: first, records });
    if (crossing && following) {
      const there = this.pageOf(following.page);
      this.addRun(there, { start: 0, end: end - 4096, firstRecord: first, records });
      this.crossings.set(crossingKey(page, start, mode), { first, next: following.page });
      return; // its second page may be another one next time: never found by offset alone
    }
    let entries = here.entries.get(mode);
    if (!entries) {
      entries = new Int32Array(4096);
      here.entries.set(mode, entries);
    }
    entries[start] = first;
  }

  private pageOf(page: number): CodePage {
    let known = this.pages.get(page);
    if (!known) {
      known = new CodePage();
      this.pages.set(page, known);
      this.protect(page);
    }
    return known;
  }

  private addRun(page: CodePage, run: Run): void {
    page.runs.push(run);
    page.lines.fill(1, run.start >> 6, ((run.end - 1) >> 6) + 1);
  }

  /**
   * A write to [start, end) of a physical page: drops the runs and regions it touches. True when a
   * region was dropped: code of it may be running.
   */
  invalidate(page: number, start: number, end: number): boolean {
    const known = this.pages.get(page);
    if (!known) return false;
    let touched = false;
    for (let line = start >> 6; line <= (end - 1) >> 6; line++)
      if (known.lines[line]) touched = true;
    if (!touched) return false;
    this.statistics.invalidations++;
    let dropped = 0;
    for (const region of known.regions) {
      const ranges = region.ranges.get(page) ?? [];
      if (!ranges.some(([from, to]) => from < end && to > start)) continue;
      this.dropRegion(region);
      dropped++;
    }
    const runs = known.runs.splice(0);
    known.lines.fill(0);
    for (const run of runs)
      if (run.start >= end || run.end <= start) this.addRun(known, run);
      else this.dropRun(known, run);
    for (const region of known.regions) {
      if (this.isLive(region.head)) markRegion(known, region.ranges.get(page) ?? []);
      else {
        this.dropRegion(region);
        dropped++;
      }
    }
    if (known.runs.length === 0 && known.regions.size === 0) this.pages.delete(page);
    this.statistics.regionsDropped += dropped;
    return dropped > 0;
  }

  /** Nothing leads to the region's function any more; its head asks for a new run. */
  private dropRegion(region: RegionCode): void {
    this.halves[region.head >> 1] = specialHandlers.stale;
    for (const page of region.ranges.keys()) this.pages.get(page)?.regions.delete(region);
    const home = this.pages.get(region.headPage);
    const at = home?.runs.findIndex((run) => run.firstRecord === region.head) ?? -1;
    const [run] = at < 0 ? [] : (home?.runs.splice(at, 1) ?? []);
    if (home && run) this.dropRun(home, run);
  }

  private dropRun(page: CodePage, run: Run): void {
    for (let i = 0; i < run.records; i++)
      this.halves[(run.firstRecord + i * record.sizeBytes) >> 1] = specialHandlers.stale;
    for (const entries of page.entries.values())
      if (entries[run.start] === run.firstRecord) entries[run.start] = 0;
  }

  /** Appends the records of the decoded instruction; true when the run ends with it. */
  private append(at: number, count: number, known: boolean): boolean {
    const { instruction } = this;
    this.statistics.instructions++;
    const where = at | (Math.min(instruction.length, 15) << 12);
    if (!known) {
      this.appendHelper(where);
      return true;
    }
    const mnemonic = instruction.row.mnemonic;
    const memory = this.usesMemory();
    const rm = memory ? addressForm(instruction, this.set, this.legacy) : "register";
    const plan = this.set.find(instruction, rm, this.legacy);
    if (rm === "memory") this.appendAddress(where);
    if (plan < 0) this.appendHelper(where);
    else this.appendPlan(where, plan, rm === "base", count);
    if (endsRun.has(mnemonic)) {
      // Whatever may change the mode or the mapping is followed by a fresh look-up.
      if (plan >= 0 || !emitters[mnemonic]) this.appendGoOn(count);
      return true;
    }
    return false;
  }

  private usesMemory(): boolean {
    const { instruction } = this;
    for (let i = 0; i < instruction.operandCount; i++)
      if (instruction.kinds[i] === operandKind.memory) return true;
    const name = instruction.row.mnemonic;
    return /^(movs8|movsv|lods|cmps8|cmpsv|xlat|outs|maskmov)/.test(name);
  }

  private record(handler: number, where: number): number {
    const at = this.next;
    this.next = at + record.sizeBytes;
    this.words.fill(0, at >> 2, (at >> 2) + 4);
    this.halves[at >> 1] = handler;
    this.halves[(at + record.where) >> 1] = where;
    return at;
  }

  private appendAddress(where: number): void {
    const { instruction } = this;
    const { base, index } = instruction;
    const segment = this.legacy ? legacySegment(instruction) : instruction.segment;
    let handler: number = specialHandlers.addressBase;
    if (index !== noRegister) handler = specialHandlers.addressIndex;
    if (segment >= 4) handler = specialHandlers.addressSegment;
    if (instruction.addressSize !== 64) handler = specialHandlers.address32;
    if (base === ripRegister)
      handler = segment < 4 ? specialHandlers.addressRip : specialHandlers.addressRipSegment;
    if (this.legacy)
      handler =
        instruction.addressSize === 16
          ? specialHandlers.addressLegacy16
          : specialHandlers.addressLegacy32;
    const at = this.record(handler, where);
    if (instruction.isAbsolute64) {
      this.halves[at >> 1] = specialHandlers.addressAbsolute;
      this.halves[(at + record.a) >> 1] =
        segment >= 4 ? state.segmentBase + segment * 8 : state.zero;
      this.words[(at + record.immediate) >> 2] = instruction.displacement;
      this.words[(at + record.immediate + 4) >> 2] = instruction.displacementHigh;
      return;
    }
    this.halves[(at + record.a) >> 1] =
      base === noRegister || base === ripRegister ? state.zero : base * 8;
    this.halves[(at + record.b) >> 1] = index === noRegister ? state.zero : index * 8;
    let displacement = instruction.displacement;
    // SDM volume 2, POP: an address with RSP counts it after the increment.
    if (instruction.row.mnemonic === "pop" && base === 4) displacement += instruction.size / 8;
    const name = instruction.row.mnemonic;
    if (/^(movs8|movsv|lods|cmps8|cmpsv|outs)/.test(name)) {
      displacement = 0; // only the segment's base: the emitter adds rSI itself
      this.halves[(at + record.a) >> 1] = state.zero;
    }
    if (name === "xlat" || name.startsWith("maskmov"))
      this.halves[(at + record.a) >> 1] = name === "xlat" ? 3 * 8 : 7 * 8;
    this.words[(at + record.immediate) >> 2] = displacement;
    this.halves[(at + record.c) >> 1] = instruction.scale;
    const hasBase = this.legacy ? segment >= 0 : segment >= 4;
    this.halves[(at + record.d) >> 1] = hasBase ? state.segmentBase + segment * 8 : state.zero;
  }

  private appendPlan(where: number, plan: number, isBase: boolean, count: number): void {
    const { instruction } = this;
    const at = this.record(firstPlanHandler + plan, where);
    let field: number = record.a;
    let immediate = false;
    for (let i = 0; i < instruction.operandCount; i++) {
      const value = instruction.values[i] as number;
      const kind = instruction.kinds[i];
      if (kind === operandKind.register || kind === operandKind.xmm || kind === operandKind.mmx) {
        const offset =
          kind === operandKind.xmm
            ? state.xmm + value * 16
            : kind === operandKind.mmx
              ? state.st + value * 16
              : value >= 16
                ? (value - 16) * 8 + 1
                : value * 8;
        this.halves[(at + field) >> 1] = offset;
        field = field === record.a ? record.b : record.immediate;
      } else if (kind === operandKind.immediate || kind === operandKind.relative) immediate = true;
    }
    if (isBase) {
      this.halves[(at + record.b) >> 1] = instruction.base * 8;
      this.words[(at + record.immediate) >> 2] = instruction.displacement;
    }
    if (!immediate) return;
    const last = instruction.operandCount - 1;
    const size = instruction.sizes[last] as number;
    const clean =
      size === 8
        ? instruction.immediate & 0xff
        : size === 16
          ? instruction.immediate & 0xffff
          : instruction.immediate;
    if (instruction.kinds[last] === operandKind.relative) {
      this.words[(at + record.immediate) >> 2] = instruction.immediate;
      this.halves[(at + record.a) >> 1] = count;
      return;
    }
    this.words[(at + (isBase ? record.immediate2 : record.immediate)) >> 2] = clean;
    if (size === 64 && instruction.immediateHigh !== instruction.immediate >> 31)
      this.wideImmediate(at);
  }

  /** MOV r64, imm64 is the only one: it has a handler that reads eight bytes. */
  private wideImmediate(at: number): void {
    this.halves[at >> 1] = specialHandlers.moveWide;
    this.words[(at + record.immediate) >> 2] = this.instruction.immediate;
    this.words[(at + record.immediate + 4) >> 2] = this.instruction.immediateHigh;
  }

  private appendHelper(where: number): void {
    const at = this.record(specialHandlers.helper, where);
    this.words[(at + record.immediate) >> 2] = this.helpers.numberOf(this.instruction);
  }

  /** Continues after the last instruction: its own record says where that is. */
  private appendGoOn(count: number): void {
    const previous = this.next - record.sizeBytes;
    const where = this.halves[(previous + record.where) >> 1] as number;
    const at = this.record(specialHandlers.goOn, where);
    this.halves[(at + record.a) >> 1] = count;
  }
}

/** Where a memory operand of 16- or 32-bit code is: as overridden, else SS with a stack register. */
function legacySegment({ segment, base, row }: Instruction): number {
  if (segment >= 0) return segment;
  if (row.mnemonic === "lea") return -1;
  return base === 4 || base === 5 ? 2 : 3;
}
