/**
 * What a run has reached, for benches: with MANYWORLDS_PHASES=FILE in the environment, a line
 * "NAME NANOSECONDS" on CLOCK_MONOTONIC for each phase, as engine/phases.ts writes them. Kept until
 * the end, so that writing is not measured with the rest.
 */
import { call, timespec } from "../linux/index.ts";
import { appendText } from "./files.ts";

const CLOCK_MONOTONIC = 1;
const marks: string[] = [];
let file: string | undefined;

/** Nothing is kept without a file. */
export function tellPhases(path: string | undefined): void {
  file = path;
}

export function markPhase(name: string): void {
  if (file === undefined) return;
  const now = new Uint8Array(timespec.sizeBytes);
  call("clock_gettime", CLOCK_MONOTONIC, now);
  const view = new DataView(now.buffer);
  const seconds = view.getBigInt64(0, true);
  marks.push(`${name} ${seconds * 1_000_000_000n + view.getBigInt64(8, true)}\n`);
}

export function writePhases(): void {
  if (file !== undefined) appendText(file, marks.splice(0).join(""));
}
