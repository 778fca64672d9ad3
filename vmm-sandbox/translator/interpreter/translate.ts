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
import type { Instruction } from "../isa/decode.ts";
import type { SavedRuns } from "../saved-code.ts";
import { layout, record } from "../state.ts";
import {
  CodePage,
  crossingKey,
  markRegion,
  type RegionCode,
  type Run,
  type TranslateStatistics,
} from "./code-page.ts";
import { CodePageMap, resetHeads } from "./code-page-map.ts";
import { specialHandlers } from "./core.ts";
import type { HandlerSet } from "./forms.ts";
import type { HelperSites } from "./helper-sites.ts";
import { RecordWriter } from "./record-writer.ts";

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
  readonly helpers: HelperSites;
  private readonly writer: RecordWriter;
  private readonly pages: CodePageMap;
  /** Runs of one instruction across a page's end, by page, offset and mode. */
  private readonly crossings = new Map<number, { readonly first: number; readonly next: number }>();
  private readonly bytes: Uint8Array;
  private readonly halves: Uint16Array;
  private readonly words: Int32Array;
  /** Takes write access from the TLB when a physical page gets its first run. */
  private readonly protect: (page: number) => void;

  constructor(memory: WebAssembly.Memory, set: HandlerSet, protect: (page: number) => void) {
    this.bytes = new Uint8Array(memory.buffer);
    this.halves = new Uint16Array(memory.buffer);
    this.words = new Int32Array(memory.buffer);
    this.pages = new CodePageMap(memory);
    this.writer = new RecordWriter(memory, set);
    this.helpers = this.writer.helpers;
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
    return this.writer.next + maxRunRecords * record.sizeBytes > layout.recordsEnd;
  }

  /** Forgets everything; the caller also empties the jump cache. */
  flush(): void {
    this.statistics.flushes++;
    this.pages.clear();
    this.crossings.clear();
    this.writer.next = layout.records;
    this.helpers.clear();
  }

  /** Runs as if none had been entered yet; without those across two pages, which are few. */
  save(): SavedRuns {
    const rows = this.pages.rows();
    const records = this.bytes.slice(layout.records, this.writer.next);
    resetHeads(rows, records, this.hotThreshold);
    return { rows, helpers: this.helpers.save(), records };
  }

  /** Into an empty one, over the same RAM; the pages of the runs. */
  restore({ rows, helpers, records }: SavedRuns): readonly number[] {
    this.bytes.set(records, layout.records);
    this.writer.next = layout.records + records.length;
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
    const { writer } = this;
    const first = writer.next;
    writer.setMode(mode);
    let at = offset;
    let count = 0;
    let crossing = false;
    const counter = writer.record(specialHandlers.count, offset);
    this.words[(counter + record.immediate) >> 2] = this.hotThreshold;
    for (;;) {
      let status = writer.decode(host, at);
      if (status === "truncated") {
        if (count > 0) break;
        if (!following) {
          writer.next = first;
          return undefined;
        }
        crossing = true;
        this.halves[counter >> 1] = specialHandlers.pass;
        status = writer.decodeCrossing(host, at, following.host);
      }
      count++;
      const ends = writer.append(at, count, status === "ok");
      at += Math.max(1, writer.instruction.length);
      if (ends) {
        this.finish(page, offset, at, first, count, mode, crossing, following);
        return first;
      }
      if (crossing || at >= 4096 || count >= maxRunInstructions) break;
    }
    writer.appendGoOn(count);
    this.finish(page, offset, at, first, count, mode, crossing, following);
    return first;
  }

  /**
   * One instruction by itself, to be run at once: the next translation takes its place. 0: it
   * crosses the page's end, and needs the next one's `nextHost`.
   */
  translateAlone(host: number, offset: number, mode: number, nextHost?: number): number {
    const { writer } = this;
    const first = writer.next;
    writer.setMode(mode);
    let status = writer.decode(host, offset);
    if (status === "truncated") {
      if (nextHost === undefined) return 0;
      status = writer.decodeCrossing(host, offset, nextHost);
    }
    this.statistics.instructions++;
    if (!writer.append(offset, 1, status === "ok")) writer.appendGoOn(1);
    writer.next = first;
    return first;
  }

  /** What was decoded last; a copy. */
  lastInstruction(): Instruction {
    return this.helpers.get(this.helpers.numberOf(this.writer.instruction));
  }

  private finish(
    page: number,
    start: number,
    end: number,
    first: number,
    count: number,
    mode: number,
    crossing: boolean,
    following?: { readonly page: number },
  ): void {
    this.statistics.runs++;
    this.statistics.instructions += count;
    const records = (this.writer.next - first) / record.sizeBytes;
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
}
