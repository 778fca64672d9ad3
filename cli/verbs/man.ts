import type { Handler } from "../command.ts";
import { formatManualPage } from "../manual-page.ts";

export const man: Handler = () => {
  process.stdout.write(formatManualPage());
  return 0;
};
