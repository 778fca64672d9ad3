/** Fuel is instructions until the run loop looks at the clock; what TypeScript does costs some, too. */
import { exitReason, state } from "../state.ts";
import type { Registers } from "./registers.ts";

/**
 * From one look at the clock to the next: at most 0.1 ms of ordinary code, and below 1 ms when much of it
 * misses the TLB. A look costs about a microsecond. docs/decisions/171
 */
export const usualSlice = 10_000;

/** In instructions: an exit, each instruction that is translated, an access the TLB did not allow. */
const [exitCost, translationCost, slowCost] = [500, 200, 20];

/** After an exit: without this, cold code would not look at the clock for long. */
export function spendOn(reason: number, registers: Registers): void {
  if (reason !== exitReason.fuel) spend(registers, exitCost);
}

export function spendOnTranslation(instructions: number, registers: Registers): void {
  spend(registers, instructions * translationCost);
}

/** Heard by the interpreter alone: a region keeps its fuel in a local. */
export function spendOnSlowAccess(registers: Registers): void {
  spend(registers, slowCost);
}

function spend(registers: Registers, cost: number): void {
  registers.set32(state.fuel, registers.get32(state.fuel) - cost);
}
