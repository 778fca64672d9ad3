/** Tiers by the names that lockstep/main.ts knows. */
import type { Tier } from "./traced-machine.ts";

const tiers: readonly Tier[] = [
  { name: "interpreter", hotThreshold: 2 ** 30, batch: 1 },
  // One by one, 30 000 modules would cost the engine a table each.
  { name: "at-once", hotThreshold: 1, batch: 32 },
  { name: "early", hotThreshold: 200, batch: 32 },
  { name: "usual", hotThreshold: 4000, batch: 32 },
];

export function tierOf(name: string): Tier {
  const tier = tiers.find((each) => each.name === name);
  if (tier) return tier;
  const names = tiers.map((each) => each.name).join(", ");
  throw new RangeError(`Cannot use tier "${name}": expected one of ${names}`);
}
