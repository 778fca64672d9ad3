/** Fuel is instructions until the run loop looks at the clock; what TypeScript does costs some, too. */
import { exitReason, state } from "../state.ts";
import type { Registers } from "./registers.ts";

/** In instructions: a look-up, which mostly translates, and an exit for another reason. */
const [lookupCost, exitCost] = [2000, 200];

/** After an exit: without this, cold code would not look at the clock for long. */
export function spendOn(reason: number, registers: Registers): void {
  if (reason === exitReason.fuel) return;
  const cost = reason === exitReason.lookup ? lookupCost : exitCost;
  registers.set32(state.fuel, registers.get32(state.fuel) - cost);
}
