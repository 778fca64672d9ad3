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
  syncIsLight,
  workSpread,
} from "../summary.ts";
import { bar, distribution, phases, SHADES } from "./marks.ts";
import { html, type Markup } from "./markup.ts";
import { drawPlot, NARROW_TRACK_PX } from "./plot.ts";
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
  return html`<p class="steps ${rung.kind}"><b>${rung.name}</b> ${list.map(
    ({ name, ms }, index) =>
      html`<span class="step"><svg class="chip" width="10" height="10" aria-hidden="true"><rect class="phase shade${index % SHADES}" width="10" height="10"/></svg>${name} ${formatTime(ms)}</span> `,
  )}</p>`;
}

const ALMOST_ONE = 0.9;

const groupTitles = {
  cpu: "Computing",
  kernel: "Calls into the kernel",
  storage: "Storage",
  network: "Network inside",
  host: "Network to this machine",
} as const;

export function workSection(comparison: Comparison): Markup {
  return html`<section><h2>Work inside</h2>
<p class="soft">Bars and dots are medians, whiskers the quartiles. Computing and kernel: how many times longer an
operation takes than without isolation; bars begin at 1×. Storage and network: what there is, each in its own
unit; dots where steps of the axis are factors.</p>
${Object.entries(groupTitles).map(
  ([
    group,
    title,
  ]) => html`<h3>${title}</h3>${remarks(comparison, group)}<div class="small-multiples">${workloads
    .filter((workload) => workload.group === group)
    .map(({ name, what }) =>
      workPlot(comparison, name, what, group === "cpu" || group === "kernel"),
    )}</div>
`,
)}</section>`;
}

/** What a group's numbers do not say themselves. */
function remarks(comparison: Comparison, group: string): Markup | undefined {
  if (group === "host") return waysToHost(comparison);
  if (group !== "storage") return undefined;
  const bare = bareRung(comparison);
  const light = measuredRungs(comparison).filter((rung) => syncIsLight(rung, bare));
  if (light.length === 0) return undefined;
  return html`<p class="warn">${light.map(({ name }) => name).join(", ")}: fdatasync does not wait for a disk
there, since what is written goes with the world. Their “sync” and “write” are not faster disks.</p>`;
}

function waysToHost(comparison: Comparison): Markup {
  const ways = measuredRungs(comparison).flatMap(({ name, network }) =>
    network === undefined ? [] : [{ name, ...network }],
  );
  if (ways.length === 0) return html``;
  return html`<p class="soft">Not every world has the same way:</p><dl class="ways">${ways.map(
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
  const rows = measuredRungs(comparison)
    .filter(({ work, workFailed }) => Object.keys({ ...work, ...workFailed }).length > 0)
    .map((rung) => ({ rung, spread: spreadFor(rung) }));
  const values = rows.flatMap(({ spread }) =>
    spread === undefined ? [] : [spread.median, spread.high],
  );
  if (values.length === 0) return undefined;
  // what is as fast as without isolation needs no room below 1×
  const scale = scaleFor(relative ? values.map(towardsOne) : values);
  return html`<div><p><b>${name}</b> <small>${what}</small></p>${drawPlot({
    label: name,
    scale,
    trackPx: NARROW_TRACK_PX,
    formatTick: (value) => formatTick(name, value, relative),
    rows: rows.map(({ rung, spread }) => {
      const absolute = workSpread(rung, name)?.median;
      const shown =
        absolute === undefined ? (rung.workFailed[name] ?? "–") : formatOperation(name, absolute);
      return {
        name: rung.name,
        kind: rung.kind,
        marks: spread === undefined ? html`` : bar(spread, scale, relative ? 1 : undefined),
        value: relative && spread !== undefined ? formatRatio(spread.median) : shown,
        ...(relative && spread !== undefined && { detail: shown }),
      };
    }),
  })}</div>`;
}

function towardsOne(ratio: number): number {
  return ratio < 1 && ratio > ALMOST_ONE ? 1 : ratio;
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
