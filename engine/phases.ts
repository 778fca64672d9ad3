/**
 * What a start has reached, for those who measure: with MANYWORLDS_PHASES=FILE in the environment,
 * a line "NAME NANOSECONDS" on CLOCK_MONOTONIC for each phase. Without it, nothing.
 */
import { appendFileSync } from "node:fs";
import { call, timespec } from "../linux/index.ts";

const CLOCK_MONOTONIC = 1;

export function markPhase(name: string): void {
  const file = process.env["MANYWORLDS_PHASES"];
  if (file === undefined) return;
  // process.hrtime() counts from another moment on each engine
  const now = new Uint8Array(timespec.sizeBytes);
  call("clock_gettime", CLOCK_MONOTONIC, now);
  const view = new DataView(now.buffer);
  const seconds = view.getBigInt64(0, true);
  appendFileSync(file, `${name} ${seconds * 1_000_000_000n + view.getBigInt64(8, true)}\n`);
}
