/** `manyworlds __man`: for the packager, who installs what it prints as manyworlds(1). */
import type { Handler } from "../command.ts";
import { formatManualPage } from "../manual-page.ts";

export const man: Handler = () => {
  process.stdout.write(formatManualPage());
  return 0;
};
