/** A comparison with everything in it, for what shows comparisons: all kinds of rungs and gaps. */
import type { Comparison, RungResult, WorkloadName } from "../../compare/index.ts";
import { workloads } from "../../compare/index.ts";

interface RungRow {
  readonly name: string;
  readonly kind: RungResult["kind"];
  /** Milliseconds to the first instruction. */
  readonly startMs: number;
  /** How many times longer everything inside takes. */
  readonly slowdown: number;
  readonly pssKiB: number;
  readonly kernel: "shared" | "own";
}

// biome-ignore format: table
const rows: readonly RungRow[] = [
  { name: "process",       kind: "bare", startMs: 0.2,  slowdown: 1,    pssKiB: 20,      kernel: "shared" },
  { name: "container",     kind: "ours", startMs: 12,   slowdown: 1.02, pssKiB: 25_000,  kernel: "shared" },
  { name: "vm-kvm",      kind: "ours", startMs: 240,  slowdown: 1.1,  pssKiB: 90_000,  kernel: "own" },
  { name: "vm-software", kind: "ours", startMs: 2100, slowdown: 9,    pssKiB: 300_000, kernel: "own" },
  { name: "<runc> & \"co\"", kind: "peer", startMs: 40,   slowdown: 1.01, pssKiB: 9000,    kernel: "shared" },
];

const spread = [0.9, 0.97, 1, 1.05, 1.3];

export function sampleComparison(changes: Partial<Comparison> = {}): Comparison {
  return {
    version: "0.0.0",
    date: "2026-01-02T03:04:05.678Z",
    machine: {
      processor: "2 × Test",
      kernel: "6.1",
      system: "Debian",
      memory: "24 GiB",
      load: "0.1 0 0",
    },
    image: "busybox",
    command: ["sh", "-c", "echo </script><b>"],
    quick: false,
    interrupted: false,
    tookMs: 61_000,
    rungs: [...rows.map(toRung), missing],
    guest,
    ...changes,
  };
}

const guest: NonNullable<Comparison["guest"]> = {
  translation: {
    ...{ runs: 20_000, instructions: 220_000, regions: 200, regionInstructions: 17_000 },
    ...{ regionBytes: 1_000_000, compileMs: 900, invalidations: 300, flushes: 0 },
  },
  hitRate: 0.61,
  exits: { fuel: 5000, lookup: 26_000, fault: 1000, helper: 27_000, hot: 200 },
  tlb: { misses: 41_000, flushes: 14_000 },
  helpers: 38_000,
  slowAccesses: 42_000,
  interrupts: 222,
  exceptions: { "14": 1065 },
  sensitive: [
    { instruction: "PUSHF", kernel: 21_060, user: 0, handled: "emitted" },
    { instruction: "SGDT", kernel: 1, user: 0, handled: "helper" },
    { instruction: "SMSW", kernel: 0, user: 0, handled: "helper" },
  ],
  refused: { instructions: {}, msrs: [] },
};

const missing: RungResult = {
  name: "docker",
  kind: "peer",
  description: "docker run",
  missing: { reason: "its daemon does not answer", cure: "start dockerd" },
  notes: [],
  start: { firstInstruction: [], whole: [], cpu: [], command: [], seenBy: "clock" },
  work: {},
  workFailed: {},
};

function toRung({ name, kind, startMs, slowdown, pssKiB, kernel }: RungRow): RungResult {
  const around = (value: number): number[] => spread.map((factor) => factor * value);
  const work: Partial<Record<WorkloadName, number[]>> = {};
  for (const workload of workloads) {
    if (workload.name === "sync" && kind === "peer") continue;
    if (workload.group === "host" && name === "vm-kvm") continue;
    work[workload.name] = around(("bytes" in workload ? 0.2 : 500) * slowdown);
  }
  return {
    name,
    kind,
    description: `a row called ${name}`,
    notes: [],
    start: {
      firstInstruction: around(startMs),
      whole: around(startMs * 1.5),
      cpu: around(startMs / 2),
      command: around(startMs * 1.6),
      seenBy: kernel === "own" ? "output" : "clock",
    },
    work,
    workFailed: kind === "peer" ? { sync: "EROFS" } : {},
    network: {
      way: kernel === "own" ? "--network passt" : "--network host",
      ...(name === "vm-kvm" && { missing: { reason: "passt is not installed" } }),
    },
    memory: { pssKiB, privateKiB: pssKiB, processes: [{ name: "probe", pssKiB }] },
    density: {
      together: 16,
      eachKiB: pssKiB / 2,
      memoryBytes: 2 ** 34,
      fits: Math.floor(2 ** 25 / pssKiB),
    },
    boundary: {
      kernel,
      capabilities: ["CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE"],
      hostUser: 0,
      noNewPrivileges: true,
      seccomp: "filter",
      reachableSyscalls: 300,
      knownSyscalls: 382,
      namespaces: ["mnt", "pid", "net", "ipc", "uts", "cgroup"],
    },
  };
}
