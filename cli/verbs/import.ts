/** `manyworlds import`: a root file system becomes an image; its ID goes to standard output. */
import { storeOperations } from "../../engine/index.ts";
import type { Handler } from "../command.ts";
import { openInput } from "../output/streams.ts";
import type { importFlags } from "../table/image.ts";
import { applyChanges } from "../values/change.ts";

export const importImage: Handler<typeof importFlags> = async ({ values, args }, { root }) => {
  const operations = await storeOperations();
  const [source, reference] = args;
  const id = await operations.importRootfs(root, {
    config: applyChanges(values.change),
    archive: openInput("import", source),
    reference,
    message: values.message,
    platform: values.platform,
  });
  process.stdout.write(`${id}\n`);
  return 0;
};
