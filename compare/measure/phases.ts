/** The phases of a start, as our own command tells them (engine/phases.ts), in a few extra starts. */
import { chmodSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseProbe } from "../probe.ts";
import type { Phase } from "../result.ts";
import type { OpenRung } from "../rungs/rung.ts";
import { spreadOf } from "../statistics.ts";
import type { Workspace } from "../workspace.ts";
import { succeed } from "./start.ts";

export const FIRST_INSTRUCTION = "first instruction";
const END = "command ended";

/** One start: each phase's end, in milliseconds since the fork. */
export type PhaseSample = ReadonlyMap<string, number>;

export function takePhases(rung: OpenRung, space: Workspace, timeoutMs: number): PhaseSample {
  const file = join(space.directory, "phases");
  writeFileSync(file, "");
  chmodSync(file, 0o666); // an ordinary user's command writes to it, too
  const { command, env = process.env, user } = rung.probe(["s"]);
  const invocation = {
    command,
    env: { ...env, MANYWORLDS_PHASES: file },
    ...(user !== undefined && { user }),
  };
  const timing = succeed(invocation, timeoutMs);
  const since = (ns: number): number => (ns - timing.startedNs) / 1e6;
  const ends = new Map<string, number>();
  for (const [, name = "", ns] of readFileSync(file, "utf8").matchAll(/^(.+) (\d+)$/gm)) {
    ends.set(name, since(Number(ns)));
  }
  const first = rung.sharesKernel ? since(parseProbe(timing.stdout).stampNs) : timing.firstOutputMs;
  if (first !== undefined) ends.set(FIRST_INSTRUCTION, first);
  ends.set(END, timing.wholeMs);
  return ends;
}

/** Medians of the ends, as lengths one after the other; phases that some sample lacks are left out. */
export function summarizePhases(samples: readonly PhaseSample[]): readonly Phase[] {
  const names = [...(samples[0]?.keys() ?? [])].filter((name) =>
    samples.every((sample) => sample.has(name)),
  );
  const ends = names
    .map((name) => ({
      name,
      ms: spreadOf(samples.map((sample) => sample.get(name) ?? 0)).median,
    }))
    .sort((a, b) => a.ms - b.ms);
  return ends.map(({ name, ms }, index) => ({
    name,
    ms: Math.max(0, ms - (ends[index - 1]?.ms ?? 0)),
  }));
}
