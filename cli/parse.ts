/**
 * Splits a command line as docker's does (spf13/pflag's rules):
 *
 *   --flag value   --flag=value   -f value   -fvalue   -f=value   -it   -it=false   --   -
 *
 * A switch takes a value only after "=", as does a flag whose value may be left out. A flag that needs a value takes the next word whatever it
 * looks like, so `-e -x` sets the variable "-x". Where `interspersed` is false, everything from the
 * first argument on belongs to the program that will run.
 */
import type { Flag, Flags, Grammar, Parsed, ValuesOf } from "./command.ts";
import { UsageError } from "./errors.ts";
import { parseBoolean } from "./values/scalar.ts";

type Values = Record<string, unknown>;

interface Index {
  readonly long: ReadonlyMap<string, string>;
  readonly short: ReadonlyMap<string, string>;
}

/** Reads `words` by the flags of `row`. Throws UsageError. */
export function parseArguments<F extends Flags>(
  row: Grammar<F>,
  words: readonly string[],
): Parsed<F> | { readonly help: true } {
  const values = emptyValues(row.flags);
  const index = indexFlags(row.flags);
  const args: string[] = [];
  let at = 0;
  const next = (): string | undefined => words[at++];
  while (at < words.length) {
    const word = words[at++] as string; // SAFE: at was within bounds
    if (word === "--") {
      args.push(...words.slice(at));
      break;
    }
    if (word.length < 2 || !word.startsWith("-")) {
      args.push(word);
      if (row.interspersed) continue;
      args.push(...words.slice(at));
      break;
    }
    if (word === "--help" || (word === "-h" && !index.short.has("h"))) return { help: true };
    if (word.startsWith("--")) readLong(row, index, values, word, next);
    else readCluster(row, index, values, word, next);
  }
  checkCount(row, args.length);
  // SAFE: emptyValues made a key for every flag, and set() stores what the flag's parse returned
  return { values: values as ValuesOf<F>, args };
}

function emptyValues(flags: Flags): Values {
  const values: Values = {};
  for (const name in flags) {
    const kind = flags[name]?.kind;
    values[name] = kind === "switch" ? false : kind === "list" ? [] : undefined;
  }
  return values;
}

function indexFlags(flags: Flags): Index {
  const long = new Map<string, string>();
  const short = new Map<string, string>();
  for (const name in flags) {
    long.set(name, name);
    for (const alias of flags[name]?.aliases ?? []) long.set(alias, name);
    const letter = flags[name]?.short;
    if (letter !== undefined) short.set(letter, name);
  }
  return { long, short };
}

function readLong(
  row: Grammar,
  index: Index,
  values: Values,
  word: string,
  next: () => string | undefined,
): void {
  const equals = word.indexOf("=");
  const written = word.slice(2, equals < 0 ? undefined : equals);
  const name = index.long.get(written);
  const flag = name === undefined ? undefined : row.flags[name];
  if (name === undefined || flag === undefined) {
    throw new UsageError(row.name, `Unknown flag "--${written}"`, {
      near: { given: written, known: [...index.long.keys()], prefix: "--" },
    });
  }
  const attached = equals < 0 ? undefined : word.slice(equals + 1);
  const given = attached ?? bareValue(flag) ?? next();
  set(row, values, name, flag, given);
}

function readCluster(
  row: Grammar,
  index: Index,
  values: Values,
  word: string,
  next: () => string | undefined,
): void {
  for (let position = 1; position < word.length; position++) {
    const letter = word.charAt(position);
    const name = index.short.get(letter);
    const flag = name === undefined ? undefined : row.flags[name];
    if (name === undefined || flag === undefined) {
      const where = word.length > 2 ? ` in "${word}"` : "";
      throw new UsageError(row.name, `Unknown flag "-${letter}"${where}`);
    }
    const rest = word.slice(position + 1);
    const bare = bareValue(flag);
    if (bare !== undefined && !rest.startsWith("=")) {
      set(row, values, name, flag, bare);
      continue;
    }
    const attached = rest.startsWith("=") ? rest.slice(1) : rest || undefined;
    set(row, values, name, flag, attached ?? next());
    return;
  }
}

/** What a flag without a value means, when it may stand without one. */
function bareValue(flag: Flag): string | undefined {
  if (flag.kind === "switch") return "true";
  return flag.kind === "one" ? flag.bare : undefined;
}

function set(
  row: Grammar,
  values: Values,
  name: string,
  flag: Flag,
  given: string | undefined,
): void {
  if (given === undefined) {
    throw new UsageError(row.name, `Flag "--${name}" needs a value of type ${valueWord(flag)}`);
  }
  if (flag.later !== undefined && given !== "false") {
    throw new UsageError(row.name, `Flag "--${name}" is not supported yet`, { hint: flag.later });
  }
  try {
    if (flag.kind === "switch") values[name] = parseBoolean(given);
    else if (flag.kind === "one") values[name] = flag.parse(given);
    // SAFE: emptyValues put an array there
    else (values[name] as unknown[]).push(flag.parse(given));
  } catch (cause) {
    if (!(cause instanceof SyntaxError)) throw cause;
    const shown = flag.short === undefined ? `--${name}` : `-${flag.short}, --${name}`;
    throw new UsageError(row.name, `Invalid value "${given}" for "${shown}": ${cause.message}`);
  }
}

function valueWord(flag: Flag): string {
  return flag.kind === "switch" ? "boolean" : flag.value;
}

function checkCount(row: Grammar, count: number): void {
  const { minArgs, maxArgs } = row;
  if (count >= minArgs && count <= maxArgs) return;
  throw new UsageError(row.name, `"${row.name}" ${describeCount(minArgs, maxArgs)}, got ${count}`, {
    usage: row.usage,
  });
}

function describeCount(min: number, max: number): string {
  const plural = (count: number): string => `${count} argument${count === 1 ? "" : "s"}`;
  if (max === 0) return "takes no arguments";
  if (min === max) return `needs exactly ${plural(min)}`;
  if (max === Number.POSITIVE_INFINITY) return `needs at least ${plural(min)}`;
  return min === 0 ? `takes at most ${plural(max)}` : `needs ${min} to ${plural(max)}`;
}
