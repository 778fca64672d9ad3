/** Errors of the command line, and how any error is shown to a person. */
import { paint } from "./output/color.ts";

/** docker's status for a failure of its own: bad flags, missing image, container not started. */
export const OWN_FAILURE = 125;

interface UsageDetails {
  readonly hint?: string;
  readonly usage?: string;
  readonly near?: {
    readonly given: string;
    readonly known: readonly string[];
    readonly prefix: string;
  };
}

/** The command line does not say what to do in terms we know. */
export class UsageError extends Error {
  override readonly name = "UsageError";
  /** The verb whose help explains more; "" for the program's. */
  readonly command: string;
  readonly usage: string | undefined;
  readonly hint: string | undefined;

  constructor(command: string, message: string, details: UsageDetails = {}) {
    super(message);
    this.command = command;
    this.usage = details.usage;
    this.hint = details.hint ?? suggest(details.near);
  }
}

/** Carries an exit status that is not 1 (or 125 for `run`). */
export class ExitError extends Error {
  override readonly name = "ExitError";
  readonly status: number;
  constructor(status: number, message: string, options?: ErrorOptions) {
    super(message, options);
    this.status = status;
  }
}

function suggest(near: UsageDetails["near"]): string | undefined {
  if (near === undefined) return undefined;
  const best = closest(near.given, near.known);
  return best === undefined ? undefined : `did you mean "${near.prefix}${best}"?`;
}

/** The known word that is a typing slip away, if there is one. */
export function closest(given: string, known: readonly string[]): string | undefined {
  const limit = given.length < 4 ? 1 : 2;
  let best: string | undefined;
  let bestDistance = limit + 1;
  for (const word of known) {
    const distance = editDistance(given, word);
    if (distance < bestDistance) {
      best = word;
      bestDistance = distance;
    }
  }
  return best;
}

/** Levenshtein distance with neighbouring letters swapped counted once. */
function editDistance(a: string, b: string): number {
  let before: number[] = [];
  let previous = Array.from({ length: b.length + 1 }, (_, column) => column);
  for (let row = 1; row <= a.length; row++) {
    const current = [row];
    for (let column = 1; column <= b.length; column++) {
      const same = a[row - 1] === b[column - 1];
      let cost = Math.min(
        (previous[column] ?? 0) + 1,
        (current[column - 1] ?? 0) + 1,
        (previous[column - 1] ?? 0) + (same ? 0 : 1),
      );
      const swapped = a[row - 1] === b[column - 2] && a[row - 2] === b[column - 1];
      if (row > 1 && column > 1 && swapped) cost = Math.min(cost, (before[column - 2] ?? 0) + 1);
      current.push(cost);
    }
    before = previous;
    previous = current;
  }
  return previous[b.length] ?? 0;
}

const CAUSES = 8; // a longer chain is a loop

/** The lines that tell a person what went wrong; no newline at the end. */
export function formatError(error: unknown, colour: boolean): string {
  const lines = [`manyworlds: ${firstLine(error)}`];
  const hints = new Set<string>();
  let current: unknown = error;
  for (let depth = 0; depth < CAUSES && current !== undefined; depth++) {
    if (depth > 0) lines.push(`  caused by: ${firstLine(current)}`);
    const hint = hintOf(current);
    if (hint !== undefined) hints.add(hint);
    current = current instanceof Error ? current.cause : undefined;
  }
  for (const hint of hints) lines.push(`  ${paint("hint:", "cyan", colour)} ${hint}`);
  lines[0] = paint("manyworlds:", "red", colour) + (lines[0] as string).slice("manyworlds:".length);
  if (error instanceof UsageError) lines.push(...formatUsage(error));
  return lines.join("\n");
}

function formatUsage(error: UsageError): string[] {
  const program = `manyworlds${error.command === "" ? "" : ` ${error.command}`}`;
  const usage = error.usage === undefined ? [] : [`Usage:  ${program} ${error.usage}`];
  return [...usage, `See '${program} --help'`];
}

function firstLine(error: unknown): string {
  const message = error instanceof Error ? error.message : String(error);
  return message === "" && error instanceof Error ? error.name : message;
}

/** Errors of every folder carry a hint in one of two places (style guide, 6). */
function hintOf(error: unknown): string | undefined {
  if (typeof error !== "object" || error === null) return undefined;
  const { hint, failure } = error as { hint?: unknown; failure?: { hint?: unknown } };
  const found = hint ?? failure?.hint;
  return typeof found === "string" ? found : undefined;
}
