/** `manyworlds rm`: each name that is gone goes to standard output. */
import { removeContainer } from "../../engine/index.ts";
import type { Handler } from "../command.ts";
import { formatError } from "../errors.ts";
import type { rmFlags } from "../table/other.ts";

export const rm: Handler<typeof rmFlags> = async ({ values, args }, { root }) => {
  let failed = false;
  for (const name of args) {
    try {
      await removeContainer(root, name, { force: values.force });
      process.stdout.write(`${name}\n`);
    } catch (error) {
      failed = true;
      process.stderr.write(`${formatError(error, false)}\n`);
    }
  }
  return failed ? 1 : 0;
};
