/**
 * The comparison: opens every rung that this machine offers, measures them in turn, and returns
 * what it has when its time is up or somebody interrupts it.
 */
import { VERSION } from "../engine/index.ts";
import type { CpuReport } from "../vmm-sandbox/index.ts";
import { HostServers } from "./host-server.ts";
import { type Lane, newLane, toResult, whyMissing } from "./lane.ts";
import { machineFacts } from "./machine.ts";
import { boundaryOf } from "./measure/boundary.ts";
import { holdWorlds } from "./measure/held.ts";
import { measureDensity, memoryUse } from "./measure/memory.ts";
import { takeNetwork } from "./measure/network.ts";
import { takePhases } from "./measure/phases.ts";
import { type Sampled, sampleInTurn } from "./measure/sampling.ts";
import { takeStart } from "./measure/start.ts";
import { takeWork } from "./measure/work.ts";
import { type Work, workloads } from "./probe.ts";
import type { Comparison } from "./result.ts";
import { rungs as allRungs } from "./rungs/index.ts";
import type { OpenRung, Rung } from "./rungs/rung.ts";
import { isCompiled } from "./self.ts";
import { spreadOf } from "./statistics.ts";
import { Workspace } from "./workspace.ts";

export interface CompareRequest {
  /** An image that is here already. */
  readonly image: string;
  /** Run as a whole beside the probe; empty for none. */
  readonly command?: readonly string[];
  readonly root?: string | undefined;
  readonly quick?: boolean;
  /** Only these rungs, by name. */
  readonly only?: readonly string[];
  /** Ends it early; what has been measured is returned. */
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: CompareProgress) => void;
}

export interface CompareProgress {
  readonly phase: "preparing" | "starts" | "phases" | "work" | "network" | "guest" | "memory";
  readonly rung: string;
  /** Of this phase, 0 to 1. */
  readonly share: number;
}

/** How long each phase may take, how often, and how much at once. */
interface Effort {
  /** How long the first start may take. */
  readonly warmUpMs: number;
  readonly starts: { readonly budgetMs: number; readonly maxRounds: number };
  readonly phases: { readonly budgetMs: number; readonly maxRounds: number };
  readonly work: { readonly budgetMs: number; readonly maxRounds: number };
  readonly network: { readonly budgetMs: number; readonly maxRounds: number };
  readonly eachMs: number;
  readonly minRounds: number;
  readonly together: number;
  /** From the beginning: after it no sample is taken, and what is weighed is weighed once. */
  readonly lateMs: number;
  /** After it nothing is begun. */
  readonly endMs: number;
  /** A first start that takes longer counts as a sample: there will not be many. */
  readonly slowMs: number;
}

const efforts: Readonly<Record<"quick" | "full", Effort>> = {
  quick: {
    warmUpMs: 25_000,
    starts: { budgetMs: 15_000, maxRounds: 20 },
    phases: { budgetMs: 3000, maxRounds: 5 },
    work: { budgetMs: 14_000, maxRounds: 5 },
    network: { budgetMs: 6000, maxRounds: 5 },
    eachMs: 20,
    minRounds: 1,
    together: 4,
    lateMs: 43_000,
    endMs: 51_000,
    slowMs: 1500,
  },
  full: {
    warmUpMs: 120_000,
    starts: { budgetMs: 60_000, maxRounds: 60 },
    phases: { budgetMs: 15_000, maxRounds: 9 },
    work: { budgetMs: 90_000, maxRounds: 15 },
    network: { budgetMs: 30_000, maxRounds: 15 },
    eachMs: 30,
    minRounds: 3,
    together: 16,
    lateMs: 300_000,
    endMs: 600_000,
    slowMs: Number.POSITIVE_INFINITY,
  },
};

