/** `manyworlds save`. */
import { storeOperations } from "../../engine/index.ts";
import type { Handler } from "../command.ts";
import { writeOutput } from "../output/streams.ts";
import type { saveFlags } from "../table/image.ts";

export const save: Handler<typeof saveFlags> = async ({ values, args }, { root }) => {
  const operations = await storeOperations();
  await writeOutput("save", values.output, operations.save(root, args));
  return 0;
};
