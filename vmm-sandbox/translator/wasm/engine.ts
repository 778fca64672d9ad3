/**
 * Asks the engine for what our modules profit from.
 *
 * V8 until 12 reads branch hints (wasm/module.ts) only when told to; without them every value that
 * lives across a memory access is spilled, because the access's slow path is a call: 1.5 times the
 * time of a shell loop. The flag is the process's, and changes no module that has no hints.
 */
import { setFlagsFromString } from "node:v8";

/** V8 versions that know the flag: later ones may complain about it, or need it no longer. */
const flaggedVersions = new Set(["11", "12"]);

let isTold = false;

export function allowBranchHints(): void {
  if (isTold) return;
  isTold = true;
  const { bun, v8 = "" } = process.versions;
  const major = v8.split(".")[0] ?? "";
  if (bun === undefined && flaggedVersions.has(major))
    setFlagsFromString("--experimental-wasm-branch-hinting");
}

// SAFE: only asked whether it is there.
const bun = (globalThis as { readonly Bun?: { readonly gc?: (now: boolean) => void } }).Bun;

/**
 * Frees what this thread's TypeScript has left behind, now and then. JavaScriptCore counts a shared
 * memory as its own, on each thread that has it, and waits until as much again was made, which is
 * gigabytes for a guest that does nothing but fork. V8 needs no telling.
 */
export class Collections {
  readonly #eventsBetween: number;
  #collectedAt = 0;

  /** `eventsBetween`: how much of what makes objects is worth a collection of ten milliseconds. */
  constructor(eventsBetween: number) {
    this.#eventsBetween = eventsBetween;
  }

  /** `events`: what was counted so far. */
  after(events: number): void {
    if (bun?.gc === undefined || events - this.#collectedAt < this.#eventsBetween) return;
    this.#collectedAt = events;
    bun.gc(true);
  }

  /** Much was dropped at once. */
  now(): void {
    bun?.gc?.(true);
  }
}
