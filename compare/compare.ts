/**
 * The comparison: opens every rung that this machine offers, measures them in turn, and returns
 * what it has when its time is up or somebody interrupts it.
 */
import { VERSION } from "../engine/index.ts";
import type { CpuReport } from "../vmm-sandbox/index.ts";
import {
  type Course,
  lookIntoGuest,
  openAll,
  sayWhatTimeLacked,
  takeAllPhases,
  takeAllWork,
  takeNetworks,
  takeStarts,
  weighAll,
} from "./course.ts";
import { Clock, efforts } from "./effort.ts";
import { HostServers } from "./host-server.ts";
import { newLane, toResult } from "./lane.ts";
import { machineFacts } from "./machine.ts";
import type { Comparison } from "./result.ts";
import { rungs as allRungs } from "./rungs/index.ts";
import type { Rung } from "./rungs/rung.ts";
import { isCompiled } from "./self.ts";
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

export async function compare(request: CompareRequest): Promise<Comparison> {
  const { image, command = [], quick = false } = request;
  const signal = request.signal ?? new AbortController().signal;
  const effort = efforts[quick ? "quick" : "full"];
  const clock = new Clock(effort, signal);
  using space = await Workspace.open(image, request.root);
  using servers = new HostServers(space.probe);
  const lanes = chooseRungs(request.only).map(newLane);
  const report = request.onProgress ?? (() => undefined);
  const course: Course = { lanes, space, servers, effort, clock, command, report };
  let guest: CpuReport | undefined;
  try {
    await openAll(course);
    await takeStarts(course, 1 / 3);
    await takeAllPhases(course, 1 / 6);
    await takeAllWork(course, 3 / 4);
    await takeNetworks(course, 1);
    guest = await lookIntoGuest(course);
    await weighAll(course);
    sayWhatTimeLacked(course);
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
    tookMs: clock.elapsedMs,
    rungs: lanes.map(toResult),
    ...(guest !== undefined && { guest }),
  };
}

function chooseRungs(only: readonly string[] | undefined): readonly Rung[] {
  const unknown = only?.find((name) => allRungs.every((rung) => rung.name !== name));
  if (unknown !== undefined) {
    const names = allRungs.map(({ name }) => name).join(", ");
    throw new RangeError(`Cannot compare "${unknown}": expected some of ${names}`);
  }
  return allRungs.filter(({ name }) => only === undefined || only.includes(name));
}
