/**
 * Has hot code compiled, and links it: the handler of the first record of a hot run becomes the
 * region's function. Everything that led to the record leads there from then on.
 *
 * ```
 * hot run ─► request ─► compiler, here or on its own thread ─► compiled module ─► linked
 *                       reads code and page tables as they are    its code is compared first
 * ```
 *
 * What the compiler read may have changed meanwhile: before a region is linked its pages are watched
 * and its bytes compared. A write in between also makes the head stale, and the region is dropped.
 */
import type { RegionCode } from "../interpreter/code-page.ts";
import type { Translator } from "../interpreter/translate.ts";
import { layout, regionCellBytes, state } from "../state.ts";
import type { CompiledModule, CompiledRegion, RegionCompiling } from "./request.ts";

/** More functions than this, and all are dropped with the records. */
export const maxRegions = 30_000;
/**
 * The same for the table's length times the modules that joined it: V8 until 12 keeps a copy of the
 * whole table, 20 bytes an entry, for each instance that imports it.
 */
const maxTableCopies = 2 ** 23;

export type JitStatistics = {
  regions: number;
  modules: number;
  blocks: number;
  callsInLine: number;
  instructions: number;
  bytes: number;
  irreducible: number;
  /** Came too late: their code had changed. */
  outdated: number;
  /** Spent by the compiler, on whatever thread. */
  milliseconds: number;
};

/** A run that was entered often enough, at a virtual address (low, high) of a physical page. */
type HotHead = {
  readonly low: number;
  readonly high: number;
  readonly page: number;
  readonly mode: number;
  readonly record: number;
};

/** What the vCPU does for its compiled code. */
export type JitHost = {
  /** Physical page number of code at an address in the current mode, or -1; raises nothing. */
  readonly pageAt: (low: number, high: number) => number;
  readonly hostOf: (physical: number) => number;
  /** Code of this page is about to be read: writes by devices are reported from here on. */
  readonly watch: (page: number) => void;
};

export class Jit {
  readonly statistics: JitStatistics = {
    regions: 0,
    modules: 0,
    blocks: 0,
    callsInLine: 0,
    instructions: 0,
    bytes: 0,
    irreducible: 0,
    outdated: 0,
    milliseconds: 0,
  };
  /** Physical pages by distance from the head's, of regions by number. */
  private readonly pages: (CompiledRegion["pages"] | undefined)[] = [];
  private readonly words: Int32Array;
  private readonly bytes: Uint8Array;
  private readonly memory: WebAssembly.Memory;
  private table: WebAssembly.Table;
  private joined = 0;
  private readonly firstSlot: number;
  private readonly translator: Translator;
  private readonly host: JitHost;
  private readonly compiling: RegionCompiling;
  private count = 0;
  private epoch = 0;

  constructor(
    memory: WebAssembly.Memory,
    table: WebAssembly.Table,
    translator: Translator,
    compiling: RegionCompiling,
    host: JitHost,
  ) {
    this.memory = memory;
    this.words = new Int32Array(memory.buffer);
    this.bytes = new Uint8Array(memory.buffer);
    this.table = table;
    this.firstSlot = table.length;
    this.translator = translator;
    this.compiling = compiling;
    this.host = host;
  }

  /** WebAssembly that is kept; engines make three to five times as much machine code of it. */
  bytesLimit = 48 << 20;
  private bytesKept = 0;

  get isFull(): boolean {
    return (
      this.count >= maxRegions ||
      this.bytesKept >= this.bytesLimit ||
      this.joined * this.table.length >= maxTableCopies
    );
  }

  /** Forgets all regions; the translator was flushed. */
  flush(): void {
    this.epoch++;
    this.compiling.forget();
    const cells = layout.regionCells >> 2;
    this.words.fill(0, cells, cells + (this.count * regionCellBytes) / 4);
    this.pages.length = 0;
    this.bytesKept = 0;
    this.count = 0;
  }

