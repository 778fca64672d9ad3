/** `manyworlds export`. */
import { storeOperations } from "../../engine/index.ts";
import type { Handler } from "../command.ts";
import { writeOutput } from "../output/streams.ts";
import type { exportFlags } from "../table/other.ts";

export const exportContainer: Handler<typeof exportFlags> = async ({ values, args }, { root }) => {
  const operations = await storeOperations();
  const [name = ""] = args;
  await writeOutput("export", values.output, operations.exportContainer(root, name));
  return 0;
};
