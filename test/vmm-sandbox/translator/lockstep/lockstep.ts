/**
 * Two tiers boot the same Linux side by side; where they first differ is narrowed down to the
 * instructions between two places that the compiled tier can be looked at.
 *
 * Gates (traced-machine.ts) come every few thousand instructions. First both go on by many gates at a
 * time; when states, events or memory differ they begin again and go to the last gate where all was
 * equal, then on by fewer. From one gate to the next, events are bisected; from one event to the next,
 * the suspect goes from point to point while the reference steps until it is where that one is.
 */
import { differencesOf, hashOf } from "./compared-state.ts";
import { describeCode, type Step, stepHere } from "./step.ts";
import type { TracedMachine } from "./traced-machine.ts";

/** Gates at a time. */
const strides = [256, 16, 1] as const;
/** Instructions that one gate may take; only guests that spin come near. */
const maxSteps = 20_000_000;
/** Gates that the reference may pass on its way to a point of the suspect. */
const gatesAhead = 3;
/** Instructions of a difference that are kept for the report. */
const maxKept = 400;
/** Points of one gate at which memory is compared. */
const memoryLooks = 200;

/** What the two tiers are; each call makes them anew. */
export type Pair = () => readonly [reference: TracedMachine, suspect: TracedMachine];

export interface Agreement {
  readonly kind: "agreement";
  readonly gates: number;
  readonly events: number;
  readonly ended: string;
  readonly output: string;
  /** Regions that the suspect compiled. */
  readonly regions: number;
}

export interface Difference {
  readonly kind: "difference";
  /** Both were equal at this gate. */
  readonly gate: number;
  readonly what: string;
  /** Instructions of the reference from the last equal point on; empty: it was not seen again. */
  readonly code: readonly string[];
  /** Registers, or the first places in memory. */
  readonly values: readonly string[];
}

export function compareTiers(
  pair: Pair,
  options: { readonly report?: (line: string) => void; readonly maxGates?: number } = {},
): Agreement | Difference {
  const { report = () => undefined, maxGates = Number.POSITIVE_INFINITY } = options;
  let good: Place = { gate: 0, event: 0 };
  let what = "";
  let last = 0;
  for (const stride of strides) {
    const [reference, suspect] = pair();
    advance(reference, suspect, good.gate);
    let found: string | undefined;
    while (found === undefined && reference.ended === undefined && reference.gates < maxGates) {
      good = { gate: reference.gates, event: reference.events };
      advance(reference, suspect, good.gate + stride);
      found = differenceAtGate(reference, suspect, good.event);
      report(`gate ${reference.gates}, ${reference.events} events: ${found ?? "equal"}`);
    }
    if (found === undefined && stride === strides[0]) return agreement(reference, suspect);
    if (found === undefined)
      return { kind: "difference", gate: good.gate, what: `${what}; not seen again`, ...nothing };
    what = found;
    last = lastEvent(reference, suspect, good.event);
  }
  const { gate } = good;
  const event = bisectEvents(pair, good, last, report);
  return { kind: "difference", gate, what, ...lookClosely(pair, { gate, event }) };
}

const nothing = { code: [], values: [] };

/** Where both were equal: the last gate, and how many events they had seen. */
type Place = { readonly gate: number; readonly event: number };

/** The first event that is known to be behind the difference. */
function lastEvent(reference: TracedMachine, suspect: TracedMachine, from: number): number {
  const event = reference.firstDifference(suspect, from);
  return event >= 0 ? event : Math.min(reference.events, suspect.events);
}

/** The last event after which both are still equal. */
function bisectEvents(
  pair: Pair,
  { gate, event }: Place,
  last: number,
  report: (line: string) => void,
): number {
  let [equal, different] = [event, last + 1];
  // Most differences show soon: the first steps back are small.
  for (let back = 1; different - equal > 1; back *= 4) {
    const middle = Math.max((equal + different) >> 1, different - back);
    const [reference, suspect] = pair();
    const isEqual =
      goTo(reference, suspect, { gate, event: middle }) && haveSameMemory(reference, suspect);
    report(`event ${middle}: ${isEqual ? "equal" : "different"}`);
    if (isEqual) equal = middle;
    else different = middle;
  }
  return equal;
}

/** Both to the suspect's first point after an event; false: the reference is never there. */
function goTo(reference: TracedMachine, suspect: TracedMachine, { gate, event }: Place): boolean {
  advance(reference, suspect, gate);
  if (suspect.events >= event) return true;
  // The event before: a region may be left later than the interpreter, but not before the event.
  reference.runToEvent(event - 1);
  suspect.runToEvent(event);
  return stepUntil(reference, suspect.stateHere.slice(), []).matches;
}

function agreement(reference: TracedMachine, suspect: TracedMachine): Agreement {
  const { gates, events, ended = "not ended", output } = reference;
  const { regions } = suspect.cpu.jit.statistics;
  return { kind: "agreement", gates, events, ended, output, regions };
}

