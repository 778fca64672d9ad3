/**
 * Completion. The scripts are a few lines that ask the hidden verb `__complete`, so that they never
 * grow old: the answer comes from the same table as the parser, and image names from the disk.
 */
import { type Command, type Flag, standsAlone } from "./command.ts";
import { commands, findCommand, groups, membersOf } from "./table/index.ts";

export interface Candidate {
  readonly word: string;
  readonly description: string;
}

/** What may stand in the last of `words` (which may be empty). */
export interface Completion {
  readonly candidates: readonly Candidate[];
  /** The shell adds file names. */
  readonly files?: boolean;
  /** Names that only the disk knows. */
  readonly names?: "image" | "container";
}

const nothing: Completion = { candidates: [] };

export function completeWords(words: readonly string[]): Completion {
  const typed = words.slice(0, -1);
  const last = words.at(-1) ?? "";
  const found = findCommand(typed);
  if (found === undefined) return startingWith(completeVerb(typed), last);
  return completeInVerb(found.command, found.rest, last);
}

function completeVerb(typed: readonly string[]): Completion {
  const [group] = typed;
  if (group !== undefined && group in groups) {
    return {
      candidates: membersOf(group).map(({ word, command }) => ({
        word,
        description: command.summary,
      })),
    };
  }
  if (typed.length > 0) return nothing;
  const verbs = commands
    .filter((command) => command.group !== "hidden")
    .map(({ name, summary }) => ({ word: name, description: summary }));
  const managed = Object.entries(groups).map(([word, description]) => ({ word, description }));
  return { candidates: [...verbs, ...managed] };
}

function completeInVerb(command: Command, before: readonly string[], last: string): Completion {
  const state = scan(command, before);
  if (state.program) return { candidates: [], files: true };
  if (state.pending !== undefined) return completeValue(state.pending, "", last);
  if (last.startsWith("--") && last.includes("=")) {
    const name = last.slice(2, last.indexOf("="));
    const flag = command.flags[name];
    const prefix = `--${name}=`;
    return flag === undefined ? nothing : completeValue(flag, prefix, last.slice(prefix.length));
  }
  if (last.startsWith("-")) return startingWith({ candidates: flagCandidates(command) }, last);
  if (state.args >= command.maxArgs) return nothing;
  return completeValue(command, "", last);
}

interface Scanned {
  /** A flag that waits for its value. */
  readonly pending?: Flag;
  readonly args: number;
  /** The rest belongs to the program that will run. */
  readonly program: boolean;
}

function scan(command: Command, words: readonly string[]): Scanned {
  let args = 0;
  for (let at = 0; at < words.length; at++) {
    const word = words[at] ?? "";
    if (!word.startsWith("-") || word === "-") {
      args++;
      if (!command.interspersed) return { args, program: true };
      continue;
    }
    const flag = flagAwaitingValue(command, word);
    if (flag === undefined) continue;
    if (at === words.length - 1) return { args, program: false, pending: flag };
    at++;
  }
  return { args, program: false };
}

/** The flag at the end of `word` when its value is the next word. */
function flagAwaitingValue(command: Command, word: string): Flag | undefined {
  if (word.includes("=")) return undefined;
  if (word.startsWith("--")) {
    const flag = command.flags[word.slice(2)];
    return flag === undefined || standsAlone(flag) ? undefined : flag;
  }
  for (const [index, letter] of [...word.slice(1)].entries()) {
    const flag = Object.values(command.flags).find((row) => row.short === letter);
    if (flag === undefined) return undefined;
    if (!standsAlone(flag)) return index === word.length - 2 ? flag : undefined;
  }
  return undefined;
}

function completeValue(
  source: { readonly completes?: Flag["completes"] },
  prefix: string,
  last: string,
): Completion {
  const { completes } = source;
  if (completes === "file") return { candidates: [], files: true };
  if (completes === "image" || completes === "container") {
    return { candidates: [], names: completes };
  }
  const words = completes ?? [];
  return startingWith(
    { candidates: words.map((word) => ({ word: prefix + word, description: "" })) },
    prefix + last,
  );
}

function flagCandidates(command: Command): Candidate[] {
  const flags = Object.entries(command.flags).filter(([, flag]) => flag.later === undefined);
  return [
    ...flags.map(([name, flag]) => ({ word: `--${name}`, description: flag.description })),
    { word: "--help", description: "Show help" },
  ];
}

function startingWith(completion: Completion, prefix: string): Completion {
  const candidates = completion.candidates.filter(({ word }) => word.startsWith(prefix));
  return { ...completion, candidates };
}
