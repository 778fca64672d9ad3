/** Runs rows, a few at a time, and says of each how it went. */
import { mkdtempSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { makeTemplate, removeTree } from "./bundle.ts";
import { readMachine } from "./machine.ts";
import { becomeSubreaper } from "./processes.ts";
import { CannotCheck, type Row } from "./row.ts";
import { type Surroundings, Trial } from "./trial.ts";

export interface Result {
  readonly row: Row;
  readonly outcome: "passed" | "failed" | "skipped";
  /** Why it failed or was skipped. */
  readonly reason?: string;
  readonly tookMs: number;
}

/** More than the cores gain nothing: a runtime under test is mostly busy itself. */
const rowsAtOnce = 3;

/** Prepares what all rows share; `close` removes it. */
export function surround(runtime: readonly string[], { systemd = false } = {}) {
  const machine = readMachine();
  becomeSubreaper();
  const directory = mkdtempSync(join(tmpdir(), "mw-conformance-"));
  makeTemplate(join(directory, "template"));
  const surroundings: Surroundings = { runtime, machine, directory, systemd };
  return { surroundings, close: () => removeTree(directory) };
}

export async function runRows(
  rows: readonly Row[],
  surroundings: Surroundings,
  onResult: (result: Result) => void,
): Promise<readonly Result[]> {
  const results: Result[] = [];
  const waiting = [...rows];
  async function work(): Promise<void> {
    for (let row = waiting.shift(); row !== undefined; row = waiting.shift()) {
      const result = await runRow(row, surroundings);
      results.push(result);
      onResult(result);
    }
  }
  await Promise.all(Array.from({ length: rowsAtOnce }, work));
  return results;
}

export async function runRow(row: Row, surroundings: Surroundings): Promise<Result> {
  const started = performance.now();
  const took = () => Math.round(performance.now() - started);
  const reason = row.needs?.map((need) => need(surroundings.machine)).find(Boolean);
  if (reason !== undefined) return { row, outcome: "skipped", reason, tookMs: 0 };
  const trial = new Trial(surroundings);
  const failures: string[] = [];
  let skipped: string | undefined;
  try {
    await row.check(trial);
  } catch (error) {
    if (error instanceof CannotCheck) skipped = error.message;
    else failures.push((error as Error).message);
  }
  await trial.close().catch((error: Error) => failures.push(error.message));
  if (failures.length > 0)
    return { row, outcome: "failed", reason: failures.join("\n"), tookMs: took() };
  if (skipped !== undefined) return { row, outcome: "skipped", reason: skipped, tookMs: took() };
  return { row, outcome: "passed", tookMs: took() };
}
