/** `manyworlds __complete -- WORD…`: what may stand in the last word, one a line, tab, description. */
import { containerNames, imageCatalogue } from "../../engine/index.ts";
import type { Context, Handler } from "../command.ts";
import { type Candidate, completeWords } from "../completion.ts";

export const complete: Handler = async ({ args }, context) => {
  const { candidates, files, names } = completeWords(args);
  const found = names === undefined ? [] : await readNames(names, args.at(-1) ?? "", context);
  const lines = [...candidates, ...found].map(
    ({ word, description }) => `${word}\t${description}\n`,
  );
  process.stdout.write(lines.join("") + (files === true ? ":files\n" : ""));
  return 0;
};

async function readNames(
  kind: "image" | "container",
  prefix: string,
  { root }: Context,
): Promise<Candidate[]> {
  try {
    if (kind === "container") {
      const names = await containerNames(root, prefix);
      return names.map((word) => ({ word, description: "container" }));
    }
    using catalogue = await imageCatalogue(root);
    return catalogue.names(prefix).map((word) => ({ word, description: "image" }));
  } catch {
    return []; // no store yet: completion has nothing to say, and nobody to say it to
  }
}
