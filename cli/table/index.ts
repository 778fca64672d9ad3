/** Every verb, in the order the help shows them. */
import type { Command } from "../command.ts";
import { compare } from "./compare.ts";
import * as detached from "./detached.ts";
import * as image from "./image.ts";
import * as other from "./other.ts";
import { explain, run } from "./run.ts";
import { vmClassify, vmRun } from "./vm.ts";

// SAFE: a handler is only ever called with what its own flags parsed to (main.ts)
export const commands = [
  run,
  other.exec,
  image.pull,
  image.push,
  image.login,
  image.logout,
  other.ps,
  detached.logs,
  detached.stop,
  detached.kill,
  detached.wait,
  other.rm,
  explain,
  compare,
  other.oci,
  image.images,
  image.inspect,
  image.history,
  image.tag,
  image.rmi,
  image.save,
  image.load,
  image.importVerb,
  other.exportVerb,
  image.imagePrune,
  image.prune,
  image.df,
  vmRun,
  vmClassify,
  other.doctor,
  other.info,
  other.version,
  other.completion,
  other.complete,
  other.man,
] as unknown as readonly Command[];

export interface Found {
  readonly command: Command;
  readonly rest: readonly string[];
}

/** The verb that `words` begin with: one word, or two ("image ls"). */
export function findCommand(words: readonly string[]): Found | undefined {
  for (const length of [2, 1]) {
    if (words.length < length) continue;
    const name = words.slice(0, length).join(" ");
    const command = commands.find((row) => row.name === name || row.aliases?.includes(name));
    if (command !== undefined) return { command, rest: words.slice(length) };
  }
  return undefined;
}

/** First words of two-word verbs, with what the help says of them. */
export const groups: Readonly<Record<string, string>> = {
  container: "Work with containers",
  image: "Work with images",
  system: "Work with this machine",
  vm: "Work with virtual machines",
};

/** Two-word verbs that begin with `group`: the second word and the verb. */
export function membersOf(group: string): { word: string; command: Command }[] {
  const prefix = `${group} `;
  return commands.flatMap((command) =>
    [command.name, ...(command.aliases ?? [])]
      .filter((name) => name.startsWith(prefix))
      .map((name) => ({ word: name.slice(prefix.length), command })),
  );
}
