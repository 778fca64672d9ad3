import type { Handler } from "../command.ts";

/** A verb whose parts have not landed yet; gone before the first release. */
export const coming: Handler = () => {
  throw new Error("This command is not built yet");
};
