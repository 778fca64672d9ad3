/** `manyworlds inspect`: images, and containers of the same name. */
import { imageCatalogue, inspectContainer } from "../../engine/index.ts";
import type { Handler } from "../command.ts";
import { formatValue } from "../output/format.ts";
import { parseTemplate } from "../output/template.ts";
import type { inspectFlags } from "../table/image.ts";

export const inspect: Handler<typeof inspectFlags> = async ({ values, args }, { root }) => {
  using catalogue = await imageCatalogue(root);
  const { format, type } = values;
  const found = await Promise.all(
    args.map(async (name) => {
      const container = type === "image" ? undefined : await inspectContainer(root, name);
      if (container !== undefined || type === "container") {
        if (container === undefined) throw new Error(`Cannot find container "${name}"`);
        return container;
      }
      return catalogue.inspect(name);
    }),
  );
  if (format === undefined || format === "json") {
    process.stdout.write(formatValue(found, undefined));
    return 0;
  }
  const template = parseTemplate(format);
  process.stdout.write(found.map((each) => `${template(each)}\n`).join(""));
  return 0;
};
