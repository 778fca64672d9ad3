/** One rung while it is measured: what it has given so far. */
import { type PhaseSample, summarizePhases } from "./measure/phases.ts";
import type { StartRecord } from "./measure/start.ts";
import type { WorkRecord } from "./measure/work.ts";
import type { Boundary, Density, MemoryUse, Missing, RungResult } from "./result.ts";
import { type OpenRung, type Rung, RungMissingError } from "./rungs/rung.ts";

export interface Lane {
  readonly rung: Rung;
  open: OpenRung | undefined;
  missing: Missing | undefined;
  /** Why its way to this machine was not measured; the rest was. */
  networkMissing: Missing | undefined;
  start: StartRecord;
  /** The start that it was tried with: better than none. */
  trial: StartRecord | undefined;
  readonly work: WorkRecord;
  memory?: MemoryUse;
  density?: Density;
  boundary?: Boundary;
  readonly phases: PhaseSample[];
}

export function newLane(rung: Rung): Lane {
  return {
    rung,
    open: undefined,
    missing: undefined,
    networkMissing: undefined,
    trial: undefined,
    start: { firstInstruction: [], whole: [], cpu: [], command: [] },
    work: { work: {}, workFailed: {} },
    phases: [],
  };
}

export function whyMissing(error: unknown): Missing {
  if (error instanceof RungMissingError) return error.missing;
  return { reason: error instanceof Error ? error.message : String(error) };
}

export function toResult(lane: Lane): RungResult {
  const { rung, open, missing, networkMissing, work, memory, density, boundary } = lane;
  const start = lane.start.whole.length === 0 ? (lane.trial ?? lane.start) : lane.start;
  return {
    name: rung.name,
    kind: rung.kind,
    description: rung.description,
    notes: open?.notes ?? [],
    start: { ...start, seenBy: open?.sharesKernel === false ? "output" : "clock" },
    ...work,
    ...(missing !== undefined && { missing }),
    ...(open !== undefined &&
      rung.startsOnly !== true && {
        network: {
          way: open.outward.way,
          ...(networkMissing !== undefined && { missing: networkMissing }),
        },
      }),
    ...(memory !== undefined && { memory }),
    ...(density !== undefined && { density }),
    ...(boundary !== undefined && { boundary }),
    ...(lane.phases.length > 0 && { phases: summarizePhases(lane.phases) }),
  };
}
