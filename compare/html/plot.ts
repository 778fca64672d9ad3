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
  /** Narrowest track that the words of the axis have to fit in. */
  readonly trackPx?: number;
}

export const ROW_PX = 22;
/** On a phone. */
const TRACK_PX = 320;
/** In plots that stand side by side. */
export const NARROW_TRACK_PX = 190;
const LETTER_PX = 6.6;
const GAP_PX = 12;

export function drawPlot({ label, rows, scale, formatTick, trackPx = TRACK_PX }: Plot): Markup {
  const words = (tick: number): string => (tick === 0 ? "0" : shorten(formatTick(tick)));
  const shown = thinOut(scale.ticks, words, trackPx);
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
<svg class="track" height="18" aria-hidden="true">${shown.map((tick) => drawTick(scale.at(tick), words(tick)))}</svg>
<span class="value"></span></div></div>`;
}

/** The first, and so many of the others that their words fit. */
function thinOut(
  ticks: readonly number[],
  words: (tick: number) => string,
  trackPx: number,
): readonly number[] {
  for (let every = 1; ; every++) {
    const left = ticks.filter((_, index) => index % every === 0);
    const widths = left.map((tick) => words(tick).length * LETTER_PX + GAP_PX);
    // the words at the ends are inside the track, half as far from their neighbours
    const each = (trackPx * every) / Math.max(1, ticks.length - 1);
    if (left.length <= 2 || Math.max(...widths) * 1.2 <= each) return left;
  }
}

function drawTick(at: number, words: string): Markup {
  const anchor = at < 8 ? "start" : at > 92 ? "end" : "middle";
  return html`<text class="tick" x="${percent(at)}" y="13" text-anchor="${anchor}">${words}</text>`;
}

export function percent(value: number): string {
  return `${value.toFixed(2)}%`;
}

/** "10.0 ms" → "10 ms". */
function shorten(text: string): string {
  return text.replace(/(\.\d*?)0+(?=\D|$)/, "$1").replace(/\.(?=\D|$)/, "");
}
