/** What code inside a world pays: each workload once a sample, all in one start. */
import { parseProbe, type Work, type WorkloadName, workArguments } from "../probe.ts";
import type { OpenRung } from "../rungs/rung.ts";
import { succeed } from "./start.ts";

export interface WorkRecord {
  readonly work: Partial<Record<WorkloadName, number[]>>;
  readonly workFailed: Partial<Record<WorkloadName, string>>;
}

/** So many ticks of a coarse clock are a measurement. */
const TICKS = 10;

export function takeWork(rung: OpenRung, work: Work, record: WorkRecord): void {
  const eachMs = Math.max(work.eachMs, TICKS * (rung.clockTickMs ?? 0));
  const args = workArguments({ ...work, eachMs }, rung.writable);
  const { stdout } = succeed(rung.probe(args));
  const { nsPerOperation, failed } = parseProbe(stdout);
  for (const [name, ns] of nsPerOperation) {
    const samples = record.work[name] ?? [];
    samples.push(ns);
    record.work[name] = samples;
  }
  for (const [name, errno] of failed) record.workFailed[name] = errno;
}
