/** Which helper executes which mnemonic. */
import type { Row } from "../isa/instruction-set.ts";
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

/** By row: a look-up by name costs more than most helpers. */
const byRow: (Helper | undefined)[] = [];

/** Mnemonics that nobody implements raise #UD and are counted. */
export function helperOf({ index, mnemonic }: Row): Helper {
  const known = byRow[index] ?? table[mnemonic] ?? undefinedInstruction;
  byRow[index] = known;
  return known;
}
