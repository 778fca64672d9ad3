/**
 * The probe: a static program of ours that runs in every world, so that any image can be measured,
 * an empty one too.
 *
 * ```
 * probe s                   "s STAMP": CLOCK_MONOTONIC at its first instructions, nanoseconds
 * probe wLETTERS MS FOLDER  the stamp, then for each workload "LETTER NANOSECONDS OPERATIONS",
 *                           and the same two of its fastest batch, or "LETTER ! ERRNO"; files go
 *                           to FOLDER
 * probe wLETTERS MS FOLDER ADDRESS PORT   the same, with a server of this machine for what goes there
 * probe h FILE              the stamp, "k RELEASE" of the kernel, then waits until FILE is gone
 * probe l ADDRESS           that server: "l PORT", then answers until whoever started it ends
 * ```
 * ADDRESS and PORT are decimal numbers whose bytes, lowest first, are those of the network's order.
 */
import { chmodSync, writeFileSync } from "node:fs";
import { encodeExecutable, errnoName } from "../linux/index.ts";
import { probeX86_64 } from "./generated/probe-x86-64.ts";

export interface Workload {
  readonly letter: string;
  readonly name: string;
  /** What one operation is. */
  readonly what: string;
  readonly group: "cpu" | "kernel" | "storage" | "network" | "host";
  /**
   * Which time counts. "fastest": of the batch that nothing disturbed, for what the processor does
   * alone. "mean": of all, for what waits for devices, whose pauses are part of it.
   */
  readonly time: "fastest" | "mean";
  /** Operations are bytes: shown as throughput instead of time for each. */
  readonly bytes?: true;
}

// biome-ignore format: table
export const workloads = [
  { letter: "I", name: "integer",    group: "cpu",     time: "fastest", what: "one step of xorshift64*, 8 dependent instructions" },
  { letter: "F", name: "floating",   group: "cpu",     time: "fastest", what: "one step of the logistic map in doubles" },
  { letter: "M", name: "memory",     group: "cpu",     time: "fastest", what: "copying 1 MiB with rep movsb", bytes: true },
  { letter: "S", name: "syscall",    group: "kernel",  time: "fastest", what: "getpid()" },
  { letter: "P", name: "page fault", group: "kernel",  time: "fastest", what: "first touch of a 4 KiB page, with its mmap and munmap" },
  { letter: "X", name: "fork+exec",  group: "kernel",  time: "fastest", what: "clone, execve of the probe, wait4" },
  { letter: "C", name: "switch",     group: "kernel",  time: "fastest", what: "a byte to another process and back, through pipes" },
  { letter: "D", name: "small file", group: "storage", time: "mean",    what: "create, write 1 byte, close, stat, unlink" },
  { letter: "Y", name: "sync",       group: "storage", time: "mean",    what: "pwrite of 4 KiB and fdatasync" },
  { letter: "W", name: "write",      group: "storage", time: "mean",    what: "4 MiB in blocks of 64 KiB, then fdatasync", bytes: true },
  { letter: "R", name: "read",       group: "storage", time: "mean",    what: "4 MiB in blocks of 64 KiB from the page cache", bytes: true },
  { letter: "T", name: "message",    group: "network", time: "fastest", what: "1 byte over TCP on the loopback interface" },
  { letter: "N", name: "stream",     group: "network", time: "fastest", what: "pieces of 16 KiB over TCP on the loopback interface", bytes: true },
  { letter: "A", name: "round trip", group: "host",    time: "fastest", what: "1 byte over TCP to a server of this machine, and back" },
  { letter: "B", name: "to host",    group: "host",    time: "fastest", what: "1 MiB over TCP to this machine, until it has all", bytes: true },
  { letter: "E", name: "from host",  group: "host",    time: "fastest", what: "1 MiB over TCP from this machine", bytes: true },
] as const satisfies readonly Workload[];

/** Before them, where the probe is a guest's first process: brings its network devices up. */
const NETWORK_UP = "U";

export type WorkloadName = (typeof workloads)[number]["name"];

/** Each workload lasts this long, or one batch when that is longer. */
export interface Work {
  readonly names: readonly WorkloadName[];
  readonly eachMs: number;
}

export function writeProbe(path: string): void {
  const bytes = encodeExecutable({
    code: Buffer.from(probeX86_64.hex, "hex"),
    entry: probeX86_64.start,
    data: new Uint8Array(0),
    dataBytes: probeX86_64.dataBytes,
  });
  writeFileSync(path, bytes);
  chmodSync(path, 0o755);
}

/** So many ticks of a coarse clock are a measurement. */
const TICKS = 10;

export interface WorkPlace {
  /** Where files go. */
  readonly writable: string;
  /** How far the clock inside jumps, where it counts ticks only. */
  readonly clockTickMs?: number;
  readonly bringsUp?: true;
}

export function workArguments(
  { names, eachMs }: Work,
  { writable, clockTickMs = 0, bringsUp }: WorkPlace,
): readonly string[] {
  const ms = Math.max(eachMs, TICKS * clockTickMs);
  const letters = workloads.filter(({ name }) => names.includes(name)).map(({ letter }) => letter);
  const first = bringsUp === true ? NETWORK_UP : "";
  return [`w${first}${letters.join("")}`, String(Math.round(ms)), writable];
}

export interface ProbeAnswer {
  /** CLOCK_MONOTONIC of the kernel that ran it. */
  readonly stampNs: number;
  /** Nanoseconds for one operation. */
  readonly nsPerOperation: ReadonlyMap<WorkloadName, number>;
  /** Workloads that could not run, with the errno's name. */
  readonly failed: ReadonlyMap<WorkloadName, string>;
}

/** Other lines, such as a kernel's, may stand before and after the probe's. */
export function parseProbe(output: string): ProbeAnswer {
  const stamp = /^s (\d+)\r?$/m.exec(output)?.[1];
  if (stamp === undefined) {
    const said = JSON.stringify(output.slice(0, 200));
    throw new SyntaxError(`Cannot read the probe's answer ${said}: expected "s STAMP"`);
  }
  const nsPerOperation = new Map<WorkloadName, number>();
  const failed = new Map<WorkloadName, string>();
  for (const [, letter, errno] of output.matchAll(/^([A-Z]) ! (\d+)\r?$/gm)) {
    const workload = find(letter);
    if (workload !== undefined) failed.set(workload.name, errnoName(Number(errno)));
  }
  for (const [, letter, ...texts] of output.matchAll(/^([A-Z]) (\d+) (\d+) (\d+) (\d+)\r?$/gm)) {
    const [ns = 0, operations = 0, fastestNs = 0, batch = 0] = texts.map(Number);
    const workload = find(letter);
    if (workload === undefined || operations === 0 || batch === 0) continue;
    // a clock that only counts ticks sees no time go by in a short batch
    const useMean = workload.time === "mean" || fastestNs === 0;
    const each = useMean ? ns / operations : fastestNs / batch;
    nsPerOperation.set(workload.name, each);
  }
  return { stampNs: Number(stamp), nsPerOperation, failed };
}

function find(letter: string | undefined) {
  return workloads.find((each) => each.letter === letter);
}
