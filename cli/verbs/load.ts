/** `manyworlds load`. */
import { storeOperations } from "../../engine/index.ts";
import type { Handler } from "../command.ts";
import { openInput } from "../output/streams.ts";
import type { loadFlags } from "../table/image.ts";

export const load: Handler<typeof loadFlags> = async ({ values }, { root }) => {
  const operations = await storeOperations();
  const loaded = await operations.load(root, openInput("load", values.input));
  for (const { id, names } of loaded) {
    const lines =
      names.length === 0
        ? [`Loaded image ID: ${id}`]
        : names.map((name) => `Loaded image: ${name}`);
    process.stdout.write(lines.map((line) => `${line}\n`).join(""));
  }
  return 0;
};
