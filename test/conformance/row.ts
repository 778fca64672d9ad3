/**
 * What the conformance suite consists of: rows. Each takes one demand of the specification (or of
 * the engines that call a runtime), does something to a runtime binary, and looks at the result
 * from inside and outside the container.
 */
import type { Machine } from "./machine.ts";
import type { Trial } from "./trial.ts";

/**
 * MUST and SHOULD are the specification's; "contract" is what engines rely on without a
 * specification; "attack" is a known escape, tried.
 */
export type Level = "MUST" | "SHOULD" | "contract" | "attack";

export interface Row {
  /** Stable name, unique in the suite: peers.ts and `--only` refer to it. */
  readonly id: string;
  readonly level: Level;
  /** File and heading of the specification 1.3, or where else the demand comes from. */
  readonly section: string;
  /** One sentence: what has to be seen. */
  readonly claim: string;
  readonly check: (trial: Trial) => Promise<void>;
  /** What the machine must offer; the first that says no is the reason for skipping. */
  readonly needs?: readonly Need[];
}

/** Returns why the machine cannot run the row, or undefined. */
export type Need = (machine: Machine) => string | undefined;

/** Thrown by a check that finds out too late that it cannot run here. */
export class CannotCheck extends Error {
  override readonly name = "CannotCheck";
}

/** Makes the rows of one file: they share the section unless a row names its own. */
export function rowsOf(section: string) {
  return (
    level: Level,
    id: string,
    claim: string,
    check: Row["check"],
    more: Partial<Pick<Row, "needs" | "section">> = {},
  ): Row => ({ id, level, section, claim, check, ...more });
}
