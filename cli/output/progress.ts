/**
 * Shows progress on standard error, in one of four ways:
 *
 *   tty    a line for each layer, with bar, rate and remaining time, drawn at most 10 times a second
 *   plain  a line when something begins or ends, and one every 5 seconds while bytes flow
 *   json   one event a line
 *   none   warnings only
 */
import type { OnProgress, Phase, ProgressEvent } from "../../engine/index.ts";
import { drawItems, type Item } from "./bars.ts";
import { wantsColour } from "./color.ts";
import { formatSize } from "./units.ts";

export type ProgressStyle = "tty" | "plain" | "json" | "none";

export interface Terminal {
  readonly write: (text: string) => void;
  readonly columns: () => number;
  readonly rows: () => number;
  readonly colour: boolean;
  readonly now: () => number;
}

export interface Progress extends Disposable {
  readonly onProgress: OnProgress;
}

const FRAME_MS = 100;
const PLAIN_MS = 5000;

/** Which style fits: bars only where there is a terminal that can move its cursor. */
export function chooseStyle(
  wanted: "auto" | ProgressStyle | undefined,
  isTerminal: boolean,
  env: Readonly<Record<string, string | undefined>>,
): ProgressStyle {
  if (wanted !== undefined && wanted !== "auto") return wanted;
  return isTerminal && env["TERM"] !== "dumb" ? "tty" : "plain";
}

/**
 * Progress on this process's standard error. Nothing is touched before the first event: asking the
 * engine for process.stderr takes milliseconds, and most runs have nothing to show.
 */
export function openProgress(
  wanted: "auto" | ProgressStyle | undefined,
  env: Readonly<Record<string, string | undefined>>,
): Progress {
  let shown: Progress | undefined;
  const show = (): Progress => {
    const isTerminal = process.stderr.isTTY === true;
    const style = chooseStyle(wanted, isTerminal, env);
    return showProgress(style, ownTerminal(wantsColour(env, isTerminal)));
  };
  return {
    onProgress(event) {
      shown ??= show();
      shown.onProgress(event);
    },
    [Symbol.dispose]: () => shown?.[Symbol.dispose](),
  };
}

function ownTerminal(colour: boolean): Terminal {
  return {
    write: (text) => void process.stderr.write(text),
    columns: () => process.stderr.columns ?? 80,
    rows: () => process.stderr.rows ?? 24,
    colour,
    now: () => performance.now(),
  };
}

export function showProgress(style: ProgressStyle, terminal: Terminal): Progress {
  if (style === "tty") return new Bars(terminal);
  if (style === "plain") return new Lines(terminal);
  const onProgress = (event: ProgressEvent): void => {
    if (style === "json") terminal.write(`${JSON.stringify(event)}\n`);
    else if (event.type === "warning") terminal.write(`manyworlds: warning: ${event.text}\n`);
  };
  return { onProgress, [Symbol.dispose]: () => undefined };
}

