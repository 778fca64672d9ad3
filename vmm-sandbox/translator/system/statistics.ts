/** What the CPU counts, for `--cpu-stats` and for whoever wonders where the time went. */
import type { Instruction } from "../isa/decode.ts";

export type CpuStatistics = {
  readonly exits: number[];
  slowAccesses: number;
  helpers: number;
  interrupts: number;
  jumpFlushes: number;
  readonly exceptions: number[];
  readonly unknownMsrs: Set<number>;
  readonly undefined: Map<string, number>;
  countUndefined(it: Instruction): void;
};

export function newStatistics(): CpuStatistics {
  const undefinedForms = new Map<string, number>();
  return {
    exits: [0, 0, 0, 0, 0],
    slowAccesses: 0,
    helpers: 0,
    interrupts: 0,
    jumpFlushes: 0,
    exceptions: new Array(32).fill(0),
    unknownMsrs: new Set(),
    undefined: undefinedForms,
    countUndefined(it) {
      const hex = (n: number): string => n.toString(16).padStart(2, "0");
      const name = `${it.row.text} (opcode ${hex(it.opcode)} modrm ${hex(it.modRm)})`;
      undefinedForms.set(name, (undefinedForms.get(name) ?? 0) + 1);
    },
  };
}
