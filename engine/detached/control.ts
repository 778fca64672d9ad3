/** What is done to containers that run, by their name: signals, waiting. */

import { constants } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import { killContainer, readContainer, StatusError } from "../../runtime/index.ts";
import type { ContainerRecord } from "../containers/directory.ts";
import { isRunning } from "../containers/list.ts";
import { ContainerError } from "../errors.ts";
import type { Places } from "../places.ts";
import { readEnd, sweep } from "../sweep.ts";

const POLL_MS = 10;
/** Whether somebody killed the keeper is looked at less often. */
const SWEEP_EVERY = 100;
/** After SIGKILL: what the kernel takes to end a container. */
const KILL_PATIENCE_MS = 10_000;
/** A keeper writes the status first and lets go of the container then. */
const SWEEP_PATIENCE_MS = 5000;
const UNKNOWN_STATUS = 137;

export interface StopOptions {
  /** Instead of the container's own. */
  readonly signal?: string | undefined;
  /** Then SIGKILL; negative: never. */
  readonly timeoutMs: number;
}

/** Returns when it has ended. */
export async function stopContainer(
  places: Places,
  name: string,
  { signal, timeoutMs }: StopOptions,
): Promise<void> {
  sweep(places);
  const record = places.containers.find(name);
  if (!isRunning(places, record.id)) return;
  await send(places, record, parseSignal(signal ?? record.stopSignal ?? "SIGTERM"));
  const end = timeoutMs < 0 ? Number.POSITIVE_INFINITY : timeoutMs;
  if (await endsWithin(places, record, end)) return;
  await send(places, record, constants.signals.SIGKILL);
  if (!(await endsWithin(places, record, KILL_PATIENCE_MS)))
    throw new ContainerError(`Cannot stop "${record.name}": it runs in spite of SIGKILL`, {
      status: 1,
    });
}

export async function killContainerByName(
  places: Places,
  name: string,
  signal: string,
): Promise<void> {
  const number = parseSignal(signal);
  sweep(places);
  const record = places.containers.find(name);
  if (!isRunning(places, record.id))
    throw new ContainerError(`Cannot kill "${record.name}": it is not running`, { status: 1 });
  await send(places, record, number);
}

/** @returns the exit status, as a shell has it */
export async function waitForContainer(places: Places, name: string): Promise<number> {
  sweep(places);
  const { id } = places.containers.find(name);
  for (let round = 1; ; round++) {
    const now = places.containers.read(id);
    const written = readEnd(places.containers.path(id, "exit-status"));
    if (written !== undefined) {
      await endsWithin(places, { id }, SWEEP_PATIENCE_MS); // so that others see it ended
      return written.exitStatus;
    }
    if (now === undefined) return UNKNOWN_STATUS; // it took its directory with it
    if (!isRunning(places, id) && now.exitStatus !== undefined) return now.exitStatus;
    await sleep(POLL_MS);
    if (round % SWEEP_EVERY === 0) sweep(places);
  }
}

async function endsWithin(
  places: Places,
  { id }: Pick<ContainerRecord, "id">,
  timeoutMs: number,
): Promise<boolean> {
  const end = Date.now() + timeoutMs;
  for (let round = 1; isRunning(places, id); round++) {
    if (Date.now() > end) return false;
    await sleep(POLL_MS);
    if (round % SWEEP_EVERY === 0) sweep(places);
  }
  return true;
}

async function send(places: Places, record: ContainerRecord, signal: number): Promise<void> {
  if (record.machine !== undefined) {
    await (await import("../vm/monitor-client.ts")).killMachine(record, signal);
    return;
  }
  try {
    killContainer(readContainer(places.runRoot, record.id), signal);
  } catch (error) {
    if (!(error instanceof StatusError)) throw error; // it is ending
  }
}

/** "TERM", "SIGTERM", "15", "RTMIN+3". */
export function parseSignal(text: string): number {
  const name = text.toUpperCase().replace(/^SIG/, "");
  const number = /^\d+$/.test(name) ? Number(name) : numberOf(name);
  if (number !== undefined && number > 0 && number <= 64) return number;
  throw new ContainerError(`Cannot send the signal "${text}": expected a name or 1 to 64`, {
    status: 1,
  });
}

const [SIGRTMIN, SIGRTMAX] = [34, 64];

function numberOf(name: string): number | undefined {
  const [, end, more = "0"] = /^RT(MIN|MAX)(?:[+-](\d+))?$/.exec(name) ?? [];
  if (end !== undefined) return end === "MIN" ? SIGRTMIN + Number(more) : SIGRTMAX - Number(more);
  // SAFE: a name that is none gives undefined
  return constants.signals[`SIG${name}` as NodeJS.Signals];
}
