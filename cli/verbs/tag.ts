/** `manyworlds tag`. */
import { imageCatalogue } from "../../engine/index.ts";
import type { Handler } from "../command.ts";

export const tag: Handler = async ({ args }, { root }) => {
  using catalogue = await imageCatalogue(root);
  const [source = "", target = ""] = args;
  catalogue.tag(source, target);
  return 0;
};
