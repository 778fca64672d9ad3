/** A comparison as text: a table for each question, and what is missing with its cure. */
import {
  type Boundary,
  bareRung,
  type Comparison,
  formatAround,
  formatEstimate,
  formatKiB,
  formatOperation,
  formatRatio,
  formatTime,
  measuredRungs,
  missingRungs,
  notesOf,
  overheadOf,
  type RungResult,
  spreadOf,
  type WorkloadName,
  workloads,
  workSpread,
} from "../../compare/index.ts";
import { paint } from "../output/color.ts";
import { formatSensitive } from "../output/cpu-report.ts";
import { formatTable } from "../output/table.ts";

const NONE = "–";

export function formatComparison(comparison: Comparison, colour: boolean): string {
  const { machine, image, command, interrupted, tookMs } = comparison;
  const rungs = measuredRungs(comparison);
  const head = (text: string): string => `\n${paint(text, "bold", colour)}\n`;
  const facts = [machine["processor"], machine["kernel"], machine["system"], machine["engine"]];
  const tables = [
    head("Start (median, quartiles; of fewer than five samples the ends)"),
    startTable(rungs, command.length > 0),
    head("Work inside (× the time without isolation)"),
    workTable(comparison, ["cpu", "kernel"], true),
    head("Storage and network inside"),
    workTable(comparison, ["storage", "network"], false),
    head("Network to this machine"),
    networkTable(comparison),
    head("Memory, and how many fit (extrapolated)"),
    memoryTable(rungs),
    head("Between the process and the host"),
    boundaryTable(rungs),
  ];
  const parts = [
    `${image}${command.length > 0 ? ` -- ${command.join(" ")}` : ""} on ${facts.join(", ")}\n`,
    ...(rungs.length > 0 ? tables : ["\nNothing was measured.\n"]),
    ...(comparison.guest === undefined
      ? []
      : [head("What the software CPU met in a guest"), formatSensitive(comparison.guest)]),
    missingLines(comparison, colour),
    noteLines(rungs, bareRung(comparison)),
    `\n${interrupted ? "Interrupted after" : "Measured in"} ${formatTime(tookMs)}\n`,
  ];
  return parts.join("");
}

function startTable(rungs: readonly RungResult[], hasCommand: boolean): string {
  const headers = ["", "FIRST INSTRUCTION", "", "WHOLE COMMAND", "", "CPU TIME", "SAMPLES"];
  const rows = rungs.map(({ name, start }) => {
    const cells = [
      name,
      ...withQuartiles(start.firstInstruction),
      ...withQuartiles(start.whole),
      formatTime(spreadOf(start.cpu).median),
      String(start.whole.length),
    ];
    return hasCommand ? [...cells, ...withQuartiles(start.command)] : cells;
  });
  return formatTable(hasCommand ? [...headers, "YOUR COMMAND", ""] : headers, rows);
}

function withQuartiles(samples: readonly number[]): readonly string[] {
  if (samples.length === 0) return [NONE, ""];
  return [formatTime(spreadOf(samples).median), formatAround(samples)];
}

/** A column for each workload: the ratio to the bare process, or the absolute figure. */
function workTable(comparison: Comparison, groups: readonly string[], asRatio: boolean): string {
  const bare = bareRung(comparison);
  const names = workloads.filter(({ group }) => groups.includes(group)).map(({ name }) => name);
  const cell = (rung: RungResult, name: WorkloadName): string => {
    const spread = workSpread(rung, name);
    if (spread === undefined) return rung.workFailed[name] ?? NONE;
    const absolute = formatOperation(name, spread.median);
    if (!asRatio || bare === undefined || rung === bare) return absolute;
    const ratio = overheadOf(rung, bare, name);
    return ratio === undefined ? absolute : formatRatio(ratio.median);
  };
  return formatTable(
    ["", ...names.map((name) => name.toUpperCase())],
    measuredRungs(comparison).map((rung) => [rung.name, ...names.map((name) => cell(rung, name))]),
  );
}

/** The way as the command line says it, since not every world has the same. */
function networkTable(comparison: Comparison): string {
  const names = workloads.filter(({ group }) => group === "host").map(({ name }) => name);
  const rows = measuredRungs(comparison).flatMap(({ name, network, work, workFailed }) => {
    if (network === undefined) return [];
    const figures = names.map((each) => {
      const samples = work[each] ?? [];
      if (samples.length === 0) return workFailed[each] ?? NONE;
      return formatOperation(each, spreadOf(samples).median);
    });
    const samples = String(work["round trip"]?.length ?? 0);
    const { way, missing } = network;
    return [[name, way, ...figures, samples, missing === undefined ? "" : missing.reason]];
  });
  const headers = ["", "BY WAY OF", ...names.map((name) => name.toUpperCase()), "SAMPLES", ""];
  return formatTable(headers, rows);
}

function memoryTable(rungs: readonly RungResult[]): string {
  return formatTable(
    ["", "ONE (PSS)", "PROCESSES", "EACH MORE", "TRIED", "WOULD FIT HERE"],
    rungs.map(({ name, memory, density }) => [
      name,
      memory === undefined ? NONE : formatKiB(memory.pssKiB),
      memory?.processes.map((each) => `${each.name} ${formatKiB(each.pssKiB)}`).join(", ") ?? NONE,
      density === undefined ? NONE : formatKiB(density.eachKiB),
      density === undefined ? NONE : String(density.together),
      density === undefined ? NONE : formatEstimate(density.fits),
    ]),
  );
}

function boundaryTable(rungs: readonly RungResult[]): string {
  return formatTable(
    [
      "",
      "KERNEL",
      "SYSTEM CALLS THAT REACH THE HOST",
      "CAPABILITIES",
      "HOST USER",
      "OWN NAMESPACES",
    ],
    rungs.map(({ name, boundary }) => {
      if (boundary === undefined) return [name, NONE, NONE, NONE, NONE, NONE];
      const { reachableSyscalls: reachable, knownSyscalls, capabilities, namespaces } = boundary;
      return [
        name,
        kernelWords(boundary),
        reachable === undefined
          ? `filtered (of ${knownSyscalls})`
          : `${reachable} of ${knownSyscalls}`,
        String(capabilities.length),
        boundary.hostUser === undefined ? NONE : String(boundary.hostUser),
        namespaces.join(" ") || "none",
      ];
    }),
  );
}

function kernelWords({ kernel, kernelRelease }: Boundary): string {
  if (kernel === "shared") return "the host's";
  return kernelRelease === undefined ? "its own" : `its own, ${kernelRelease}`;
}

function missingLines(comparison: Comparison, colour: boolean): string {
  const missing = missingRungs(comparison);
  if (missing.length === 0) return "";
  const lines = missing.map((rung) => {
    const cure = rung.missing?.cure === undefined ? "" : `\n  cure: ${rung.missing.cure}`;
    return `${rung.name}: ${rung.missing?.reason}${cure}`;
  });
  return `\n${paint("Not measured, or not to the end", "bold", colour)}\n${lines.join("\n")}\n`;
}

function noteLines(rungs: readonly RungResult[], bare: RungResult | undefined): string {
  const notes = rungs.flatMap((rung) => notesOf(rung, bare).map((note) => `${rung.name}: ${note}`));
  return notes.length === 0 ? "" : `\n${notes.join("\n")}\n`;
}
