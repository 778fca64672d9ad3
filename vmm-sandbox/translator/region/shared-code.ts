/**
 * The code around a hot head as any thread can read it: bytes, page tables, heat and runs all lie in
 * the one memory that the vCPU's thread goes on changing.
 *
 * Nothing read here is believed for good: code comes from copies of its pages, and the vCPU's thread
 * compares the bytes that mattered before it links a region (jit.ts); pages of other addresses are
 * checked where they are entered (compile.ts).
 */
import type { Range } from "../interpreter/code-page.ts";
import { specialHandlers } from "../interpreter/core.ts";
import { hostOfRam, tableIndex } from "../mmu/ram-host.ts";
import { layout, record, runIndexEntries, runIndexHash } from "../state.ts";
import { type CodeSource, maxPages, type Region } from "./discover.ts";
import type { RegionRequest } from "./request.ts";

const present = 1;
const user = 4;
const large = 0x80;

/** A call is taken in line when it was made this part of the times that made the head hot. */
const hotCallPart = 1 / 8;

export class SharedCode {
  /** Copies of the pages asked for, one after the other. */
  readonly bytes = new Uint8Array(maxPages * 4096);
  private readonly ram: Uint8Array;
  private readonly words: Int32Array;
  private readonly halves: Uint16Array;
  private readonly ramBytes: number;
  private copies = new Map<number, number>();
  private pages = new Map<number, number>();

  constructor(memory: WebAssembly.Memory, ramBytes: number) {
    this.ram = new Uint8Array(memory.buffer);
    this.words = new Int32Array(memory.buffer);
    this.halves = new Uint16Array(memory.buffer);
    this.ramBytes = ramBytes;
  }

  /** Whether the head still stands for its code. */
  isLive({ head }: RegionRequest): boolean {
    return this.halves[head >> 1] !== specialHandlers.stale;
  }

  /** The surroundings of one head; those of the one before are forgotten. */
  around(request: RegionRequest): CodeSource {
    this.copies = new Map();
    this.pages = new Map([[0, request.page]]);
    return {
      page: (delta) => this.copy(delta, request),
      heat: (offset) => {
        const page = this.pageAfter(offset >> 12, request);
        return page < 0 ? 0 : this.heat(page, offset & 0xfff, request);
      },
      hot: request.threshold * hotCallPart,
    };
  }

  /** Physical pages of a region just found, by distance. */
  pagesOf(region: Region): readonly (readonly [number, number])[] {
    return region.pages.map((delta) => [delta, this.pages.get(delta) as number] as const);
  }

  /** The bytes that a region just found depends on. */
  codeOf(region: Region): {
    readonly ranges: readonly (readonly [number, readonly Range[]])[];
    readonly code: Uint8Array;
  } {
    const byDelta = new Map<number, Range[]>();
    for (const { start, end } of region.blocks.values())
      for (let at = start; at < end; at = (at | 0xfff) + 1) {
        const range: Range = [at & 0xfff, Math.min(end - (at & ~0xfff), 4096)];
        const list = byDelta.get(at >> 12);
        if (list) list.push(range);
        else byDelta.set(at >> 12, [range]);
      }
    const ranges: (readonly [number, readonly Range[]])[] = [];
    const code: number[] = [];
    for (const [delta, list] of byDelta) {
      const merged = merge(list);
      const copy = this.copies.get(delta) as number;
      for (const [from, to] of merged)
        for (let at = from; at < to; at++) code.push(this.bytes[copy + at] as number);
      ranges.push([this.pages.get(delta) as number, merged]);
    }
    return { ranges, code: Uint8Array.from(code) };
  }

  private copy(delta: number, request: RegionRequest): number | undefined {
    const page = this.pageAfter(delta, request);
    const host = page < 0 ? -1 : hostOfRam(page * 4096, this.ramBytes);
    if (host < 0) return undefined;
    const at = this.copies.size * 4096;
    this.copies.set(delta, at);
    this.bytes.set(this.ram.subarray(host, host + 4096), at);
    return at;
  }

  private pageAfter(delta: number, request: RegionRequest): number {
    const known = this.pages.get(delta);
    if (known !== undefined) return known;
    const sum = ((request.low & ~0xfff) >>> 0) + delta * 4096;
    const page = this.walk(sum | 0, (request.high + Math.floor(sum / 2 ** 32)) | 0, request);
    this.pages.set(delta, page);
    return page;
  }

  /** Physical page that the page tables name for code, or -1; as mmu/paging.ts, changing nothing. */
  private walk(low: number, high: number, { root, mode }: RegionRequest): number {
    if (root < 0) return low >>> 12; // paging is off
    let table = root;
    for (let level = 3; level >= 0; level--) {
      const index = tableIndex(level, low, high);
      const host = hostOfRam(table * 4096 + index * 8, this.ramBytes);
      if (host < 0) return -1;
      const entry = this.words[host >> 2] as number;
      const entryHigh = this.words[(host >> 2) + 1] as number;
      if (!(entry & present) || entryHigh < 0 || (mode & 1 && !(entry & user))) return -1;
      const frame = (entry >>> 12) + (entryHigh & 0xf_ffff) * 0x10_0000;
      if (level > 0 && !(entry & large)) {
        table = frame;
        continue;
      }
      const pages = 2 ** (level * 9);
      return frame - (frame % pages) + ((low >>> 12) & (pages - 1));
    }
    return -1;
  }

  /** Entries so far of the run at a physical page and offset, as far as the run index knows it. */
  private heat(page: number, offset: number, { mode, threshold }: RegionRequest): number {
    const key = offset | (mode << 12);
    const hash = (Math.imul(page, runIndexHash) ^ key) & (runIndexEntries - 1);
    for (const place of [hash, hash ^ 1]) {
      const at = (layout.runIndex >> 2) + place * 4;
      if (this.words[at] !== page || this.words[at + 1] !== key) continue;
      const first = this.words[at + 2] as number;
      const handler = this.halves[first >> 1] as number;
      if (handler === specialHandlers.stale) return 0;
      if (handler !== specialHandlers.count) return threshold;
      return threshold - (this.words[(first + record.immediate) >> 2] as number);
    }
    return 0;
  }
}

/** The same bytes in as few ranges as possible: blocks lie one after the other, or twice. */
function merge(ranges: Range[]): readonly Range[] {
  ranges.sort(([a], [b]) => a - b);
  const merged: Range[] = [];
  let [start, end] = [-1, -1];
  for (const [from, to] of ranges)
    if (from <= end) end = Math.max(end, to);
    else {
      if (start >= 0) merged.push([start, end]);
      [start, end] = [from, to];
    }
  merged.push([start, end]);
  return merged;
}
