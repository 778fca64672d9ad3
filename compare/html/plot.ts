/**
 * Plots as rows: a name, a track and a number. Tracks are SVG with positions in percent, so they
 * take the width there is while all text keeps its size, on a phone as on paper.
 */
import type { RungKind } from "../result.ts";
import { html, type Markup } from "./markup.ts";
import type { Scale } from "./scale.ts";

export interface PlotRow {
  readonly name: string;
  readonly kind: RungKind;
  /** What is drawn, in a track of this height. */
  readonly marks: Markup;
  /** Shown behind the track. */
  readonly value: string;
  /** Smaller, below the value. */
  readonly detail?: string;
}

export interface Plot {
  /** For those who do not see it. */
  readonly label: string;
  readonly rows: readonly PlotRow[];
  readonly scale: Scale;
  readonly formatTick: (value: number) => string;
  readonly maxTicks?: number;
}

export const ROW_PX = 22;
const MAX_TICKS = 7;
/** In plots that stand side by side. */
export const FEW_TICKS = 4;

export function drawPlot({ label, rows, scale, formatTick, maxTicks = MAX_TICKS }: Plot): Markup {
  const shown = thinOut(scale.ticks, maxTicks);
  const grid = shown.map(
    (tick) =>
      html`<line class="grid" x1="${percent(scale.at(tick))}" x2="${percent(scale.at(tick))}" y1="0" y2="100%"/>`,
  );
  return html`<div class="plot" role="group" aria-label="${label}">
${rows.map(
  (row) => html`<div class="row ${row.kind}"><span class="name">${row.name}</span>
<svg class="track" height="${ROW_PX}" role="img" aria-label="${row.name}: ${row.value}">${grid}${row.marks}</svg>
<span class="value">${row.value}${row.detail === undefined ? "" : html` <small>${row.detail}</small>`}</span></div>
`,
)}<div class="row axis"><span class="name"></span>
<svg class="track" height="18" aria-hidden="true">${shown.map((tick) => drawTick(tick, scale, formatTick))}</svg>
<span class="value"></span></div></div>`;
}

/** The first, and so many of the others that their words fit. */
function thinOut(ticks: readonly number[], most: number): readonly number[] {
  const every = Math.ceil((ticks.length - 1) / (most - 1));
  return ticks.filter((_, index) => index % every === 0);
}

function drawTick(tick: number, scale: Scale, format: (value: number) => string): Markup {
  const at = scale.at(tick);
  const anchor = at < 8 ? "start" : at > 92 ? "end" : "middle";
  return html`<text class="tick" x="${percent(at)}" y="13" text-anchor="${anchor}">${tick === 0 ? "0" : shorten(format(tick))}</text>`;
}

export function percent(value: number): string {
  return `${value.toFixed(2)}%`;
}

/** "10.0 ms" → "10 ms". */
function shorten(text: string): string {
  return text.replace(/(\.\d*?)0+(?=\D|$)/, "$1").replace(/\.(?=\D|$)/, "");
}
