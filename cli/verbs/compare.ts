/**
 * `manyworlds compare`. Ends with 0 when it went to its end (what could not be measured is in the
 * report, with the reason), with 130 when it was interrupted, with 1 when nothing could be measured.
 */
import { renameSync, rmSync, writeFileSync, writeSync } from "node:fs";
import {
  type CompareProgress,
  type Comparison,
  compare as compareRungs,
  measuredRungs,
  toHtml,
} from "../../compare/index.ts";
import { ensureImage } from "../../engine/index.ts";
import type { Handler } from "../command.ts";
import { UsageError } from "../errors.ts";
import { wantsColour } from "../output/color.ts";
import { openProgress } from "../output/progress.ts";
import type { compareFlags } from "../table/compare.ts";
import { formatComparison } from "./compare-tables.ts";

const INTERRUPTED = 130;
const NOTHING_MEASURED = 1;

export const compare: Handler<typeof compareFlags> = async ({ values, args }, { root, env }) => {
  const [image = "", ...command] = args;
  const page = values.html === undefined ? undefined : openPage(values.html);
  using progress = openProgress(values.quiet ? "none" : "auto", env);
  await ensureImage(image, { root, onProgress: progress.onProgress });
  progress[Symbol.dispose]();
  using interruption = interruptible();
  using watch = openWatch();
  const line = values.quiet ? undefined : statusLine();
  let comparison: Comparison;
  try {
    comparison = await compareRungs({
      image,
      command,
      root,
      quick: values.quick,
      signal: interruption.signal,
      ...(values.rung.length > 0 && { only: values.rung }),
      onProgress: (progress) => {
        watch.at(progress);
        line?.show(progress);
      },
    });
  } finally {
    line?.clear();
  }
  page?.write(toHtml(comparison));
  const colour = wantsColour(env, process.stdout.isTTY === true);
  const text = values.json
    ? `${JSON.stringify(comparison, undefined, 2)}\n`
    : formatComparison(comparison, colour);
  await written(text);
  if (comparison.interrupted) return INTERRUPTED;
  return measuredRungs(comparison).length === 0 ? NOTHING_MEASURED : 0;
};

/** Resolves when it has left us: a report of minutes must not be lost in a buffer. */
function written(text: string): Promise<void> {
  return new Promise((resolve, reject) => {
    process.stdout.write(text, (error) => {
      if (error) reject(error);
      else resolve();
    });
  });
}

/** Says where a comparison was when the process ends before it does, whoever ends it. */
function openWatch(): Disposable & { at(progress: CompareProgress): void } {
  let place = "preparing";
  const onExit = (status: number): void => {
    writeSync(2, `\nmanyworlds: compare ended early with ${status}, while it was at ${place}\n`);
    if (status === 0) process.exitCode = NOTHING_MEASURED;
  };
  process.once("exit", onExit);
  return {
    at({ phase, rung }) {
      place = `${phase}: ${rung}`;
    },
    [Symbol.dispose]: () => void process.removeListener("exit", onExit),
  };
}

/** A file that appears when it is complete; fails before minutes have gone into measuring. */
function openPage(path: string): { write(text: string): void } {
  const draft = `${path}.partial`;
  try {
    writeFileSync(draft, "");
    rmSync(draft);
  } catch (cause) {
    throw new UsageError("compare", `Cannot write "${path}": ${(cause as Error).message}`, {
      hint: "name a file in a folder that exists and that you may write to",
    });
  }
  return {
    write(text) {
      writeFileSync(draft, text);
      renameSync(draft, path);
    },
  };
}

const endings = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

/** The first interruption ends the measuring, the second one ends us. */
function interruptible(): Disposable & { readonly signal: AbortSignal } {
  const controller = new AbortController();
  const onSignal = (): void => {
    process.stderr.write("\nInterrupted: one more sample, then what has been measured\n");
    controller.abort();
    for (const name of endings) process.removeListener(name, onSignal);
  };
  for (const name of endings) process.once(name, onSignal);
  return {
    signal: controller.signal,
    [Symbol.dispose]() {
      for (const name of endings) process.removeListener(name, onSignal);
    },
  };
}

const phaseWords = {
  preparing: "Preparing",
  starts: "Measuring starts",
  phases: "Measuring phases of starts",
  work: "Measuring work inside",
  network: "Measuring the way to this machine",
  guest: "Counting what a guest does",
  memory: "Weighing",
} as const;

/**
 * One line that is overwritten in a terminal, with the time that it has taken, and a line for each
 * phase elsewhere.
 */
function statusLine(): { show: (progress: CompareProgress) => void; clear: () => void } {
  const isTerminal = process.stderr.isTTY === true;
  const started = performance.now();
  const elapsed = (): string => {
    const seconds = Math.floor((performance.now() - started) / 1000);
    return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
  };
  let last = "";
  return {
    show({ phase, rung, share }) {
      const word = phaseWords[phase];
      if (isTerminal) {
        process.stderr.write(
          `\r\u001b[K${elapsed()} ${word} ${Math.round(share * 100)} %: ${rung}`,
        );
      } else if (word !== last) {
        process.stderr.write(`${word}\n`);
      }
      last = word;
    },
    clear() {
      if (isTerminal) process.stderr.write("\r\u001b[K");
    },
  };
}
