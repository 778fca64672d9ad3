/** The page's sections about time: starts, their phases, work inside. */
import { type WorkloadName, workloads } from "../probe.ts";
import type { Comparison, Phase, RungResult } from "../result.ts";
import { type Spread, spreadOf } from "../statistics.ts";
import {
  bareRung,
  formatAround,
  formatOperation,
  formatRatio,
  formatTime,
  measuredRungs,
  overheadOf,
  workSpread,
} from "../summary.ts";
import { bar, distribution, phases } from "./marks.ts";
import { html, type Markup } from "./markup.ts";
import { drawPlot, FEW_TICKS } from "./plot.ts";
import { linear, scaleFor } from "./scale.ts";

export function startSection(rungs: readonly RungResult[]): Markup {
  return html`<section><h2>Start</h2>
<p class="soft">Each dot is one start; the box holds the middle half, the line is the median.</p>
<h3>To the first instruction of the process inside</h3>
${startPlot(rungs, "firstInstruction", "Time to the first instruction")}
<h3>The whole command: start, exit, clean up</h3>
${startPlot(rungs, "whole", "Time of the whole command")}
${
  rungs.some(({ start }) => start.command.length > 0) &&
  html`<h3>The given command, as a whole</h3>
${startPlot(rungs, "command", "Time of the given command")}`
}</section>`;
}

function startPlot(
  rungs: readonly RungResult[],
  field: "firstInstruction" | "whole" | "command",
  label: string,
): Markup {
  const able = rungs.filter(({ start }) => start[field].length > 0);
  const scale = scaleFor(able.flatMap(({ start }) => start[field]));
  return drawPlot({
    label,
    scale,
    formatTick: formatTime,
    rows: able.map(({ name, kind, start }) => {
      return {
        name,
        kind,
        marks: distribution(start[field], scale),
        value: formatTime(spreadOf(start[field]).median),
        detail: formatAround(start[field]),
      };
    }),
  });
}

export function timelineSection(rungs: readonly RungResult[]): Markup {
  const rows = rungs.map((rung) => ({ rung, list: phasesOf(rung) }));
  const totals = rows.map(({ list }) => list.reduce((sum, { ms }) => sum + ms, 0));
  const sorted = [...totals].sort((a, b) => b - a);
  // one world that is far slower than the others would hide their phases: it gets an axis of its own
  const slow = totals.map((total) => total > 8 * (sorted[Math.floor(sorted.length / 2)] ?? 0));
  const groups = [false, true].map((isSlow) => rows.filter((_, index) => slow[index] === isSlow));
  return html`<section><h2>Where the time of a start goes</h2>
<p class="soft">Medians. Two shades where only the first instruction can be seen from outside: up to it, and
after it (the process ends, the world is taken down). Where there are more, the world told us its phases.</p>
${groups.map((group) => group.length > 0 && timelinePlot(group))}
${rows.map(({ rung, list }) => list.length > 2 && phaseList(rung, list))}</section>`;
}

function timelinePlot(rows: readonly { rung: RungResult; list: readonly Phase[] }[]): Markup {
  const totals = rows.map(({ list }) => list.reduce((sum, { ms }) => sum + ms, 0));
  const scale = linear(Math.max(...totals));
  return drawPlot({
    label: "Phases of a start",
    scale,
    formatTick: formatTime,
    rows: rows.map(({ rung, list }, index) => ({
      name: rung.name,
      kind: rung.kind,
      marks: phases(list, scale),
      value: formatTime(totals[index] ?? 0),
      detail: "whole",
    })),
  });
}

function phasesOf({ start, phases: told }: RungResult): readonly Phase[] {
  if (told !== undefined && told.length > 0) return told;
  const first = spreadOf(start.firstInstruction).median;
  const whole = spreadOf(start.whole).median;
  return [
    { name: "to the first instruction", ms: first },
    { name: "to the end of the command", ms: Math.max(0, whole - first) },
  ];
}

function phaseList(rung: RungResult, list: readonly Phase[]): Markup {
  return html`<p><b>${rung.name}</b>: ${list.map(
    ({ name, ms }, index) => html`${index > 0 && ", "}${name} ${formatTime(ms)}`,
  )}.</p>`;
}

const groupTitles = {
  cpu: "Computing",
  kernel: "Calls into the kernel",
  storage: "Storage",
  network: "Network inside",
  host: "Network to this machine",
} as const;

export function workSection(comparison: Comparison): Markup {
  return html`<section><h2>Work inside</h2>
<p class="soft">Bars are medians, whiskers the quartiles. Computing and kernel: how many times longer an
operation takes than without isolation. Storage and network: what there is, each in its own unit. Not every
world has the same way to this machine: the list below says which it took.</p>
${Object.entries(groupTitles).map(
  ([group, title]) => html`<h3>${title}</h3><div class="small-multiples">${workloads
    .filter((workload) => workload.group === group)
    .map(({ name, what }) =>
      workPlot(comparison, name, what, group === "cpu" || group === "kernel"),
    )}</div>
`,
)}
${waysToHost(comparison)}</section>`;
}

function waysToHost(comparison: Comparison): Markup {
  const ways = measuredRungs(comparison).flatMap(({ name, network }) =>
    network === undefined ? [] : [{ name, ...network }],
  );
  if (ways.length === 0) return html``;
  return html`<dl>${ways.map(
    ({ name, way, missing }) =>
      html`<dt>${name}</dt><dd>${way}${missing !== undefined && html` <span class="warn">not measured: ${missing.reason}</span>`}</dd>`,
  )}</dl>`;
}

function workPlot(
  comparison: Comparison,
  name: WorkloadName,
  what: string,
  asRatio: boolean,
): Markup | undefined {
  const bare = bareRung(comparison);
  const relative = asRatio && bare !== undefined;
  const spreadFor = (rung: RungResult): Spread | undefined => {
    if (relative) return overheadOf(rung, bare, name);
    const spread = workSpread(rung, name);
    return spread && isBytes(name) ? inverse(spread) : spread;
  };
  const rows = measuredRungs(comparison).map((rung) => ({ rung, spread: spreadFor(rung) }));
  const values = rows.flatMap(({ spread }) =>
    spread === undefined ? [] : [spread.median, spread.high],
  );
  if (values.length === 0) return undefined;
  const scale = scaleFor(values);
  return html`<div><p><b>${name}</b> <small>${what}</small></p>${drawPlot({
    label: name,
    scale,
    maxTicks: FEW_TICKS,
    formatTick: (value) => formatTick(name, value, relative),
    rows: rows.map(({ rung, spread }) => {
      const absolute = workSpread(rung, name)?.median;
      const shown =
        absolute === undefined ? (rung.workFailed[name] ?? "–") : formatOperation(name, absolute);
      return {
        name: rung.name,
        kind: rung.kind,
        marks: spread === undefined ? html`` : bar(spread, scale),
        value: relative && spread !== undefined ? formatRatio(spread.median) : shown,
        ...(relative && spread !== undefined && { detail: shown }),
      };
    }),
  })}</div>`;
}

function formatTick(name: WorkloadName, value: number, relative: boolean): string {
  if (relative) return `${Number(value.toPrecision(3))}×`;
  if (isBytes(name)) return formatOperation(name, 1 / value);
  return formatOperation(name, value);
}

function isBytes(name: WorkloadName): boolean {
  const workload = workloads.find((each) => each.name === name);
  return workload !== undefined && "bytes" in workload;
}

/** Nanoseconds a byte → bytes a nanosecond: more is better, and longer. */
function inverse({ median, low, high }: Spread): Spread {
  return { median: 1 / median, low: 1 / high, high: 1 / low };
}
