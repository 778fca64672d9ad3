/**
 * Decides what is compiled, and links it: the handler of the first record of a hot run becomes the
 * region's function. Everything that led to the record leads there from then on.
 *
 * A region's code is found when its head is hot, while its pages are mapped, and compiled later in
 * company. In between a write to that code makes the head stale, and the region is dropped.
 */
import type { Range } from "../interpreter/code-page.ts";
import type { Translator } from "../interpreter/translate.ts";
import { layout, regionCellBytes, state } from "../state.ts";
import { compileRegions, type RegionJob } from "./compile.ts";
import { discover, type Region } from "./discover.ts";

/** Modules have a fixed cost, so hot heads wait for company, but not longer than this. */
const batchSize = 32;
const maxWaitMs = 8;
/** More functions than this, and all are dropped with the records. */
export const maxRegions = 30_000;

export type JitStatistics = {
  regions: number;
  modules: number;
  blocks: number;
  callsInLine: number;
  instructions: number;
  bytes: number;
  irreducible: number;
  dropped: number;
  milliseconds: number;
};

/** A run that was entered often enough, at a virtual address (low, high) and in a mode. */
type HotHead = {
  readonly low: number;
  readonly high: number;
  readonly mode: number;
  readonly record: number;
};

/** A call is taken in line when it was made this part of the times that made the head hot. */
const hotCallPart = 1 / 8;

/** Physical page number of code at an address in the current mode, or -1; raises nothing. */
export type CodePageAt = (low: number, high: number) => number;

/** The page `delta` pages after the one of (low, high), as two halves. */
function pageAfter(low: number, high: number, delta: number): readonly [number, number] {
  const sum = ((low & ~0xfff) >>> 0) + delta * 4096;
  return [sum | 0, (high + Math.floor(sum / 2 ** 32)) | 0];
}

export class Jit {
  readonly statistics: JitStatistics = {
    regions: 0,
    modules: 0,
    blocks: 0,
    callsInLine: 0,
    instructions: 0,
    bytes: 0,
    irreducible: 0,
    dropped: 0,
    milliseconds: 0,
  };
  private readonly queue: RegionJob[] = [];
  /** Physical pages by distance from the head's, of regions by number. */
  private readonly pages: (ReadonlyMap<number, number> | undefined)[] = [];
  private readonly words: Int32Array;
  private readonly pageAt: CodePageAt;
  private readonly hostOf: (physical: number) => number;
  private readonly memory: WebAssembly.Memory;
  private readonly bytes: Uint8Array;
  private readonly table: WebAssembly.Table;
  private readonly firstSlot: number;
  private readonly translator: Translator;
  private count = 0;
  private waitingSince = 0;

  constructor(
    memory: WebAssembly.Memory,
    table: WebAssembly.Table,
    translator: Translator,
    pageAt: CodePageAt,
    hostOf: (physical: number) => number,
  ) {
    this.memory = memory;
    this.bytes = new Uint8Array(memory.buffer);
    this.table = table;
    this.firstSlot = table.length;
    this.translator = translator;
    this.pageAt = pageAt;
    this.hostOf = hostOf;
    this.words = new Int32Array(memory.buffer);
  }

  /** WebAssembly that is kept; engines make three to five times as much machine code of it. */
  bytesLimit = 48 << 20;
  private bytesKept = 0;

  get isFull(): boolean {
    return this.count >= maxRegions || this.bytesKept >= this.bytesLimit;
  }

  /** Forgets all regions; the translator was flushed. */
  flush(): void {
    this.queue.length = 0;
    for (let i = 0; i < this.count; i++) this.table.set(this.firstSlot + i, null);
    const cells = layout.regionCells >> 2;
    this.words.fill(0, cells, cells + (this.count * regionCellBytes) / 4);
    this.pages.length = 0;
    this.bytesKept = 0;
    this.count = 0;
  }

  /** A run was entered often enough. */
  hot(head: HotHead): void {
    const start = performance.now();
    const job = this.find(head);
    if (job) {
      if (this.queue.length === 0) this.waitingSince = start;
      this.queue.push(job);
    }
    this.statistics.milliseconds += performance.now() - start;
    if (this.queue.length >= batchSize) this.compilePending();
  }

