/** What people say about isolation, and what was measured here. */

import { type WorkloadName, workloads } from "./probe.ts";
import type { Comparison, RungResult } from "./result.ts";
import { spreadOf } from "./statistics.ts";
import { bareRung, formatRatio, formatTime, overheadOf } from "./summary.ts";

export interface Claim {
  readonly says: string;
  /** What was measured; undefined when a rung that it is about is not there. */
  readonly measured: (comparison: Comparison) => string | undefined;
}

export const claims: readonly Claim[] = [
  {
    says: "Containers start in milliseconds, virtual machines in minutes.",
    measured(comparison) {
      const ours = startOf(comparison, "container");
      if (ours === undefined) return undefined;
      const machines = machinesOf(comparison).map((rung) => {
        const ms = spreadOf(rung.start.firstInstruction).median;
        return `${rung.name}: ${formatTime(ms)}, ${formatRatio(ms / ours)} the container's`;
      });
      return [`container: ${formatTime(ours)} to its first instruction`, ...machines].join("; ");
    },
  },
  {
    says: "Hundreds of containers fit where ten virtual machines do.",
    measured(comparison) {
      const container = find(comparison, "container")?.density;
      const machines = machinesOf(comparison).flatMap(({ name, density }) =>
        density === undefined || container === undefined
          ? []
          : [
              `${formatRatio(container.fits / Math.max(1, density.fits))} as many containers as ${name}`,
            ],
      );
      return machines.length === 0
        ? undefined
        : `${machines.join("; ")} (extrapolated from memory)`;
    },
  },
  {
    says: "A container runs at the speed of the bare machine.",
    measured: (comparison) => meanOverheads(comparison, "container"),
  },
  {
    says: "Translated code runs at nearly native speed.",
    measured: (comparison) => meanOverheads(comparison, "vm-software"),
  },
  {
    says: "A virtual machine on hardware costs a few percent.",
    measured: (comparison) => meanOverheads(comparison, "vm-kvm"),
  },
  {
    says: "Containers do not contain: they share the host's kernel.",
    measured(comparison) {
      const boundary = find(comparison, "container")?.boundary;
      if (boundary?.reachableSyscalls === undefined) return undefined;
      const { reachableSyscalls, knownSyscalls, capabilities } = boundary;
      return `${reachableSyscalls} of ${knownSyscalls} system calls reach the host's kernel, with ${capabilities.length} capabilities`;
    },
  },
  {
    says: "System calls cost more behind a seccomp filter.",
    measured(comparison) {
      const rung = find(comparison, "container");
      const ratio = rung && overheadOf(rung, bareRung(comparison), "syscall");
      return ratio && `getpid() takes ${formatRatio(ratio.median)} as long in a container`;
    },
  },
];

/** Rungs with a kernel of their own. */
export function machinesOf({ rungs }: Comparison): readonly RungResult[] {
  return rungs.filter(({ start }) => start.seenBy === "output" && start.whole.length > 0);
}

function find({ rungs }: Comparison, name: string): RungResult | undefined {
  return rungs.find((rung) => rung.name === name && rung.start.whole.length > 0);
}

function startOf(comparison: Comparison, name: string): number | undefined {
  const rung = find(comparison, name);
  return rung === undefined ? undefined : spreadOf(rung.start.firstInstruction).median;
}

/** Geometric means of the ratios to the bare process. */
function meanOverheads(comparison: Comparison, name: string): string | undefined {
  const rung = find(comparison, name);
  if (rung === undefined) return undefined;
  const parts = (["cpu", "kernel"] as const).flatMap((group) => {
    const mean = geometricMean(rung, comparison, group);
    return mean === undefined ? [] : [`${formatRatio(mean)} for ${groupWords[group]}`];
  });
  return parts.length === 0 ? undefined : `${parts.join(", ")} (geometric means)`;
}

const groupWords = { cpu: "arithmetic and memory", kernel: "calls into the kernel" } as const;

export function geometricMean(
  rung: RungResult,
  comparison: Comparison,
  group: "cpu" | "kernel",
): number | undefined {
  const bare = bareRung(comparison);
  const names: readonly WorkloadName[] = workloads
    .filter((workload) => workload.group === group)
    .map(({ name }) => name);
  const ratios = names.flatMap((name) => overheadOf(rung, bare, name)?.median ?? []);
  if (ratios.length === 0) return undefined;
  return Math.exp(ratios.reduce((sum, ratio) => sum + Math.log(ratio), 0) / ratios.length);
}
