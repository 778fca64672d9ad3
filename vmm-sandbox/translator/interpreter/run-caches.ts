/**
 * From a code address to its run of records, in memory that WebAssembly reads and TypeScript fills:
 *
 * ```
 * jump cache   virtual address, mode, generation  → record        a hit costs a few loads
 * fetch TLB    virtual page, mode, generation     → physical page ┐ a miss above is answered by
 * run index    physical address, mode             → record        ┘ these two without leaving;
 *                                                                   two-way
 * ```
 *
 * A change of mapping empties the first two by counting a generation up, which is part of their
 * tags: nothing is overwritten. A CR3 write leaves the supervisor's entries alone while they came
 * from global pages (SDM volume 3A §4.10.2.4). The run index knows no mapping and is only emptied
 * with the records; entries that outlive their run lead to stale records.
 */
import {
  fetchTlbEntries,
  jumpCacheEntries,
  layout,
  quickHash,
  runIndexEntries,
  runIndexHash,
  state,
  walkState,
} from "../state.ts";

/** Tags keep generations in address bits 48 to 60, which canonical addresses do not need. */
const maxGeneration = 0x1fff;

const entryWords = 4;
const knownPageBits = 15;
const knownPages = 1 << knownPageBits;
const supervisorIsLocal = (layout.walk + walkState.supervisorIsLocal) >> 2;

function knownPlace(low: number, high: number): number {
  return Math.imul((high << 20) | (low >>> 12), quickHash) >>> (32 - knownPageBits);
}

/** The part of tags above the address: bit 0 of `mode` is set at CPL 3. */
function tagOf(mode: number, generation: number): number {
  return (mode << 29) | (generation << 16);
}

export class RunCaches {
  private readonly words: Int32Array;
  /** Generations of supervisor and user mappings. */
  private readonly generations = [1, 1];
  /** Pages that the caches may know: their generation by hash, of supervisor and user. */
  private readonly known: readonly Uint16Array[];
  private mode = 0;

  constructor(memory: WebAssembly.Memory) {
    this.words = new Int32Array(memory.buffer);
    const known = (which: number) =>
      new Uint16Array(memory.buffer, layout.knownPages + which * knownPages * 2, knownPages);
    this.known = [known(0), known(1)];
    this.empty();
    this.forgetRuns();
  }

  setMode(mode: number): void {
    this.mode = mode;
    this.words[(layout.state + state.modeTag) >> 2] = 0;
    this.words[(layout.state + state.modeTag + 4) >> 2] = this.modeTag();
    this.words[(layout.state + state.modeKey) >> 2] = mode << 12;
  }

  private modeTag(): number {
    return tagOf(this.mode, this.generations[this.mode & 1] as number);
  }

  private empty(): void {
    const { jumpCache, fetchTlb } = layout;
    this.words.fill(-1, jumpCache >> 2, (jumpCache >> 2) + jumpCacheEntries * entryWords);
    this.words.fill(-1, fetchTlb >> 2, (fetchTlb >> 2) + fetchTlbEntries * entryWords);
  }

  private forget(which: 0 | 1): void {
    const next = (this.generations[which] as number) + 1;
    this.generations[which] = next;
    if (next > maxGeneration) {
      this.generations.fill(1);
      for (const pages of this.known) pages.fill(0);
      this.empty();
    }
    if (which === 0) this.words[supervisorIsLocal] = 0;
    this.setMode(this.mode);
  }

  /** The whole mapping changed. */
  forgetMapping(): void {
    this.forget(0);
    this.forget(1);
  }

  /** CR3 was written with global pages enabled. */
  forgetLocalMapping(): void {
    this.forget(1);
    if (this.words[supervisorIsLocal]) this.forget(0);
  }

  /** Whether code may have been fetched from this page of either mode. */
  knows(low: number, high: number): boolean {
    const place = knownPlace(low, high);
    return this.known.some((pages, which) => pages[place] === this.generations[which]);
  }

  /** Records were dropped altogether. */
  forgetRuns(): void {
    const first = layout.runIndex >> 2;
    this.words.fill(-1, first, first + runIndexEntries * entryWords);
    this.empty();
  }

  /** Physical page number of a code address as cached, or -1. */
  findPage(low: number, high: number): number {
    const at = this.fetchEntry(low);
    if (this.words[at] !== (low & ~0xfff) || this.words[at + 1] !== (high ^ this.modeTag()))
      return -1;
    return this.words[at + 2] as number;
  }

  addPage(low: number, high: number, page: number, isGlobal: boolean): void {
    const user = this.mode & 1;
    const known = this.known[user] as Uint16Array;
    known[knownPlace(low, high)] = this.generations[user] as number;
    if (user === 0 && !isGlobal) this.words[supervisorIsLocal] = 1;
    const at = this.fetchEntry(low);
    this.words[at] = low & ~0xfff;
    this.words[at + 1] = high ^ this.modeTag();
    this.words[at + 2] = page;
  }

  private fetchEntry(low: number): number {
    return (layout.fetchTlb >> 2) + ((low >>> 12) & (fetchTlbEntries - 1)) * entryWords;
  }

  /** `page`: the physical one; -1 for runs that cross pages, which are found by address only. */
  addRun(low: number, high: number, page: number, first: number): void {
    const entry =
      (layout.jumpCache >> 2) + ((low ^ (low >>> 14)) & (jumpCacheEntries - 1)) * entryWords;
    this.words[entry] = low;
    this.words[entry + 1] = high ^ this.modeTag();
    this.words[entry + 2] = first;
    this.words[entry + 3] = page < 0 ? 0 : 1;
    if (page < 0) return;
    const key = (low & 0xfff) | (this.mode << 12);
    const hash = (Math.imul(page, runIndexHash) ^ key) & (runIndexEntries - 1);
    const at = (layout.runIndex >> 2) + hash * entryWords;
    // Two places per run: what is in the first moves to the second.
    if (this.words[at] !== page || this.words[at + 1] !== key)
      this.words.copyWithin((layout.runIndex >> 2) + (hash ^ 1) * entryWords, at, at + 3);
    this.words[at] = page;
    this.words[at + 1] = key;
    this.words[at + 2] = first;
  }
}