  /** Compiles what has waited long enough. */
  poll(): void {
    if (this.queue.length > 0 && performance.now() - this.waitingSince > maxWaitMs)
      this.compilePending();
  }

  private find({ low, high, mode, record }: HotHead): RegionJob | undefined {
    const { translator } = this;
    const pages = new Map<number, number>();
    const pageOf = (delta: number): number => {
      const known = pages.get(delta);
      if (known !== undefined) return known;
      const page = this.pageAt(...pageAfter(low, high, delta));
      pages.set(delta, page);
      return page;
    };
    const heat = (offset: number): number => {
      const page = pageOf(offset >> 12);
      return page < 0 ? 0 : translator.heat(page, offset & 0xfff, mode);
    };
    const region = discover(this.bytes, low & 0xfff, {
      page: (delta) => {
        const page = pageOf(delta);
        return translator.hasCode(page) ? this.hostOf(page * 4096) : undefined;
      },
      heat,
      hot: translator.hotThreshold * hotCallPart,
    });
    if (!region) return undefined;
    const code = {
      head: record,
      headPage: pageOf(0),
      ranges: rangesOf(region, pageOf),
    };
    translator.addRegion(code);
    const number = this.count++;
    this.pages[number] =
      region.pages.length > 1
        ? new Map(region.pages.map((delta) => [delta, pageOf(delta)]))
        : undefined;
    const tlbBase = mode & 1 ? layout.userTlb : layout.kernelTlb;
    return { region, number, slot: this.firstSlot + number, tlbBase, code };
  }

  /** Called by a region of several pages: 1 when they are mapped as they were. */
  validate(number: number): 0 | 1 {
    const at = (layout.state + state.virtualPage) >> 2;
    const low = this.words[at] as number;
    const high = this.words[at + 1] as number;
    for (const [delta, page] of this.pages[number] ?? [])
      if (this.pageAt(...pageAfter(low, high, delta)) !== page) return 0;
    const cell = (layout.regionCells + number * regionCellBytes) >> 2;
    const tag = (layout.state + state.modeTag) >> 2;
    this.words[cell] = low ^ (this.words[tag] as number);
    this.words[cell + 1] = high ^ (this.words[tag + 1] as number);
    return 1;
  }

  compilePending(): void {
    if (this.queue.length === 0) return;
    const start = performance.now();
    const jobs = this.queue.splice(0).filter(({ code }) => this.translator.isLive(code.head));
    if (jobs.length > 0) this.install(jobs);
    this.statistics.milliseconds += performance.now() - start;
  }

  private install(jobs: readonly RegionJob[]): void {
    const missing = this.firstSlot + this.count - this.table.length;
    if (missing > 0) this.table.grow(Math.max(missing, 256));
    const { bytes, done } = compileRegions(jobs, {
      initialPages: 1,
      maximumPages: 65_536,
      shared: true,
    });
    const module = new WebAssembly.Module(bytes);
    new WebAssembly.Instance(module, {
      env: { memory: this.memory, table: this.table },
    });
    this.statistics.modules++;
    this.statistics.bytes += bytes.length;
    this.bytesKept += bytes.length;
    this.statistics.irreducible += jobs.length - done.length;
    for (const { region, code, slot } of done) {
      this.statistics.regions++;
      this.statistics.blocks += region.blocks.size;
      this.statistics.callsInLine += region.calls;
      for (const node of region.blocks.values()) this.statistics.instructions += node.code.length;
      this.translator.link(code, slot);
    }
  }
}

/** What a region's blocks cover, by physical page. */
function rangesOf(
  region: Region,
  pageOf: (delta: number) => number,
): ReadonlyMap<number, readonly Range[]> {
  const ranges = new Map<number, Range[]>();
  for (const { start, end } of region.blocks.values())
    for (let at = start; at < end; at = (at | 0xfff) + 1) {
      const page = pageOf(at >> 12);
      const list = ranges.get(page) ?? [];
      list.push([at & 0xfff, Math.min(end - (at & ~0xfff), 4096)]);
      ranges.set(page, list);
    }
  return ranges;
}
