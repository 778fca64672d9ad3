/** What the CPU counts, for `--cpu-stats` and for whoever wonders where the time went. */
import type { Instruction } from "../isa/decode.ts";
import { layout, state } from "../state.ts";
import type { Cpu } from "./cpu.ts";
import {
  type Handling,
  handlingOf,
  type SensitiveKind,
  sensitiveKind,
  sensitiveKinds,
} from "./sensitive.ts";

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
  countSensitive(mnemonic: string, isUser: boolean): void;
};

export function newStatistics(): CpuStatistics {
  const undefinedForms = new Map<string, number>();
  const sensitive = [new Map<SensitiveKind, number>(), new Map<SensitiveKind, number>()] as const;
  return {
    exits: [0, 0, 0, 0, 0],
    slowAccesses: 0,
    helpers: 0,
    interrupts: 0,
    jumpFlushes: 0,
    exceptions: new Array(32).fill(0),
    unknownMsrs: new Set(),
    undefined: undefinedForms,
    sensitive,
    countUndefined(it) {
      const hex = (n: number): string => n.toString(16).padStart(2, "0");
      const name = `${it.row.text} (opcode ${hex(it.opcode)} modrm ${hex(it.modRm)})`;
      undefinedForms.set(name, (undefinedForms.get(name) ?? 0) + 1);
    },
    countSensitive(mnemonic, isUser) {
      const kind = sensitiveKind(mnemonic);
      if (!kind) return;
      const counts = sensitive[isUser ? 1 : 0];
      counts.set(kind, (counts.get(kind) ?? 0) + 1);
    },
  };
}

/** The same as plain data, fit for JSON and for crossing threads. */
export type CpuReport = {
  /** Runs of decoded instructions, and what became compiled functions. */
  readonly translation: {
    readonly runs: number;
    readonly instructions: number;
    readonly regions: number;
    readonly regionInstructions: number;
    readonly regionBytes: number;
    readonly compileMs: number;
    readonly invalidations: number;
    readonly flushes: number;
  };
  /** Of the times the run loop asked for code, how often it was there: 0 to 1. */
  readonly hitRate: number;
  readonly exits: Readonly<Record<ExitName, number>>;
  readonly tlb: { readonly misses: number; readonly flushes: number };
  readonly helpers: number;
  readonly slowAccesses: number;
  readonly interrupts: number;
  /** By vector, those that happened. */
  readonly exceptions: Readonly<Record<string, number>>;
  readonly sensitive: readonly {
    readonly instruction: SensitiveKind;
    readonly kernel: number;
    readonly user: number;
    readonly handled: Handling;
  }[];
  /** What the guest tried and CPUID does not offer; each raised #UD or #GP. */
  readonly refused: {
    readonly instructions: Readonly<Record<string, number>>;
    readonly msrs: readonly number[];
  };
};

const exitNames = ["fuel", "lookup", "fault", "helper", "hot"] as const;
type ExitName = (typeof exitNames)[number];

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
