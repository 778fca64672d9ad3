/**
 * From RIP to the run of records there: through the caches that emitted code reads as well, the page
 * tables, and the translator for code that nobody ran before.
 */
import type { Machine } from "../../machine/machine.ts";
import type { HandlerSet } from "../interpreter/forms.ts";
import { RunCaches } from "../interpreter/run-caches.ts";
import { access } from "../mmu/paging.ts";
import type { Jit } from "../region/jit.ts";
import { layout, state } from "../state.ts";
import type { CodePages } from "./code-pages.ts";
import { type GuestFault, generalProtection } from "./fault.ts";
import { spendOnTranslation } from "./fuel.ts";
import { GuestAccess } from "./guest-access.ts";

const notMapped = -1;
const noRam = -2;

export abstract class CodeLookup extends GuestAccess {
  abstract readonly jit: Jit;
  codePages: CodePages | undefined;
  /** Raised by the instruction before; delivered next. */
  pending: GuestFault | undefined;
  protected readonly caches: RunCaches;

  constructor(memory: WebAssembly.Memory, machine: Machine, set: HandlerSet) {
    super(memory, machine, set);
    this.caches = new RunCaches(memory);
  }

  /** The run at RIP, translated if need be; 0 when fetching it faulted. */
  lookup(): number {
    if (this.codePages?.hasWritten) this.codePages.takeWritten(this);
    const low = this.words[(layout.state + state.rip) >> 2] as number;
    const high = this.words[(layout.state + state.rip + 4) >> 2] as number;
    const page = this.fetch(low, high);
    if (page < 0) return 0;
    const offset = low & 0xfff;
    this.words[(layout.state + state.virtualPage) >> 2] = low & ~0xfff;
    this.words[(layout.state + state.virtualPage + 4) >> 2] = high;
    let at = this.translator.find(page, offset, this.mode);
    if (at === 0) at = this.translate(page, offset, low, high);
    if (at === 0) return 0;
    const crosses = at < 0;
    if (crosses) at = -at;
    this.caches.addRun(low, high, crosses ? -1 : page, at);
    return at;
  }

  /** A new run; negative: one that crosses pages, which direct jumps must not be linked to. */
  private translate(page: number, offset: number, low: number, high: number): number {
    const before = this.translator.statistics.instructions;
    try {
      return this.translateNew(page, offset, low, high);
    } finally {
      spendOnTranslation(this.translator.statistics.instructions - before, this.registers);
    }
  }

  private translateNew(page: number, offset: number, low: number, high: number): number {
    this.codePages?.markCode(page);
    if (this.translator.isFull || this.jit.isFull) this.forgetTranslations();
    const host = this.paging.hostOf(page * 4096);
    if (offset <= 4096 - 15) {
      const at = this.translator.translate(page, host, offset, this.mode);
      if (at !== undefined) return at;
    }
    const alone = this.translator.translate(page, host, offset, this.mode);
    if (alone !== undefined) return alone;
    const nextLow = ((low & ~0xfff) + 4096) | 0;
    const nextPage = this.fetch(nextLow, nextLow === 0 ? (high + 1) | 0 : high);
    if (nextPage < 0) return 0;
    this.codePages?.markCode(nextPage);
    const known = this.translator.findCrossing(page, offset, this.mode, nextPage);
    if (known !== 0) return -known;
    const following = { page: nextPage, host: this.paging.hostOf(nextPage * 4096) };
    return -(this.translator.translate(page, host, offset, this.mode, following) as number);
  }

  /** Physical page number of a code address, or -1 with the fault pending at RIP. */
  fetch(low: number, high: number): number {
    const page = this.codePageAt(low, high);
    if (page < 0) this.pending = page === notMapped ? this.lastFault : generalProtection();
    return page;
  }

  /** The same, or `notMapped` with `lastFault` set, or `noRam`. */
  protected codePageAt(low: number, high: number): number {
    const known = this.caches.findPage(low, high);
    if (known >= 0) return known;
    const physical = this.page(low, high, access.fetch, this.isUser);
    if (physical < 0) return notMapped;
    if (this.paging.hostOf(physical) < 0) return noRam;
    this.caches.addPage(low, high, physical / 4096, this.paging.pageIsGlobal);
    return physical / 4096;
  }

  forgetTranslations(): void {
    this.translator.flush();
    this.jit.flush();
    this.caches.forgetRuns();
  }

  flushMapping(all: boolean): void {
    const globalStay = (this.registers.get32(state.cr4) & 0x80) !== 0;
    this.statistics.jumpFlushes++;
    if (all || !globalStay) {
      this.paging.flushAll();
      this.caches.forgetMapping();
    } else {
      this.paging.flushNonGlobal();
      this.caches.forgetLocalMapping();
    }
  }

  /** INVLPG; true when code may have moved. Most pages it names never held any. */
  invalidatePage(address: bigint): boolean {
    const low = Number(address & 0xffff_ffffn) | 0;
    const high = Number((address >> 32n) & 0xffff_ffffn) | 0;
    const all = this.paging.flushPage(low, high);
    const moved = all || this.caches.knows(low, high);
    if (moved) {
      this.statistics.jumpFlushes++;
      this.caches.forgetMapping();
    }
    return moved;
  }
}