class Bars implements Progress {
  readonly #terminal: Terminal;
  readonly #items = new Map<string, Item>();
  #linesDrawn = 0;
  #drawnAt = Number.NEGATIVE_INFINITY;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(terminal: Terminal) {
    this.#terminal = terminal;
  }

  readonly onProgress = (event: ProgressEvent): void => {
    if (event.type !== "item") {
      const text = event.type === "warning" ? `warning: ${event.text}` : event.text;
      if (this.#isFinished()) this.#settle();
      else this.#erase();
      this.#terminal.write(`${text}\n`);
      if (this.#items.size > 0) this.#draw();
      return;
    }
    update(this.#items, event, this.#terminal.now());
    this.#schedule();
  };

  #isFinished(): boolean {
    return [...this.#items.values()].every(({ phase }) => phase === "done" || phase === "exists");
  }

  /** The last frame stays where it is; whatever is written from now on comes below it. */
  #settle(): void {
    if (this.#items.size > 0) this.#draw();
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#items.clear();
    this.#linesDrawn = 0;
  }

  #schedule(): void {
    const wait = this.#drawnAt + FRAME_MS - this.#terminal.now();
    if (wait <= 0) this.#draw();
    else if (this.#timer === undefined) {
      this.#timer = setTimeout(() => this.#draw(), wait);
      this.#timer.unref?.();
    }
  }

  #draw(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#drawnAt = this.#terminal.now();
    const { columns, rows, colour, write } = this.#terminal;
    const lines = drawItems([...this.#items.values()], this.#drawnAt, {
      columns: columns(),
      rows: rows(),
      colour,
    });
    const up = this.#linesDrawn === 0 ? "" : `\u001b[${this.#linesDrawn}A`;
    // each line is erased to its end, so a frame never flickers through an empty screen
    if (lines.length + this.#linesDrawn > 0) {
      write(`${up}${lines.map((line) => `${line}\u001b[K\n`).join("")}\u001b[J`);
    }
    this.#linesDrawn = lines.length;
  }

  #erase(): void {
    if (this.#linesDrawn > 0) this.#terminal.write(`\u001b[${this.#linesDrawn}A\u001b[J`);
    this.#linesDrawn = 0;
  }

  [Symbol.dispose](): void {
    this.#settle();
  }
}

class Lines implements Progress {
  readonly #terminal: Terminal;
  readonly #items = new Map<string, Item>();
  #spokenAt: number;

  constructor(terminal: Terminal) {
    this.#terminal = terminal;
    this.#spokenAt = terminal.now();
  }

  readonly onProgress = (event: ProgressEvent): void => {
    if (event.type !== "item") {
      this.#say(event.type === "warning" ? `warning: ${event.text}` : event.text);
      return;
    }
    const before = this.#items.get(event.id)?.phase;
    const item = update(this.#items, event, this.#terminal.now());
    if (before !== event.phase) this.#phase(item);
    else if (this.#terminal.now() - this.#spokenAt >= PLAIN_MS) this.#summary();
  };

  #phase(item: Item): void {
    if (item.phase === "waiting") return;
    const size = item.totalBytes === undefined ? "" : ` (${formatSize(item.totalBytes)})`;
    this.#say(`${item.id}: ${phaseWords[item.phase]}${item.phase === "downloading" ? size : ""}`);
  }

  #summary(): void {
    const items = [...this.#items.values()];
    const sum = (key: "currentBytes" | "totalBytes"): number =>
      items.reduce((total, item) => total + (item[key] ?? 0), 0);
    this.#say(`${formatSize(sum("currentBytes"))} of ${formatSize(sum("totalBytes"))}`);
  }

  #say(text: string): void {
    this.#spokenAt = this.#terminal.now();
    this.#terminal.write(`${text}\n`);
  }

  [Symbol.dispose](): void {
    this.#items.clear();
  }
}

/** docker's words for what happens to a layer. */
export const phaseWords: Readonly<Record<Phase, string>> = {
  waiting: "Waiting",
  downloading: "Downloading",
  uploading: "Uploading",
  unpacking: "Extracting",
  retrying: "Retrying",
  exists: "Already exists",
  done: "Complete",
};

function update(
  items: Map<string, Item>,
  event: Extract<ProgressEvent, { type: "item" }>,
  now: number,
): Item {
  const before = items.get(event.id);
  const samePhase = before?.phase === event.phase;
  const currentBytes = event.currentBytes ?? (samePhase ? before.currentBytes : undefined);
  const totalBytes = event.totalBytes ?? before?.totalBytes;
  const item: Item = {
    id: event.id,
    phase: event.phase,
    // a resumed download begins in the middle: its rate counts from there
    startedAt: samePhase ? before.startedAt : now,
    startBytes: samePhase ? before.startBytes : (event.currentBytes ?? 0),
    ...(currentBytes !== undefined && { currentBytes }),
    ...(totalBytes !== undefined && { totalBytes }),
  };
  items.set(event.id, item);
  return item;
}
