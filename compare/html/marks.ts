/** What stands in the tracks of plots: dots, boxes, bars with intervals, phases. */
import type { Phase } from "../result.ts";
import { type Spread, spreadOf } from "../statistics.ts";
import { formatTime } from "../summary.ts";
import { html, type Markup } from "./markup.ts";
import { percent, ROW_PX } from "./plot.ts";
import type { Scale } from "./scale.ts";

/** Every sample as a dot, the quartiles as a box, the median as a line. */
export function distribution(samples: readonly number[], scale: Scale): Markup {
  const { median, low, high } = spreadOf(samples);
  const middle = ROW_PX / 2;
  const dots = samples.map((value, index) => {
    const y = middle + (((index * 7) % 9) - 4); // spread out, the same way each time
    return html`<circle class="dot" cx="${percent(scale.at(value))}" cy="${y}" r="2"/>`;
  });
  const left = scale.at(low);
  const width = Math.max(0.3, scale.at(high) - left);
  return html`<rect class="box" x="${percent(left)}" width="${percent(width)}" y="3" height="${ROW_PX - 6}" rx="2"/>${dots}<line class="median" x1="${percent(scale.at(median))}" x2="${percent(scale.at(median))}" y1="1" y2="${ROW_PX - 1}"/>`;
}

/**
 * From `origin` to the median, with the quartiles as a whisker; a dot instead where lengths would
 * say nothing: on an axis of factors without an origin.
 */
export function bar({ median, low, high }: Spread, scale: Scale, origin?: number): Markup {
  const at = scale.at(median);
  const whole = scale.factors && origin === undefined ? dot(at) : column(scale.at(origin ?? 0), at);
  return html`${whole}${whisker(scale.at(low), scale.at(high))}`;
}

function dot(at: number): Markup {
  const middle = ROW_PX / 2;
  return html`<line class="stem" x1="0" x2="${percent(at)}" y1="${middle}" y2="${middle}"/><circle class="spot" cx="${percent(at)}" cy="${middle}" r="5"/>`;
}

function column(from: number, to: number): Markup {
  const width = Math.max(0.6, Math.abs(to - from));
  return html`<rect class="bar" x="${percent(Math.min(from, to))}" width="${percent(width)}" y="4" height="${ROW_PX - 8}" rx="2"/>`;
}

function whisker(left: number, right: number): Markup | undefined {
  if (right - left <= 0.2) return undefined;
  const middle = ROW_PX / 2;
  const line = (x1: number, x2: number, y1: number, y2: number): Markup =>
    html`<line class="whisker" x1="${percent(x1)}" x2="${percent(x2)}" y1="${y1}" y2="${y2}"/>`;
  return html`${line(left, right, middle, middle)}${[left, right].map((x) => line(x, x, middle - 3, middle + 3))}`;
}

/** Of style.ts. */
export const SHADES = 5;

/** One phase behind the other, in shades that repeat. */
export function phases(list: readonly Phase[], scale: Scale): Markup {
  let at = 0;
  return html`${list.map(({ name, ms }, index) => {
    const from = scale.at(at);
    at += ms;
    const width = Math.max(0.15, scale.at(at) - from);
    return html`<rect class="phase shade${index % SHADES}" x="${percent(from)}" width="${percent(width)}" y="3" height="${ROW_PX - 6}"><title>${name}: ${formatTime(ms)}</title></rect>`;
  })}`;
}