export async function compare(request: CompareRequest): Promise<Comparison> {
  const { image, command = [], quick = false } = request;
  const started = performance.now();
  const signal = request.signal ?? new AbortController().signal;
  const report = request.onProgress ?? (() => undefined);
  const effort = efforts[quick ? "quick" : "full"];
  using space = await Workspace.open(image, request.root);
  using servers = new HostServers(space.probe);
  const lanes = chooseRungs(request.only).map(newLane);
  let guest: CpuReport | undefined;
  try {
    const late = AbortSignal.any([signal, AbortSignal.timeout(effort.lateMs)]);
    const end = AbortSignal.any([signal, AbortSignal.timeout(effort.endMs)]);
    await openAll(lanes, space, { ...effort, command }, end, report);
    const left = (): number => Math.max(0, started + effort.lateMs - performance.now());
    await takeStarts(lanes, command, within(effort, "starts", left() / 3), late, report);
    await takeAllPhases(lanes, space, within(effort, "phases", left() / 6), late, report);
    await takeAllWork(lanes, within(effort, "work", (left() * 3) / 4), late, report);
    await takeNetworks(lanes, servers, within(effort, "network", left()), late, report);
    guest = await lookIntoGuest(lanes, space, late, report);
    await weighAll(lanes, space, { ...effort, late }, end, report);
    if (!signal.aborted) sayWhatTimeLacked(lanes);
  } finally {
    for (const { open } of lanes) await open?.[Symbol.asyncDispose]();
  }
  return {
    version: VERSION,
    date: new Date().toISOString(),
    machine: { ...machineFacts(), ...(!isCompiled() && { manyworlds: "from its sources" }) },
    image,
    command,
    quick,
    interrupted: signal.aborted,
    tookMs: performance.now() - started,
    rungs: lanes.map(toResult),
    ...(guest !== undefined && { guest }),
  };
}

type Measured = "starts" | "phases" | "work" | "network";

/** The same effort with no more time for a phase than there is. */
function within(effort: Effort, phase: Measured, leftMs: number): Effort {
  const { budgetMs, maxRounds } = effort[phase];
  return { ...effort, [phase]: { budgetMs: Math.min(budgetMs, leftMs), maxRounds } };
}

function chooseRungs(only: readonly string[] | undefined): readonly Rung[] {
  const unknown = only?.find((name) => allRungs.every((rung) => rung.name !== name));
  if (unknown !== undefined) {
    const names = allRungs.map(({ name }) => name).join(", ");
    throw new RangeError(`Cannot compare "${unknown}": expected some of ${names}`);
  }
  return allRungs.filter(({ name }) => only === undefined || only.includes(name));
}

type Report = (progress: CompareProgress) => void;

/** Prepares each and starts it once, unmeasured, so that what is cold is warm and what fails is out. */
async function openAll(
  lanes: readonly Lane[],
  space: Workspace,
  { warmUpMs, slowMs, command }: Effort & Pick<Required<CompareRequest>, "command">,
  signal: AbortSignal,
  report: Report,
): Promise<void> {
  for (const [index, lane] of lanes.entries()) {
    const { warmsUp = false } = lane.rung;
    if (signal.aborted) {
      lane.missing = { reason: "there was no time left to try it" };
      continue;
    }
    report({ phase: "preparing", rung: lane.rung.name, share: index / lanes.length });
    try {
      lane.open = await lane.rung.open(space);
      const { start } = newLane(lane.rung);
      takeStart(lane.open, warmsUp ? command : [], start, warmUpMs);
      if (!warmsUp && (start.whole[0] ?? 0) > slowMs) lane.start = start;
    } catch (error) {
      lane.missing = whyMissing(error);
      await lane.open?.[Symbol.asyncDispose]();
      lane.open = undefined;
    }
  }
}

