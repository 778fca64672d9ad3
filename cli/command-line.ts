/** From words to a verb's exit status; every error ends here as lines on standard error. */
import type { Command, Context } from "./command.ts";
import { formatError, OWN_FAILURE, UsageError } from "./errors.ts";
import { wantsColour } from "./output/color.ts";
import { parseArguments } from "./parse.ts";
import type { Found } from "./table/index.ts";
import { run } from "./table/run.ts";

/** Runs one command line of the program and resolves to its exit status. */
export async function runCommandLine(words: readonly string[]): Promise<number> {
  let command: Command | undefined;
  try {
    const { rest, root, debug } = readGlobalFlags(words);
    if (rest.length === 0 || rest[0] === "help" || rest[0] === "--help" || rest[0] === "-h") {
      return await showHelp(rest.slice(1));
    }
    const found = await findVerb(rest);
    if (found === undefined) return await withoutVerb(rest);
    command = found.command;
    const parsed = parseArguments(command, found.rest);
    if ("help" in parsed) return await showHelp([command.name]);
    const handler = await command.load();
    const context: Context = { env: process.env, cwd: process.cwd(), root };
    if (debug) process.env["MANYWORLDS_DEBUG"] = "1";
    return await handler(parsed, context);
  } catch (error) {
    return report(error, command);
  }
}

/** `run` is found without loading the tables of all other verbs. */
async function findVerb(words: readonly string[]): Promise<Found | undefined> {
  // SAFE: a handler is only ever called with what its own flags parsed to
  if (words[0] === "run") return { command: run as unknown as Command, rest: words.slice(1) };
  return (await import("./table/index.ts")).findCommand(words);
}

function report(error: unknown, command: Command | undefined): number {
  if (isBrokenPipe(error)) return 0; // whoever read our output has seen enough
  const colour = wantsColour(process.env, process.stderr.isTTY === true);
  process.stderr.write(`${formatError(error, colour)}\n`);
  if (process.env["MANYWORLDS_DEBUG"] && error instanceof Error) {
    process.stderr.write(`${error.stack}\n`);
  }
  return statusOf(error, command);
}

function statusOf(error: unknown, command: Command | undefined): number {
  if (error instanceof UsageError) return OWN_FAILURE;
  const { status } = error as { status?: unknown };
  if (error instanceof Error && typeof status === "number" && Number.isInteger(status)) {
    if (status > 0 && status < 256) return status;
  }
  return command?.name === "run" ? OWN_FAILURE : 1;
}

function isBrokenPipe(error: unknown): boolean {
  return error instanceof Error && (error as NodeJS.ErrnoException).code === "EPIPE";
}

interface Globals {
  readonly rest: readonly string[];
  readonly root: string | undefined;
  readonly debug: boolean;
}

/** Flags that stand before the verb. */
function readGlobalFlags(words: readonly string[]): Globals {
  let root = process.env["MANYWORLDS_ROOT"] || undefined;
  let debug = false;
  let at = 0;
  for (; at < words.length; at++) {
    const word = words[at] ?? "";
    if (word === "--root") {
      root = words[++at];
      if (root === undefined) throw new UsageError("", 'Flag "--root" needs a directory');
    } else if (word.startsWith("--root=")) root = word.slice("--root=".length);
    else if (word === "-D" || word === "--debug") debug = true;
    else if (word === "-v" || word === "--version") return { rest: ["version"], root, debug };
    else break;
  }
  return { rest: words.slice(at), root, debug };
}

async function showHelp(words: readonly string[]): Promise<number> {
  const [{ formatCommandHelp, formatGroupHelp, formatProgramHelp }, { findCommand, groups }] =
    await Promise.all([import("./help.ts"), import("./table/index.ts")]);
  const width = process.stdout.columns ?? 80;
  const [first] = words;
  const found = findCommand(words);
  if (found !== undefined) process.stdout.write(formatCommandHelp(found.command, width));
  else if (first === undefined) process.stdout.write(formatProgramHelp());
  else if (first in groups) process.stdout.write(formatGroupHelp(first));
  else throw await unknownVerb(words);
  return 0;
}

/** `image`, `image --help`, or a word that is no verb. */
async function withoutVerb(rest: readonly string[]): Promise<number> {
  const [first = "", second] = rest;
  const { groups } = await import("./table/index.ts");
  if (first in groups && (second === undefined || second === "--help" || second === "-h")) {
    return showHelp([first]);
  }
  throw await unknownVerb(rest);
}

/** Verbs of docker that this release does not have, and what to do instead. */
const absent: Readonly<Record<string, string>> = {
  build: "build with buildah or docker, push to a registry, and pull from there",
  compose: "compose is not part of manyworlds",
  create: "use run: it makes and starts a container in one step",
  start: "use run: stopped containers are not started again yet",
  attach: "use logs --follow, and exec for input",
  search: "look on the registry's web site",
};

async function unknownVerb(words: readonly string[]): Promise<UsageError> {
  const { commands, groups } = await import("./table/index.ts");
  const [first = "", second] = words;
  if (first.startsWith("-")) return new UsageError("", `Unknown flag "${first}"`);
  const inGroup = first in groups && second !== undefined;
  const written = inGroup ? `${first} ${second}` : first;
  const hint = absent[inGroup ? second : first];
  const known = commands
    .filter((row) => row.group !== "hidden")
    .flatMap((row) => [row.name, ...(row.aliases ?? [])])
    .filter((name) => name.includes(" ") === inGroup);
  const details = hint === undefined ? { near: { given: written, known, prefix: "" } } : { hint };
  return new UsageError("", `Unknown command "${written}"`, details);
}
