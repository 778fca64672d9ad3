/**
 * Decides what is compiled, and links it: the first record of a hot run becomes a jump into the
 * region's function. Everything that led to the record leads there from then on.
 */
import type { Translator } from "../interpreter/translate.ts";
import { layout } from "../state.ts";
import { compileRegions, type RegionJob } from "./compile.ts";
import { discover } from "./discover.ts";

/** Modules have a fixed cost, so hot heads wait for company, but not longer than this. */
const batchSize = 32;
const maxWaitMs = 8;
/** More functions than this, and all are dropped with the records. */
export const maxRegions = 30_000;

export type JitStatistics = {
  regions: number;
  modules: number;
  blocks: number;
  instructions: number;
  bytes: number;
  irreducible: number;
  dropped: number;
  milliseconds: number;
};

type HotHead = {
  readonly page: number;
  readonly offset: number;
  readonly mode: number;
  readonly host: number;
  readonly record: number;
};

/** Functions of the core that regions call. */
export type RegionImports = Readonly<Record<"slow" | "commit" | "raise" | "jump", unknown>>;

export class Jit {
  readonly statistics: JitStatistics = {
    regions: 0,
    modules: 0,
    blocks: 0,
    instructions: 0,
    bytes: 0,
    irreducible: 0,
    dropped: 0,
    milliseconds: 0,
  };
  private readonly queue: HotHead[] = [];
  private readonly memory: WebAssembly.Memory;
  private readonly bytes: Uint8Array;
  private readonly table: WebAssembly.Table;
  private readonly firstSlot: number;
  private readonly translator: Translator;
  private readonly imports: RegionImports;
  private count = 0;
  private waitingSince = 0;

  constructor(
    memory: WebAssembly.Memory,
    table: WebAssembly.Table,
    translator: Translator,
    imports: RegionImports,
  ) {
    this.memory = memory;
    this.bytes = new Uint8Array(memory.buffer);
    this.table = table;
    this.firstSlot = table.length;
    this.translator = translator;
    this.imports = imports;
  }

  get isFull(): boolean {
    return this.count >= maxRegions;
  }

  /** Forgets all regions; the translator was flushed. */
  flush(): void {
    this.queue.length = 0;
    for (let i = 0; i < this.count; i++) this.table.set(this.firstSlot + i, null);
    this.count = 0;
  }

  /** A run was entered often enough. */
  hot(head: HotHead): void {
    if (this.queue.length === 0) this.waitingSince = performance.now();
    this.queue.push(head);
    if (this.queue.length >= batchSize) this.compilePending();
  }

  /** Compiles what has waited long enough. */
  poll(): void {
    if (this.queue.length > 0 && performance.now() - this.waitingSince > maxWaitMs)
      this.compilePending();
  }

  compilePending(): void {
    if (this.queue.length === 0) return;
    const start = performance.now();
    const heads = this.queue.splice(0).filter((head) => this.translator.isLive(head.record));
    const jobs: (RegionJob & { readonly head: HotHead })[] = [];
    for (const head of heads) {
      const region = discover(
        this.bytes,
        head.host,
        head.offset,
        (offset) => this.translator.find(head.page, offset, head.mode) !== 0,
      );
      if (!region) continue;
      const number = this.count++;
      const tlbBase = head.mode & 1 ? layout.userTlb : layout.kernelTlb;
      jobs.push({ region, number, slot: this.firstSlot + number, tlbBase, head });
    }
    if (jobs.length > 0) this.install(jobs);
    this.statistics.milliseconds += performance.now() - start;
  }

  private install(jobs: readonly (RegionJob & { readonly head: HotHead })[]): void {
    const missing = this.firstSlot + this.count - this.table.length;
    if (missing > 0) this.table.grow(Math.max(missing, 256));
    const { bytes, done } = compileRegions(jobs, {
      initialPages: 1,
      maximumPages: 65_536,
      shared: true,
    });
    const module = new WebAssembly.Module(bytes);
    new WebAssembly.Instance(module, {
      env: { memory: this.memory, table: this.table, ...this.imports },
    });
    this.statistics.modules++;
    this.statistics.bytes += bytes.length;
    this.statistics.irreducible += jobs.length - done.length;
    for (const job of jobs) {
      if (!done.includes(job)) continue;
      this.statistics.regions++;
      this.statistics.blocks += job.region.blocks.size;
      const ranges: (readonly [number, number])[] = [];
      for (const node of job.region.blocks.values()) {
        ranges.push([node.start, node.end]);
        this.statistics.instructions += node.code.length;
      }
      this.translator.link(job.head.page, job.head.record, job.slot, ranges);
    }
  }
}
