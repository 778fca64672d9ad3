/** Runs the comparison of faults in a child: its signal handlers are not for a process with work. */
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import type { FaultReport } from "./faulting.ts";

export function runFaultComparison(options: {
  readonly seed: number;
  readonly rounds: number;
  readonly only?: string | undefined;
}): FaultReport {
  const program = fileURLToPath(new URL("faulting.ts", import.meta.url));
  const args = [String(options.seed), String(options.rounds), options.only].filter(
    (word) => word !== undefined,
  );
  const { stdout, stderr, status, signal } = spawnSync(
    process.execPath,
    ["--import", "tsx", program, ...args],
    { encoding: "utf8", maxBuffer: 64 * 2 ** 20 },
  );
  if (status !== 0)
    throw new Error(
      `The comparison of faults ended with ${signal ?? status}: ${stderr.slice(-2000)}`,
    );
  // SAFE: faulting.ts prints one.
  return JSON.parse(stdout) as FaultReport;
}
