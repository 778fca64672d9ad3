/** Which helper executes which mnemonic. */
import { fpuHelpers } from "../x87/fpu.ts";
import { farHelpers } from "./far-transfers.ts";
import { fpuStateHelpers } from "./fpu-state.ts";
import { legacyHelpers } from "./legacy-instructions.ts";
import { type Helper, helpers, undefinedInstruction } from "./system-instructions.ts";
import { vectorHelpers } from "./vector-helpers.ts";

const table: Readonly<Record<string, Helper>> = {
  ...helpers,
  ...farHelpers,
  ...legacyHelpers,
  ...fpuStateHelpers,
  ...fpuHelpers,
  ...vectorHelpers,
};

/** Mnemonics that nobody implements raise #UD and are counted. */
export function helperOf(mnemonic: string): Helper {
  return table[mnemonic] ?? undefinedInstruction;
}
