/** The parts of a comparison, one after the other: each takes its samples of all rungs in turn. */
import type { CpuReport } from "../vmm-sandbox/index.ts";
import type { CompareProgress } from "./compare.ts";
import type { Budget, Clock, Effort } from "./effort.ts";
import type { HostServers } from "./host-server.ts";
import { type Lane, newLane, whyMissing } from "./lane.ts";
import { boundaryOf } from "./measure/boundary.ts";
import { type Held, holdWorlds } from "./measure/held.ts";
import { measureDensity, memoryUse } from "./measure/memory.ts";
import { takeNetwork } from "./measure/network.ts";
import { takePhases } from "./measure/phases.ts";
import { afterSignals, sampleInTurn } from "./measure/sampling.ts";
import { takeStart } from "./measure/start.ts";
import { takeWork } from "./measure/work.ts";
import { type Work, workloads } from "./probe.ts";
import type { Missing } from "./result.ts";
import type { OpenRung } from "./rungs/rung.ts";
import { spreadOf } from "./statistics.ts";
import type { Workspace } from "./workspace.ts";

export interface Course {
  readonly lanes: readonly Lane[];
  readonly space: Workspace;
  readonly servers: HostServers;
  readonly effort: Effort;
  readonly clock: Clock;
  readonly command: readonly string[];
  readonly report: (progress: CompareProgress) => void;
}

/** Prepares each and starts it once, unmeasured, so that what is cold is warm and what fails is out. */
export async function openAll(course: Course): Promise<void> {
  const { lanes, space, effort, clock, command, report } = course;
  for (const [index, lane] of lanes.entries()) {
    const { warmsUp = false } = lane.rung;
    if (clock.end.aborted) {
      lane.missing = lacking(clock, "there was no time left to try it");
      continue;
    }
    report({ phase: "preparing", rung: lane.rung.name, share: index / lanes.length });
    try {
      lane.open = await lane.rung.open(space);
      const { start } = newLane(lane.rung);
      takeStart(lane.open, warmsUp ? command : [], start, clock.patience());
      if (!warmsUp && (start.whole[0] ?? 0) > effort.slowMs) lane.start = start;
    } catch (error) {
      await afterSignals();
      lane.missing = clock.interruption.aborted ? lacking(clock, "") : whyMissing(error);
      await lane.open?.[Symbol.asyncDispose]();
      lane.open = undefined;
    }
  }
}

export async function takeStarts(course: Course, part: number): Promise<void> {
  const { lanes, clock, command, effort } = course;
  // one that is slow has its sample, unless the user's command is to be timed, too
  const able = lanes.filter(({ start }) => start.whole.length === 0 || command.length > 0);
  await sample(course, "starts", able, clock.budget(effort.starts, part), (lane, open) =>
    takeStart(open, command, lane.start, clock.patience()),
  );
}

/** Ours alone tell theirs. */
export async function takeAllPhases(course: Course, part: number): Promise<void> {
  const { lanes, clock, effort, space } = course;
  const ours = lanes.filter(({ rung }) => rung.kind === "ours");
  await sample(course, "phases", ours, clock.budget(effort.phases, part), (lane, open) => {
    lane.phases.push(takePhases(open, space, clock.patience()));
  });
}

export async function takeAllWork(course: Course, part: number): Promise<void> {
  const { lanes, clock, effort } = course;
  const inside = workloads.filter(({ group }) => group !== "host");
  const all: Work = { names: inside.map(({ name }) => name), eachMs: effort.eachMs };
  const budget = clock.budget(effort.work, part);
  await sample(course, "work", fastFirst(lanes), budget, (lane, open) =>
    takeWork(open, all, lane.work, clock.patience()),
  );
}

/** Apart from the work inside: worlds have no way out there, which is what they are measured with. */
export async function takeNetworks(course: Course, part: number): Promise<void> {
  const { lanes, clock, effort, servers } = course;
  const budget = clock.budget(effort.network, part);
  const take = (lane: Lane, open: OpenRung) =>
    takeNetwork(open, servers, effort.eachMs, lane.work, clock.patience());
  await sample(course, "network", fastFirst(lanes), budget, take, "networkMissing");
}