function advance(reference: TracedMachine, suspect: TracedMachine, gate: number): void {
  reference.runToGate(gate);
  suspect.runToGate(gate);
}

function differenceAtGate(
  reference: TracedMachine,
  suspect: TracedMachine,
  fromEvent: number,
): string | undefined {
  const event = reference.firstDifference(suspect, fromEvent);
  if (event >= 0) return `event ${event} differs`;
  if (reference.ended !== suspect.ended)
    return `one ended with ${reference.ended}, the other with ${suspect.ended}`;
  if (reference.events !== suspect.events)
    return `${reference.events} and ${suspect.events} events`;
  if (reference.ended === undefined) {
    const [state] = differencesOf(reference.stateHere, suspect.stateHere.slice());
    if (state) return state;
  }
  const at = firstDifferentByte(reference.ram, suspect.ram);
  return at < 0 ? undefined : `memory at 0x${at.toString(16)} differs`;
}

/** Point by point from a place; the second time with memory: what is loaded was wrong before. */
function lookClosely(pair: Pair, from: Place): Pick<Difference, "code" | "values"> {
  const { points } = followPoints(pair, from, Number.POSITIVE_INFINITY);
  const every = Math.max(1, Math.ceil(points / memoryLooks));
  return followPoints(pair, from, every).found ?? nothing;
}

interface Followed {
  readonly points: number;
  readonly found?: { readonly code: readonly string[]; readonly values: readonly string[] };
}

/** `every`: points from one comparison of memory to the next. */
function followPoints(pair: Pair, from: Place, every: number): Followed {
  const [reference, suspect] = pair();
  goTo(reference, suspect, from);
  const end = suspect.gates + 1;
  suspect.leaveOften();
  let sinceLook: Step[] = [];
  for (let points = 1; ; points++) {
    suspect.runUntil(() => true);
    const wanted = suspect.stateHere.slice();
    const steps: Step[] = [];
    const { matches, sameRip, stepsToRip } = stepUntil(reference, wanted, steps);
    if (!matches) {
      const values = sameRip ? differencesOf(sameRip, wanted) : ["it never came there"];
      return { points, found: { code: describeCode(steps.slice(0, stepsToRip)), values } };
    }
    sinceLook = [...sinceLook, ...steps].slice(-maxKept);
    if (points % every === 0) {
      const at = firstDifferentByte(reference.ram, suspect.ram);
      if (at >= 0) {
        const values = [memoryText(reference, suspect, at)];
        return { points, found: { code: describeCode(sinceLook), values } };
      }
      sinceLook = [];
    }
    if (suspect.gates >= end || suspect.ended !== undefined) return { points };
  }
}

/** Steps until the state is the wanted one; the first state on the way that had its RIP, if none is. */
function stepUntil(
  reference: TracedMachine,
  wanted: Int32Array,
  steps: Step[],
): {
  readonly matches: boolean;
  readonly sameRip: Int32Array | undefined;
  /** Steps until then. */
  readonly stepsToRip: number;
} {
  const [a, b] = hashOf(wanted, 0);
  const end = reference.gates + gatesAhead;
  let sameRip: Int32Array | undefined;
  let stepsToRip = maxKept;
  let count = 0;
  const isWanted = (): boolean => {
    const here = reference.stateHere;
    const [x, y] = hashOf(here, 0);
    if (x === a && y === b) return true;
    if (count > 0 && here[0] === wanted[0] && here[1] === wanted[1]) {
      if (!sameRip) stepsToRip = steps.length;
      sameRip ??= here.slice();
    }
    if (count++ < maxKept) steps.push(stepHere(reference.cpu));
    return false;
  };
  // A look-up is a point where nothing has happened since the last.
  reference.stepEachInstruction();
  if (isWanted()) return { matches: true, sameRip, stepsToRip };
  let matches = false;
  reference.runUntil(() => {
    reference.stepEachInstruction();
    matches = isWanted();
    return matches || count >= maxSteps || reference.gates > end;
  });
  return { matches, sameRip, stepsToRip };
}

function memoryText(reference: TracedMachine, suspect: TracedMachine, at: number): string {
  const from = at & ~7;
  const hex = ({ ram }: TracedMachine) => Buffer.from(ram.slice(from, from + 16)).toString("hex");
  return `memory at 0x${from.toString(16)}: ${hex(reference)} and ${hex(suspect)}`;
}

function haveSameMemory(reference: TracedMachine, suspect: TracedMachine): boolean {
  return firstDifferentByte(reference.ram, suspect.ram) < 0;
}

const chunkBytes = 1 << 16;

function firstDifferentByte(a: Uint8Array, b: Uint8Array): number {
  for (let at = 0; at < a.length; at += chunkBytes) {
    const [x, y] = [a.subarray(at, at + chunkBytes), b.subarray(at, at + chunkBytes)];
    if (Buffer.compare(x, y) === 0) continue;
    return at + x.findIndex((byte, i) => byte !== y[i]);
  }
  return -1;
}