  /** Whether the table's present life has seen any. */
  get hasModules(): boolean {
    return this.joined > 0;
  }

  /** After `flush`: a table that knows none of the regions before. */
  joinTable(table: WebAssembly.Table): void {
    this.table = table;
    this.joined = 0;
  }

  /** A run was entered often enough. */
  hot({ record, ...head }: HotHead): void {
    const number = this.count++;
    const isPaged = (this.words[(layout.state + state.cr0) >> 2] as number) < 0;
    const [low, high] = this.stateHalves(state.cr3);
    this.compiling.submit({
      ...head,
      head: record,
      epoch: this.epoch,
      number,
      slot: this.firstSlot + number,
      root: isPaged ? (low >>> 12) + (high & 0xf_ffff) * 0x10_0000 : -1,
      threshold: this.translator.hotThreshold,
    });
    this.poll();
  }

  /** Links what is ready. */
  poll(): void {
    for (let done = this.compiling.take(); done; done = this.compiling.take())
      if (done.epoch === this.epoch) this.install(done);
  }

  /** The same, after everything that waits was compiled, where that can be done here. */
  compilePending(): void {
    this.compiling.hurry();
    this.poll();
  }

  /** Called by a region of several pages: 1 when they are mapped as they were. */
  validate(number: number): 0 | 1 {
    const [low, high] = this.stateHalves(state.virtualPage);
    for (const [delta, page] of this.pages[number] ?? [])
      if (this.host.pageAt(...pageAfter(low, high, delta)) !== page) return 0;
    const cell = (layout.regionCells + number * regionCellBytes) >> 2;
    const [tagLow, tagHigh] = this.stateHalves(state.modeTag);
    this.words[cell] = low ^ tagLow;
    this.words[cell + 1] = high ^ tagHigh;
    return 1;
  }

  private stateHalves(offset: number): readonly [number, number] {
    const at = (layout.state + offset) >> 2;
    return [this.words[at] as number, this.words[at + 1] as number];
  }

  private install({ module, sizeBytes, regions, irreducible, milliseconds }: CompiledModule): void {
    const missing = this.firstSlot + this.count - this.table.length;
    if (missing > 0) this.table.grow(Math.max(missing, this.table.length));
    new WebAssembly.Instance(module, { env: { memory: this.memory, table: this.table } });
    const { statistics } = this;
    this.joined++;
    statistics.modules++;
    statistics.bytes += sizeBytes;
    statistics.irreducible += irreducible;
    statistics.milliseconds += milliseconds;
    this.bytesKept += sizeBytes;
    for (const region of regions) this.link(region);
  }

  private link(compiled: CompiledRegion): void {
    const { request, pages, ranges, blocks, calls, instructions } = compiled;
    const { head, number, slot, page: headPage } = request;
    const { translator, statistics } = this;
    if (!translator.isLive(head)) return;
    for (const [page] of ranges) this.host.watch(page);
    if (!this.isUnchanged(compiled)) {
      statistics.outdated++;
      return;
    }
    const code: RegionCode = { head, headPage, ranges: new Map(ranges) };
    translator.addRegion(code);
    this.pages[number] = pages.length > 1 ? pages : undefined;
    statistics.regions++;
    statistics.blocks += blocks;
    statistics.callsInLine += calls;
    statistics.instructions += instructions;
    translator.link(code, slot);
  }

  private isUnchanged({ ranges, code }: CompiledRegion): boolean {
    let at = 0;
    for (const [page, list] of ranges) {
      const host = this.host.hostOf(page * 4096);
      for (const [from, to] of list)
        for (let i = from; i < to; i++) if (this.bytes[host + i] !== code[at++]) return false;
    }
    return true;
  }
}

/** The page `delta` pages after the one of (low, high), as two halves. */
function pageAfter(low: number, high: number, delta: number): readonly [number, number] {
  const sum = ((low & ~0xfff) >>> 0) + delta * 4096;
  return [sum | 0, (high + Math.floor(sum / 2 ** 32)) | 0];
}
