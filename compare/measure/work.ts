/** What code inside a world pays: each workload once a sample, all in one start. */
import { parseProbe, type Work, type WorkloadName, workArguments } from "../probe.ts";
import type { Invocation, OpenRung } from "../rungs/rung.ts";
import { succeed } from "./start.ts";

export interface WorkRecord {
  readonly work: Partial<Record<WorkloadName, number[]>>;
  readonly workFailed: Partial<Record<WorkloadName, string>>;
}

export function takeWork(rung: OpenRung, work: Work, record: WorkRecord, timeoutMs: number): void {
  keepWork(rung.probe(workArguments(work, rung)), record, timeoutMs);
}

/** Runs a probe that works, and keeps what it answers. */
export function keepWork(invocation: Invocation, record: WorkRecord, timeoutMs: number): void {
  const { stdout } = succeed(invocation, timeoutMs);
  const { nsPerOperation, failed } = parseProbe(stdout);
  for (const [name, ns] of nsPerOperation) {
    const samples = record.work[name] ?? [];
    samples.push(ns);
    record.work[name] = samples;
  }
  for (const [name, errno] of failed) record.workFailed[name] = errno;
}
