/**
 * What the software CPU counts while a machine starts and the probe works in it: above all the
 * instructions that made x86 hard to virtualise. The rung's own machine says so itself
 * (`--cpu-stats=FILE`).
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { type CpuReport, parseCpuReport } from "../../vmm-sandbox/index.ts";
import { type Work, workArguments } from "../probe.ts";
import type { OpenRung } from "../rungs/rung.ts";
import { succeed } from "./start.ts";

const work: Work = { names: ["syscall", "page fault", "fork+exec", "switch"], eachMs: 20 };

/** Undefined when the rung counts nothing. */
export function guestStatistics(
  rung: OpenRung,
  folder: string,
  timeoutMs: number,
): CpuReport | undefined {
  const file = join(folder, "cpu-stats.json");
  const invocation = rung.counted?.(file, workArguments(work, rung));
  if (invocation === undefined) return undefined;
  succeed(invocation, timeoutMs);
  // SAFE: our own command wrote it; the report itself is checked field by field.
  const { report } = JSON.parse(readFileSync(file, "utf8")) as { readonly report: unknown };
  return parseCpuReport(report);
}
