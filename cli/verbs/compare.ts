/** `manyworlds compare`. */
import { renameSync, rmSync, writeFileSync } from "node:fs";
import {
  type CompareProgress,
  type Comparison,
  compare as compareRungs,
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

export const compare: Handler<typeof compareFlags> = async ({ values, args }, { root, env }) => {
  const [image = "", ...command] = args;
  const page = values.html === undefined ? undefined : openPage(values.html);
  using progress = openProgress(values.quiet ? "none" : "auto", env);
  await ensureImage(image, { root, onProgress: progress.onProgress });
  progress[Symbol.dispose]();
  using interruption = interruptible();
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
      ...(line !== undefined && { onProgress: line.show }),
    });
  } finally {
    line?.clear();
  }
  page?.write(toHtml(comparison));
  if (values.json) process.stdout.write(`${JSON.stringify(comparison, undefined, 2)}\n`);
  else {
    const colour = wantsColour(env, process.stdout.isTTY === true);
    process.stdout.write(formatComparison(comparison, colour));
  }
  return comparison.interrupted ? INTERRUPTED : 0;
};

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

/** The first interruption ends the measuring, the second one ends us. */
function interruptible(): Disposable & { readonly signal: AbortSignal } {
  const controller = new AbortController();
  const onSignal = (): void => {
    process.stderr.write("\nInterrupted: one more sample, then what has been measured\n");
    controller.abort();
    for (const name of ["SIGINT", "SIGTERM"] as const) process.removeListener(name, onSignal);
  };
  for (const name of ["SIGINT", "SIGTERM"] as const) process.once(name, onSignal);
  return {
    signal: controller.signal,
    [Symbol.dispose]() {
      for (const name of ["SIGINT", "SIGTERM"] as const) process.removeListener(name, onSignal);
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

/** One line that is overwritten in a terminal, and a line for each phase elsewhere. */
function statusLine(): { show: (progress: CompareProgress) => void; clear: () => void } {
  const isTerminal = process.stderr.isTTY === true;
  let last = "";
  return {
    show({ phase, rung, share }) {
      const word = phaseWords[phase];
      if (isTerminal) {
        process.stderr.write(`\r\u001b[K${word} ${Math.round(share * 100)} %: ${rung}`);
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
