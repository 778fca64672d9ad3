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

/** From the left edge to the median, with the quartiles as a whisker. */
export function bar({ median, low, high }: Spread, scale: Scale): Markup {
  const start = scale.at(0);
  const middle = ROW_PX / 2;
  const [left, right] = [scale.at(low), scale.at(high)];
  return html`<rect class="bar" x="${percent(start)}" width="${percent(Math.max(0.4, scale.at(median) - start))}" y="4" height="${ROW_PX - 8}" rx="2"/>${
    right - left > 0.2 &&
    html`<line class="whisker" x1="${percent(left)}" x2="${percent(right)}" y1="${middle}" y2="${middle}"/><line class="whisker" x1="${percent(left)}" x2="${percent(left)}" y1="${middle - 3}" y2="${middle + 3}"/><line class="whisker" x1="${percent(right)}" x2="${percent(right)}" y1="${middle - 3}" y2="${middle + 3}"/>`
  }`;
}

/** One phase behind the other, in shades that repeat. */
export function phases(list: readonly Phase[], scale: Scale): Markup {
  let at = 0;
  return html`${list.map(({ name, ms }, index) => {
    const from = scale.at(at);
    at += ms;
    const width = Math.max(0.15, scale.at(at) - from);
    return html`<rect class="phase shade${index % 5}" x="${percent(from)}" width="${percent(width)}" y="3" height="${ROW_PX - 6}"><title>${name}: ${formatTime(ms)}</title></rect>`;
  })}`;
}
