/** What the CPU counts, for `--cpu-stats` and for whoever wonders where the time went. */
import { type CpuReport, type ExitName, exitNames } from "../../machine/cpu-report.ts";
import type { Instruction } from "../isa/decode.ts";
import { layout, state } from "../state.ts";
import type { Cpu } from "./cpu.ts";
import { handlingOf, type SensitiveKind, sensitiveKind, sensitiveKinds } from "./sensitive.ts";

/** A guest may try whatever it likes: so many are named. */
const MAX_NAMES = 256;

export type CpuStatistics = {
  readonly exits: number[];
  slowAccesses: number;
  helpers: number;
  interrupts: number;
  jumpFlushes: number;
  readonly exceptions: number[];
  readonly unknownMsrs: Set<number>;
  readonly undefined: Map<string, number>;
  /** Sensitive instructions that helpers ran, in kernel and in user mode. */
  readonly sensitive: readonly [Map<SensitiveKind, number>, Map<SensitiveKind, number>];
  countUndefined(it: Instruction): void;
  countMsr(index: number): void;
  countSensitive(mnemonic: string, isUser: boolean): void;
};

export function newStatistics(): CpuStatistics {
  const undefinedForms = new Map<string, number>();
  const unknownMsrs = new Set<number>();
  const sensitive = [new Map<SensitiveKind, number>(), new Map<SensitiveKind, number>()] as const;
  return {
    exits: [0, 0, 0, 0, 0],
    slowAccesses: 0,
    helpers: 0,
    interrupts: 0,
    jumpFlushes: 0,
    exceptions: new Array(32).fill(0),
    unknownMsrs,
    undefined: undefinedForms,
    sensitive,
    countUndefined(it) {
      const hex = (n: number): string => n.toString(16).padStart(2, "0");
      const name = `${it.row.text} (opcode ${hex(it.opcode)} modrm ${hex(it.modRm)})`;
      const key = undefinedForms.size < MAX_NAMES || undefinedForms.has(name) ? name : "others";
      undefinedForms.set(key, (undefinedForms.get(key) ?? 0) + 1);
    },
    countMsr(index) {
      if (unknownMsrs.size < MAX_NAMES) unknownMsrs.add(index);
    },
    countSensitive(mnemonic, isUser) {
      const kind = sensitiveKind(mnemonic);
      if (!kind) return;
      const counts = sensitive[isUser ? 1 : 0];
      counts.set(kind, (counts.get(kind) ?? 0) + 1);
    },
  };
}

/** The same as plain data. */
export function reportOf(cpu: Cpu): CpuReport {
  const { statistics, translator, jit, paging } = cpu;
  const exit = (name: ExitName): number => statistics.exits[exitNames.indexOf(name)] ?? 0;
  const lookups = exitNames.reduce((sum, name) => sum + exit(name), 0);
  const { runs, instructions, invalidations, flushes } = translator.statistics;
  return {
    translation: {
      runs,
      instructions,
      regions: jit.statistics.regions,
      regionInstructions: jit.statistics.instructions,
      regionBytes: jit.statistics.bytes,
      compileMs: Math.round(jit.statistics.milliseconds),
      invalidations,
      flushes,
    },
    hitRate: lookups === 0 ? 1 : Math.max(0, 1 - runs / lookups),
    // SAFE: built from the very names of the type.
    exits: Object.fromEntries(exitNames.map((name) => [name, exit(name)])) as CpuReport["exits"],
    tlb: { misses: paging.misses, flushes: paging.flushes },
    helpers: statistics.helpers,
    slowAccesses: statistics.slowAccesses,
    interrupts: statistics.interrupts,
    exceptions: Object.fromEntries(
      statistics.exceptions.flatMap((count, vector) => (count > 0 ? [[vector, count]] : [])),
    ),
    sensitive: sensitiveKinds.map((instruction) => sensitiveRow(cpu, instruction)),
    refused: {
      instructions: Object.fromEntries(statistics.undefined),
      msrs: [...statistics.unknownMsrs],
    },
  };
}

function sensitiveRow(cpu: Cpu, instruction: SensitiveKind) {
  const [kernel, user] = cpu.statistics.sensitive;
  const handled = handlingOf(instruction);
  if (handled === "helper")
    return {
      instruction,
      kernel: kernel.get(instruction) ?? 0,
      user: user.get(instruction) ?? 0,
      handled,
    };
  // Emitted code counts in the state, by privilege level.
  const from = instruction === "PUSHF" ? state.pushfCounts : state.popfCounts;
  const count = (cpl: number): number =>
    new Uint32Array(cpu.registers.bytes.buffer, layout.state + from, 4)[cpl] ?? 0;
  return { instruction, kernel: count(0) + count(1) + count(2), user: count(3), handled };
}
