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

/** Events that may have made objects, between two collections that we ask for. */
const eventsBetween = 80_000;
let collectedAt = 0;

/**
 * Frees what the CPU's TypeScript has left behind. JavaScriptCore counts a shared memory as its own and
 * waits until as much again was made, which is gigabytes for a guest that does nothing but fork. V8
 * needs no telling. `events`: what was counted so far.
 */
export function collectGarbage(events: number): void {
  if (bun?.gc === undefined || events - collectedAt < eventsBetween) return;
  collectedAt = events;
  bun.gc(true);
}
