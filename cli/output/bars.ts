/** Draws progress items as lines of text: pure, so that tests can read every frame. */
import type { Phase } from "../../engine/index.ts";
import { paint } from "./color.ts";
import { phaseWords } from "./progress.ts";
import { formatDuration, formatSize } from "./units.ts";

export interface Item {
  readonly id: string;
  readonly phase: Phase;
  readonly startedAt: number;
  readonly startBytes: number;
  readonly currentBytes?: number;
  readonly totalBytes?: number;
}

export interface Screen {
  readonly columns: number;
  readonly rows: number;
  readonly colour: boolean;
}

const BAR_MAX = 30;
const BAR_MIN = 8;
const WORD = 15; // width of the longest phase, and one space

/** One line an item; finished ones are folded into a count when the screen is too low for all. */
export function drawItems(items: readonly Item[], now: number, screen: Screen): string[] {
  const space = Math.max(1, screen.rows - 2);
  if (items.length <= space) return items.map((item) => drawItem(item, now, screen));
  const open = items.filter((item) => item.phase !== "done" && item.phase !== "exists");
  const shown = open.slice(0, space - 1);
  const hidden = items.length - shown.length;
  const finished = items.length - open.length;
  return [
    ...shown.map((item) => drawItem(item, now, screen)),
    `… and ${hidden} more (${finished} complete)`.slice(0, screen.columns - 1),
  ];
}

function drawItem(item: Item, now: number, screen: Screen): string {
  const head = `${item.id}: ${phaseWords[item.phase].padEnd(WORD)}`;
  const { currentBytes, totalBytes } = item;
  const moving = item.phase === "downloading" || item.phase === "uploading";
  if ((!moving && item.phase !== "unpacking") || currentBytes === undefined) {
    return finish(head.trimEnd(), item, screen);
  }
  if (totalBytes === undefined || totalBytes === 0) {
    return finish(`${head}${formatSize(currentBytes)}`, item, screen);
  }
  const numbers = describeNumbers(item, currentBytes, totalBytes, now);
  const room = screen.columns - head.length - numbers.length - 4;
  const bar =
    room < BAR_MIN ? "" : `${drawBar(currentBytes / totalBytes, Math.min(room, BAR_MAX))} `;
  return finish(`${head}${bar}${numbers}`, item, screen);
}

/** "12.5MB/25MB 4.1MB/s 3.0s". */
function describeNumbers(item: Item, current: number, total: number, now: number): string {
  const elapsed = (now - item.startedAt) / 1000;
  const rate = elapsed > 0.5 ? (current - item.startBytes) / elapsed : 0;
  const left = rate > 0 && current < total ? ` ${formatDuration((total - current) / rate)}` : "";
  const speed = rate > 0 ? ` ${formatSize(rate)}/s` : "";
  return `${formatSize(current)}/${formatSize(total)}${speed}${left}`;
}

function drawBar(share: number, width: number): string {
  const filled = Math.round(Math.min(1, Math.max(0, share)) * width);
  const arrow = filled > 0 && filled < width ? ">" : "";
  return `[${"=".repeat(filled - arrow.length)}${arrow}${" ".repeat(width - filled)}]`;
}

/** Cuts to the screen (a wrapped line would spoil the next frame), then colours. */
function finish(line: string, item: Item, screen: Screen): string {
  const cut = line.slice(0, screen.columns - 1);
  const done = item.phase === "done" || item.phase === "exists";
  return done ? paint(cut, "green", screen.colour) : cut;
}
