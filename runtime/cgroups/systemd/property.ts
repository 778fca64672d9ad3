/** One property of a unit, as StartTransientUnit and SetUnitProperties take them: "(sv)". */
import type { Value, Variant } from "./values.ts";

export type Property = readonly [name: string, value: Variant];

export function property(name: string, signature: string, value: Value): Property {
  return [name, { signature, value }];
}
