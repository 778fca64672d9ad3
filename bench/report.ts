/**
 * What a bench returns and how it is printed: one table per bench, goals beside the ratios.
 */

import { ratioOf, spreadOf } from "../compare/index.ts";
import { style } from "../scripts/terminal.ts";
import type { Measured } from "./measure.ts";

export interface Goal {
  readonly ours: string;
  readonly peer: string;
  /** The ratio ours ÷ peer should be at most this. */
  readonly atMost: number;
}

export interface Report {
  readonly title: string;
  readonly rounds: number;
  /** Of the numbers that are measured; milliseconds when it is absent. */
  readonly unit?: "MiB";
  readonly measured: Measured;
  readonly goals: readonly Goal[];
  /** Facts that are no times: memory, leftovers, sizes. */
  readonly notes?: readonly string[];
}

export interface BenchOptions {
  /** A quarter of the rounds, at least two. */
  readonly quick: boolean;
}

export interface Bench {
  readonly name: string;
  readonly title: string;
  run(options: BenchOptions): Promise<readonly Report[]>;
}

export function roundsOf(rounds: number, { quick }: BenchOptions): number {
  return quick ? Math.max(2, Math.ceil(rounds / 4)) : rounds;
}

export function formatReport(report: Report): string {
  const { samples, left } = report.measured;
  const format = report.unit === undefined ? formatMs : formatMiB;
  const rows = samples.map(({ name, ms, cpuMs }) => {
    const { median, low, high } = spreadOf(ms);
    const cpu = cpuMs === undefined ? "" : formatMs(spreadOf(cpuMs).median);
    const quartiles = `${format(low)} – ${format(high)}`;
    return [name, format(median), quartiles, format(Math.min(...ms)), cpu];
  });
  const table = formatTable([["", "median", "quartiles", "best", "CPU"], ...rows]);
  return [
    style.bold(`${report.title} (${report.rounds} rounds, in turn)`),
    ...table.map((line) => `  ${line}`),
    ...report.goals.map((goal) => `  ${formatGoal(goal, report.measured)}`),
    ...left.map(({ name, why }) => style.yellow(`  left out: ${name}: ${why}`)),
    ...(report.notes ?? []).map((note) => `  ${note}`),
  ].join("\n");
}

function formatGoal(goal: Goal, measured: Measured): string {
  const ratio = ratioFor(goal, measured);
  const label = `${goal.ours} ÷ ${goal.peer}`;
  if (ratio === undefined) return style.dim(`${label}: not measured`);
  const { median, low, high } = ratio;
  const text = `${label}: ${median.toFixed(3)} (${low.toFixed(3)} – ${high.toFixed(3)})`;
  if (!Number.isFinite(goal.atMost)) return text;
  const verdict = median <= goal.atMost ? style.green("met") : style.red("missed");
  return `${text}, goal ≤ ${goal.atMost}: ${verdict}`;
}

function ratioFor(goal: Goal, { samples }: Measured): ReturnType<typeof ratioOf> | undefined {
  const find = (name: string) => samples.find((found) => found.name === name)?.ms;
  const ours = find(goal.ours);
  const peer = find(goal.peer);
  return ours === undefined || peer === undefined ? undefined : ratioOf(ours, peer);
}

/** All goals of a run in a few lines: how many were met, and each one that was not. */
export function formatVerdict(reports: readonly Report[]): readonly string[] {
  const missed: string[] = [];
  let met = 0;
  for (const { title, goals, measured } of reports)
    for (const goal of goals) {
      const ratio = ratioFor(goal, measured)?.median;
      if (!Number.isFinite(goal.atMost)) continue;
      if (ratio !== undefined && ratio <= goal.atMost) met++;
      else {
        const text = ratio === undefined ? "not measured" : `${ratio.toFixed(3)} > ${goal.atMost}`;
        missed.push(`  ${title}: ${goal.ours} ÷ ${goal.peer}: ${text}`);
      }
    }
  if (met + missed.length === 0) return [];
  return [
    `Goals met: ${met} of ${met + missed.length}${missed.length > 0 ? "; missed:" : ""}`,
    ...missed,
  ];
}

export function formatMs(ms: number): string {
  if (ms >= 10_000) return `${(ms / 1000).toFixed(2)} s`;
  return `${ms.toFixed(ms < 100 ? 2 : 0)} ms`;
}

function formatMiB(value: number): string {
  return `${value.toFixed(1)} MiB`;
}

function formatTable(rows: readonly (readonly string[])[]): readonly string[] {
  const widths: number[] = [];
  for (const row of rows) {
    for (const [column, cell] of row.entries()) {
      widths[column] = Math.max(widths[column] ?? 0, cell.length);
    }
  }
  return rows.map((row) =>
    row
      .map((cell, column) =>
        column === 0 ? cell.padEnd(widths[column] ?? 0) : cell.padStart(widths[column] ?? 0),
      )
      .join("  "),
  );
}
