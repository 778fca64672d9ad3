/**
 * What passes between the vCPU's thread, which finds hot code, and whoever compiles it: plain data,
 * since that may be another thread.
 */
import type { Range } from "../interpreter/code-page.ts";

/** A run that was entered often enough. */
export type RegionRequest = {
  /** Which life of the records this belongs to; dropping them all begins the next. */
  readonly epoch: number;
  /** Number of the region: its cell and, after the first of them, its slot. */
  readonly number: number;
  readonly slot: number;
  /** The run's first record. */
  readonly head: number;
  /** Its virtual address in two halves, the mode of its code. */
  readonly low: number;
  readonly high: number;
  readonly mode: number;
  /** Physical page of the head, and of the page tables' root; -1 for that: paging is off. */
  readonly page: number;
  readonly root: number;
  /** Entries that made it hot. */
  readonly threshold: number;
};

/** Code that a region was made of. */
export type CompiledRegion = {
  readonly request: RegionRequest;
  /** Physical pages by distance from the head's: [distance, page]. */
  readonly pages: readonly (readonly [number, number])[];
  /** Bytes it depends on, by physical page, and what they were, one range after the other. */
  readonly ranges: readonly (readonly [page: number, ranges: readonly Range[]])[];
  readonly code: Uint8Array;
  readonly blocks: number;
  readonly calls: number;
  readonly instructions: number;
};

export type CompiledModule = {
  readonly epoch: number;
  readonly module: WebAssembly.Module;
  readonly sizeBytes: number;
  readonly regions: readonly CompiledRegion[];
  /** Regions with jumps into the middle of a loop, which leave the region there. */
  readonly irreducible: number;
  readonly milliseconds: number;
};

/** Compiles requests when it sees fit. */
export interface RegionCompiling {
  submit(request: RegionRequest): void;
  /** What is ready since the last time. */
  take(): CompiledModule | undefined;
  /** Forgets what was submitted. */
  forget(): void;
  /** What waits is wanted by the next `take`, as far as this is possible. */
  hurry(): void;
}
