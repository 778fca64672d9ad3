/** `manyworlds completion`. */
import type { Handler } from "../command.ts";
import { completionScripts } from "../completion-scripts.ts";
import { UsageError } from "../errors.ts";

export const completion: Handler = ({ args }) => {
  const [shell = ""] = args;
  const script = Object.hasOwn(completionScripts, shell) ? completionScripts[shell] : undefined;
  if (script === undefined) {
    throw new UsageError("completion", `Unknown shell "${shell}", expected bash, zsh or fish`);
  }
  process.stdout.write(script);
  return 0;
};