function candidates(
  lanes: readonly Lane[],
  take: (lane: Lane, open: OpenRung) => void | Promise<void>,
  keepReason: "missing" | "networkMissing" = "missing",
): Sampled[] {
  return lanes.flatMap((lane) => {
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
}

async function takeStarts(
  lanes: readonly Lane[],
  command: readonly string[],
  { starts, minRounds }: Effort,
  signal: AbortSignal,
  report: Report,
): Promise<void> {
  await sampleInTurn(
    candidates(
      // one that is slow has its sample, unless the user's command is to be timed, too
      lanes.filter(({ start }) => start.whole.length === 0 || command.length > 0),
      (lane, open) => takeStart(open, command, lane.start),
    ),
    {
      ...starts,
      minRounds,
      signal,
      onSample: (rung, share) => report({ phase: "starts", rung, share }),
    },
  );
}

/** Ours alone tell theirs. */
async function takeAllPhases(
  lanes: readonly Lane[],
  space: Workspace,
  { phases, minRounds }: Effort,
  signal: AbortSignal,
  report: Report,
): Promise<void> {
  const ours = lanes.filter(({ rung }) => rung.kind === "ours");
  await sampleInTurn(
    candidates(ours, (lane, open) => {
      lane.phases.push(takePhases(open, space));
    }),
    {
      ...phases,
      minRounds,
      signal,
      onSample: (rung, share) => report({ phase: "phases", rung, share }),
    },
  );
}

async function takeAllWork(
  lanes: readonly Lane[],
  { work, eachMs, minRounds }: Effort,
  signal: AbortSignal,
  report: Report,
): Promise<void> {
  const inside = workloads.filter(({ group }) => group !== "host");
  const all: Work = { names: inside.map(({ name }) => name), eachMs };
  await sampleInTurn(
    candidates(fastFirst(lanes), (lane, open) => takeWork(open, all, lane.work)),
    {
      ...work,
      minRounds,
      signal,
      onSample: (rung, share) => report({ phase: "work", rung, share }),
    },
  );
}

/** Should time run out, it does so once, for the slowest. */
function fastFirst(lanes: readonly Lane[]): Lane[] {
  const startOf = ({ start }: Lane): number => spreadOf(start.whole).median;
  const able = lanes.filter(
    ({ start, rung }) => start.whole.length > 0 && rung.startsOnly !== true,
  );
  return able.sort((a, b) => startOf(a) - startOf(b));
}

/** Apart from the work inside: worlds have no way out there, which is what they are measured with. */
async function takeNetworks(
  lanes: readonly Lane[],
  servers: HostServers,
  { network, eachMs, minRounds }: Effort,
  signal: AbortSignal,
  report: Report,
): Promise<void> {
  await sampleInTurn(
    candidates(
      fastFirst(lanes),
      (lane, open) => takeNetwork(open, servers, eachMs, lane.work),
      "networkMissing",
    ),
    {
      ...network,
      minRounds,
      signal,
      onSample: (rung, share) => report({ phase: "network", rung, share }),
    },
  );
}

/** What slow rungs did not come to before the end; an interrupted comparison says so as a whole. */
function sayWhatTimeLacked(lanes: readonly Lane[]): void {
  for (const lane of lanes) {
    if (lane.open === undefined || lane.rung.startsOnly === true) continue;
    const none = (what: string) => ({ reason: `there was no time left for ${what}` });
    const { work } = lane.work;
    if (work.syscall === undefined) lane.missing ??= none("the work inside");
    if (work["round trip"] === undefined) lane.networkMissing ??= none("it");
  }
}

/** Where the software CPU can be used; a guest that fails here says so in its own rung. */
async function lookIntoGuest(
  lanes: readonly Lane[],
  space: Workspace,
  late: AbortSignal,
  report: Report,
): Promise<CpuReport | undefined> {
  const lane = lanes.find(({ open }) => open?.counted !== undefined);
  if (lane?.open === undefined || late.aborted) return undefined;
  report({ phase: "guest", rung: lane.rung.name, share: 0 });
  const { guestStatistics } = await import("./measure/guest-statistics.ts");
  try {
    return guestStatistics(lane.open, space.directory);
  } catch (error) {
    lane.missing ??= whyMissing(error);
    return undefined;
  }
}

/** One after the other: what one weighs must not be shared with another. */
async function weighAll(
  lanes: readonly Lane[],
  space: Workspace,
  { together, late }: Effort & { readonly late: AbortSignal },
  signal: AbortSignal,
  report: Report,
): Promise<void> {
  for (const [index, lane] of lanes.entries()) {
    if (signal.aborted) return;
    if (lane.open === undefined || lane.rung.startsOnly === true) continue;
    report({ phase: "memory", rung: lane.rung.name, share: index / lanes.length });
    try {
      await weigh(lane, lane.open, space, together, late);
    } catch (error) {
      lane.missing ??= whyMissing(error);
    }
  }
}

async function weigh(
  lane: Lane,
  open: OpenRung,
  space: Workspace,
  together: number,
  enough: AbortSignal,
): Promise<void> {
  await using held = holdWorlds(open, space);
  await held.start();
  const processes = held.processes();
  lane.memory = memoryUse(processes);
  const largest = [...processes].sort((a, b) => b.pssKiB - a.pssKiB)[0]?.pid;
  const looked = open.sharesKernel ? held.probe() : largest;
  if (looked !== undefined) {
    lane.boundary = boundaryOf(looked, open.sharesKernel ? "shared" : "own");
  }
  lane.density = await measureDensity(held, lane.memory, together, enough);
}
