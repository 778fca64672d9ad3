/** How long a world takes to start its process, and the whole command. */
import { parseProbe } from "../probe.ts";
import type { Invocation, OpenRung } from "../rungs/rung.ts";
import { type Timing, timeCommand } from "../stopwatch.ts";

export interface StartRecord {
  readonly firstInstruction: number[];
  readonly whole: number[];
  readonly cpu: number[];
  readonly command: number[];
}

/** Starts the probe once, and the user's command when there is one. */
export function takeStart(
  rung: OpenRung,
  command: readonly string[],
  record: StartRecord,
  timeoutMs: number,
): void {
  const timing = succeed(rung.probe(["s"]), timeoutMs);
  const { stampNs } = parseProbe(timing.stdout);
  const shared = (stampNs - timing.startedNs) / 1e6;
  record.firstInstruction.push(rung.sharesKernel ? shared : (timing.firstOutputMs ?? Number.NaN));
  record.whole.push(timing.wholeMs);
  record.cpu.push(timing.cpuMs);
  if (command.length === 0) return;
  const invocation = rung.run(command);
  if (invocation === undefined) return;
  record.command.push(succeed(invocation, timeoutMs, "any").wholeMs);
}

/** Throws what it said when it fails; with "any", only when the runner itself failed. */
export function succeed(
  invocation: Invocation,
  timeoutMs: number,
  expected: "zero" | "any" = "zero",
): Timing {
  const timing = timeCommand({ ...invocation, timeoutMs });
  const { status, timedOut, stderr } = timing;
  if (timedOut) throw new Error(`it did not end within ${Math.round(timeoutMs / 1000)} s`);
  const failed = expected === "zero" ? status !== 0 : status >= 125 && status <= 127;
  if (failed) throw new Error(`it ended with ${status}: ${lastWords(stderr)}`);
  return timing;
}

export function lastWords(stderr: string): string {
  const lines = stderr.trim().split("\n");
  return lines.slice(-3).join("; ").slice(-300);
}
