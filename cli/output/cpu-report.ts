/**
 * What the software CPU did, for people: what it translated, why compiled code came back, and which
 * of x86's sensitive but unprivileged instructions the guest ran (Popek and Goldberg 1974; Robin and
 * Irvine 2000), the ones for which x86 could not be virtualised by trapping alone.
 */
import type { CpuReport, MachineStats } from "../../engine/index.ts";
import { formatTable } from "./table.ts";
import { formatSize } from "./units.ts";

const handledWords = {
  emitted: "WebAssembly, inline",
  helper: "the translator's own code",
} as const;

const exitWords = {
  fuel: "its slice of time was over",
  lookup: "code that no cache knew",
  fault: "an exception",
  helper: "an instruction that changes the machine",
  hot: "code worth compiling",
} as const satisfies Record<keyof CpuReport["exits"], string>;

/** Intel SDM vol. 3A, table 6-1. */
const exceptionNames: Readonly<Record<string, string>> = {
  0: "#DE",
  1: "#DB",
  2: "NMI",
  3: "#BP",
  4: "#OF",
  5: "#BR",
  6: "#UD",
  7: "#NM",
  8: "#DF",
  10: "#TS",
  11: "#NP",
  12: "#SS",
  13: "#GP",
  14: "#PF",
  16: "#MF",
  17: "#AC",
  19: "#XM",
};

/** For `--cpu-stats`: the report, or why there is none. */
export function formatStats({ cpu, reason, report }: MachineStats): string {
  if (report !== undefined) return `\n${formatCpuReport(report)}`;
  return cpu === "kvm"
    ? `There are no CPU statistics: ${reason}, and a processor that runs the guest itself counts none of this. Use --cpu software to see them\n`
    : "There are no CPU statistics: the machine was gone before it could be asked\n";
}

export function formatCpuReport(report: CpuReport): string {
  return [
    formatTable(["SOFTWARE CPU", ""], workRows(report)),
    formatTable(["EXITS TO THE RUN LOOP", "BECAUSE OF", "COUNT"], exitRows(report)),
    formatSensitive(report),
    refusedLines(report),
  ]
    .filter((part) => part !== "")
    .join("\n");
}

/** The Popek-Goldberg table: each sensitive unprivileged instruction, by mode, and how it ran. */
export function formatSensitive({ sensitive }: CpuReport): string {
  const rows = sensitive.map(({ instruction, kernel, user, handled }) => [
    instruction,
    count(kernel),
    count(user),
    handledWords[handled],
  ]);
  return formatTable(["SENSITIVE, BUT NO TRAP", "KERNEL", "USER", "RUN BY"], rows);
}

function workRows(report: CpuReport): string[][] {
  const { translation: made, tlb, exceptions } = report;
  const raised = Object.entries(exceptions).map(
    ([vector, times]) => `${exceptionNames[vector] ?? `vector ${vector}`} ${count(times)}`,
  );
  return [
    ["Blocks translated", `${count(made.runs)}, of ${count(made.instructions)} instructions`],
    [
      "Regions compiled",
      `${count(made.regions)}, of ${count(made.regionInstructions)} instructions: ` +
        `${formatSize(made.regionBytes)} of WebAssembly in ${count(made.compileMs)} ms`,
    ],
    [
      "Thrown away",
      `${count(made.invalidations)} blocks rewritten, ${count(made.flushes)} flushes`,
    ],
    ["Translation cache", `${(report.hitRate * 100).toFixed(2)} % hits of the run loop's look-ups`],
    ["TLB", `${count(tlb.misses)} misses, ${count(tlb.flushes)} flushes`],
    ["Slow memory accesses", count(report.slowAccesses)],
    ["Run by the translator", `${count(report.helpers)} instructions`],
    ["Interrupts", count(report.interrupts)],
    ["Exceptions", raised.join(", ") || "none"],
  ];
}

function exitRows({ exits }: CpuReport): string[][] {
  return Object.entries(exitWords).map(([name, words]) => [
    name,
    words,
    // SAFE: exitWords has the names of the exits as keys.
    count(exits[name as keyof typeof exitWords]),
  ]);
}

function refusedLines({ refused: { instructions, msrs } }: CpuReport): string {
  const rows = Object.entries(instructions).map(([name, times]) => [name, "#UD", count(times)]);
  for (const msr of msrs) rows.push([`MSR 0x${msr.toString(16)}`, "#GP", ""]);
  return rows.length === 0 ? "" : formatTable(["NOT OFFERED, YET TRIED", "RAISED", "COUNT"], rows);
}

function count(value: number): string {
  return value.toLocaleString("en-US").replaceAll(",", " ");
}
