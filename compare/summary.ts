/** From samples to what a table or a page shows: medians, spreads, ratios, words. */
import { type WorkloadName, workloads } from "./probe.ts";
import type { Comparison, RungResult } from "./result.ts";
import { type Spread, spreadOf } from "./statistics.ts";

/** Rungs that have at least one sample of a start. */
export function measuredRungs({ rungs }: Comparison): readonly RungResult[] {
  return rungs.filter(({ start }) => start.whole.length > 0);
}

export function missingRungs({ rungs }: Comparison): readonly RungResult[] {
  return rungs.filter(({ missing }) => missing !== undefined);
}

export function bareRung({ rungs }: Comparison): RungResult | undefined {
  return rungs.find(({ kind, start }) => kind === "bare" && start.whole.length > 0);
}

/** So many times faster than this machine's disk is not a faster disk. */
const SYNC_SUSPECT = 10;

/** What is written there goes with the world, so nobody waits until a disk has it. */
export function syncIsLight(rung: RungResult, bare: RungResult | undefined): boolean {
  return (overheadOf(rung, bare, "sync")?.median ?? 1) * SYNC_SUSPECT <= 1;
}

/** How a rung was run and what its numbers do not say. */
export function notesOf(rung: RungResult, bare: RungResult | undefined): readonly string[] {
  if (!syncIsLight(rung, bare)) return rung.notes;
  return [...rung.notes, "fdatasync does not wait for a disk: what is written goes with the world"];
}

/** An extrapolation has two digits that mean something. */
export function formatEstimate(count: number): string {
  const unit = 10 ** Math.max(0, Math.floor(Math.log10(Math.max(1, count))) - 1);
  return `≈ ${(Math.round(count / unit) * unit).toLocaleString("en-US")}`;
}

export function workSpread(rung: RungResult, name: WorkloadName): Spread | undefined {
  const samples = rung.work[name];
  return samples === undefined || samples.length === 0 ? undefined : spreadOf(samples);
}

/**
 * How many times longer an operation takes than without isolation: the ratio of the medians, with
 * the quartiles of this rung's samples over the same median.
 */
export function overheadOf(
  rung: RungResult,
  bare: RungResult | undefined,
  name: WorkloadName,
): Spread | undefined {
  const ours = workSpread(rung, name);
  const base = bare === undefined ? undefined : workSpread(bare, name)?.median;
  if (ours === undefined || base === undefined || base === 0) return undefined;
  return { median: ours.median / base, low: ours.low / base, high: ours.high / base };
}

/** Below it quartiles would be a guess: the ends stand there instead. */
export const FEW_SAMPLES = 5;

/** What lies around a median: its quartiles, or, of few samples, all there is to say. */
export function formatAround(samples: readonly number[]): string {
  if (samples.length === 0) return "";
  if (samples.length === 1) return "one sample";
  const few = samples.length < FEW_SAMPLES;
  const { low, high } = few
    ? { low: Math.min(...samples), high: Math.max(...samples) }
    : spreadOf(samples);
  const range = `${formatTime(low)} – ${formatTime(high)}`;
  return few ? `${range}, all ${samples.length}` : range;
}

/** "4.2 ms", "812 µs", "3.1 s". */
export function formatTime(milliseconds: number): string {
  if (!Number.isFinite(milliseconds)) return "–";
  if (milliseconds >= 1000) return `${digits(milliseconds / 1000)} s`;
  if (milliseconds >= 1) return `${digits(milliseconds)} ms`;
  if (milliseconds >= 0.001) return `${digits(milliseconds * 1000)} µs`;
  return `${digits(milliseconds * 1e6)} ns`;
}

/** Time of one operation, or bytes a second where an operation is a byte. */
export function formatOperation(name: WorkloadName, nsEach: number): string {
  const workload = workloads.find((each) => each.name === name);
  if (workload !== undefined && "bytes" in workload) return `${formatBytes(1e9 / nsEach)}/s`;
  return formatTime(nsEach / 1e6);
}

/** Decimal, as the speeds of disks and networks are given. */
function formatBytes(bytes: number): string {
  const units = ["B", "kB", "MB", "GB", "TB"];
  const index = Math.max(
    0,
    units.findIndex((_, power) => bytes < 1000 ** (power + 1)),
  );
  return `${digits(bytes / 1000 ** index)} ${units[index]}`;
}

export function formatKiB(kib: number): string {
  if (kib >= 1024 * 1024) return `${digits(kib / 1024 / 1024)} GiB`;
  if (kib >= 1024) return `${digits(kib / 1024)} MiB`;
  return `${digits(kib)} KiB`;
}

export function formatRatio(ratio: number): string {
  return `${ratio < 10 ? ratio.toFixed(2) : digits(ratio)}×`;
}

/** Three significant digits, and no more than there are before the point. */
function digits(value: number): string {
  if (value >= 100) return Math.round(value).toLocaleString("en-US").replaceAll(",", " ");
  return value >= 10 ? value.toFixed(1) : value.toFixed(2);
}