/** Should time run out, it does so once, for the slowest. */
function fastFirst(lanes: readonly Lane[]): Lane[] {
  const startOf = ({ start }: Lane): number => spreadOf(start.whole).median;
  const able = lanes.filter(
    ({ start, rung }) => start.whole.length > 0 && rung.startsOnly !== true,
  );
  return able.sort((a, b) => startOf(a) - startOf(b));
}

async function sample(
  { clock, effort, report }: Course,
  phase: CompareProgress["phase"],
  lanes: readonly Lane[],
  budget: Budget,
  take: (lane: Lane, open: OpenRung) => void | Promise<void>,
  keepReason: "missing" | "networkMissing" = "missing",
): Promise<void> {
  const candidates = lanes.flatMap((lane) => {
    const { open } = lane;
    if (open === undefined) return [];
    return {
      name: lane.rung.name,
      take: () => take(lane, open),
      onFailure: (error: unknown) => {
        lane[keepReason] = whyMissing(error);
      },
    };
  });
  await sampleInTurn(candidates, {
    ...budget,
    minRounds: effort.minRounds,
    signal: clock.late,
    interruption: clock.interruption,
    onSample: (rung, share) => report({ phase, rung, share }),
  });
}

/** Where the software CPU can be used; a guest that fails here says so in its own rung. */
export async function lookIntoGuest(course: Course): Promise<CpuReport | undefined> {
  const { lanes, space, clock, report } = course;
  const lane = lanes.find(({ open }) => open?.counted !== undefined);
  if (lane?.open === undefined || clock.late.aborted) return undefined;
  report({ phase: "guest", rung: lane.rung.name, share: 0 });
  const { guestStatistics } = await import("./measure/guest-statistics.ts");
  try {
    return guestStatistics(lane.open, space.directory, clock.patience());
  } catch (error) {
    await keepFailure(course, lane, error);
    return undefined;
  }
}

/** One after the other: what one weighs must not be shared with another. */
export async function weighAll(course: Course): Promise<void> {
  const { lanes, clock, report } = course;
  for (const [index, lane] of lanes.entries()) {
    if (clock.end.aborted) return;
    if (lane.open === undefined || lane.rung.startsOnly === true) continue;
    report({ phase: "memory", rung: lane.rung.name, share: index / lanes.length });
    try {
      await weigh(course, lane, lane.open);
    } catch (error) {
      await keepFailure(course, lane, error);
    }
  }
}

async function weigh({ space, effort, clock }: Course, lane: Lane, open: OpenRung): Promise<void> {
  await using held = holdWorlds(open, space, clock.patience);
  await held.start();
  const processes = held.processes();
  lane.memory = memoryUse(processes);
  const largest = [...processes].sort((a, b) => b.pssKiB - a.pssKiB)[0]?.pid;
  const boundary = lookAtBoundary(held, largest);
  if (boundary !== undefined) lane.boundary = boundary;
  lane.density = await measureDensity(held, lane.memory, effort.together, clock.late);
}

/**
 * A probe that is one of this machine's processes runs on its kernel, and is looked at itself; where
 * there is none it has a kernel of its own, and what stands between is the process that holds it.
 */
function lookAtBoundary(held: Held, largest: number | undefined) {
  const probe = held.probe();
  const pid = probe ?? largest;
  if (pid === undefined) return undefined;
  return boundaryOf(pid, probe === undefined ? "own" : "shared", held.kernelRelease());
}

/** Ctrl-C ends what runs first, and is heard of after it: that is no failure of a rung's. */
async function keepFailure({ clock }: Course, lane: Lane, error: unknown): Promise<void> {
  await afterSignals();
  if (!clock.interruption.aborted) lane.missing ??= whyMissing(error);
}

/** What slow rungs did not come to before the end; an interrupted comparison says so as a whole. */
export function sayWhatTimeLacked({ lanes, clock }: Course): void {
  if (clock.interruption.aborted) return;
  for (const lane of lanes) {
    if (lane.open === undefined || lane.rung.startsOnly === true) continue;
    const { work, workFailed } = lane.work;
    const tried = (name: "syscall" | "round trip"): boolean =>
      work[name] !== undefined || workFailed[name] !== undefined;
    if (!tried("syscall")) lane.missing ??= lacking(clock, "there was no time left for the work");
    if (!tried("round trip")) lane.networkMissing ??= lacking(clock, "there was no time left");
  }
}

function lacking({ interruption }: Clock, reason: string): Missing {
  return { reason: interruption.aborted ? "the comparison was interrupted" : reason };
}
