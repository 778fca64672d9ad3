/** `manyworlds rmi`: what is untagged and deleted, in docker's words. */
import { storeOperations } from "../../engine/index.ts";
import type { Handler } from "../command.ts";
import { formatError } from "../errors.ts";
import type { rmiFlags } from "../table/image.ts";

export const rmi: Handler<typeof rmiFlags> = async ({ values, args }, { root }) => {
  const operations = await storeOperations();
  let failed = false;
  for (const name of args) {
    try {
      const { untagged, deleted } = await operations.remove(root, name, { force: values.force });
      for (const each of untagged) process.stdout.write(`Untagged: ${each}\n`);
      for (const each of new Set(deleted)) process.stdout.write(`Deleted: ${each}\n`);
    } catch (error) {
      failed = true;
      process.stderr.write(`${formatError(error, false)}\n`);
    }
  }
  return failed ? 1 : 0;
};
