/** What a world weighs, and how many fit. */
import { totalmem } from "node:os";
import type { Density, MemoryUse } from "../result.ts";
import type { Held } from "./held.ts";
import type { ProcessMemory } from "./processes.ts";

export function memoryUse(processes: readonly ProcessMemory[]): MemoryUse {
  const byName = new Map<string, number>();
  for (const { name, pssKiB } of processes) byName.set(name, (byName.get(name) ?? 0) + pssKiB);
  return {
    pssKiB: sum(processes, "pssKiB"),
    privateKiB: sum(processes, "privateKiB"),
    processes: [...byName].map(([name, pssKiB]) => ({ name, pssKiB })),
  };
}

/**
 * Starts more of them beside the first, until `together` run or they weigh `limitBytes`; what each
 * one adds is measured, how many fit in this machine's memory is extrapolated from that.
 */
export async function measureDensity(
  held: Held,
  first: MemoryUse,
  together: number,
  enough: AbortSignal,
): Promise<Density> {
  const limitKiB = totalmem() / 1024 / 8;
  let count = 1;
  let pssKiB = first.pssKiB;
  while (count < together && pssKiB < limitKiB && !enough.aborted) {
    await held.start();
    count += 1;
    pssKiB = sum(held.processes(), "pssKiB");
  }
  const eachKiB = count > 1 ? (pssKiB - first.pssKiB) / (count - 1) : pssKiB;
  const memoryBytes = totalmem();
  const fits = Math.max(0, Math.floor((memoryBytes / 1024 - first.pssKiB) / Math.max(1, eachKiB)));
  return { together: count, eachKiB, memoryBytes, fits };
}

function sum(processes: readonly ProcessMemory[], field: "pssKiB" | "privateKiB"): number {
  return processes.reduce((total, each) => total + each[field], 0);
}
