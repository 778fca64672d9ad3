/** One call's fate: always the same, or decided by its arguments. */

import { type BpfBuilder, type BpfPlace, seccompData } from "../../linux/index.ts";
import type { SeccompOperator } from "../../oci/index.ts";
import type { Architecture } from "./architectures.ts";

export interface Condition {
  readonly index: number;
  readonly op: SeccompOperator;
  readonly value: bigint;
  /** What the masked argument must equal, for SCMP_CMP_MASKED_EQ. */
  readonly valueTwo: bigint;
}

export interface Rule {
  readonly conditions: readonly Condition[];
  /** SECCOMP_RET_* with its data. */
  readonly value: number;
}

export interface Verdict {
  readonly always?: number;
  /** The first rule whose conditions all hold decides; otherwise the profile's default. */
  readonly rules: readonly Rule[];
}

export function emitVerdict(
  builder: BpfBuilder,
  architecture: Architecture,
  verdict: Verdict,
  defaultReturn: number,
): BpfPlace {
  if (verdict.always !== undefined) return builder.ret(verdict.always);
  let next = builder.ret(defaultReturn);
  for (const rule of verdict.rules.toReversed()) {
    let place = builder.ret(rule.value);
    for (const condition of rule.conditions.toReversed())
      place = emitCondition(builder, architecture, condition, place, next);
    next = place;
  }
  return next;
}

/** Continues at `yes` when the condition holds, at `no` otherwise. */
function emitCondition(
  builder: BpfBuilder,
  { narrow }: Architecture,
  { index, op, value, valueTwo }: Condition,
  yes: BpfPlace,
  no: BpfPlace,
): BpfPlace {
  const argument = new Argument(builder, seccompData.argument(index), narrow);
  switch (op) {
    case "SCMP_CMP_EQ":
      return argument.equal(value, yes, no);
    case "SCMP_CMP_NE":
      return argument.equal(value, no, yes);
    case "SCMP_CMP_GT":
      return argument.above("JGT", value, yes, no);
    case "SCMP_CMP_GE":
      return argument.above("JGE", value, yes, no);
    case "SCMP_CMP_LE":
      return argument.above("JGT", value, no, yes);
    case "SCMP_CMP_LT":
      return argument.above("JGE", value, no, yes);
    case "SCMP_CMP_MASKED_EQ":
      return argument.maskedEqual(value, valueTwo, yes, no);
    default:
      op satisfies never;
      throw new RangeError(`Unknown comparison ${String(op)}`);
  }
}

/** A 64-bit argument, compared half by half: classic BPF has 32-bit words. */
class Argument {
  readonly #builder: BpfBuilder;
  readonly #low: number;
  readonly #high: number;
  readonly #narrow: boolean;

  constructor(builder: BpfBuilder, offset: number, narrow: boolean) {
    this.#builder = builder;
    this.#low = offset;
    this.#high = offset + 4;
    this.#narrow = narrow;
  }

  equal(value: bigint, yes: BpfPlace, no: BpfPlace): BpfPlace {
    const low = this.#compare("JEQ", this.#low, lowHalf(value), yes, no);
    return this.#narrow ? low : this.#compare("JEQ", this.#high, highHalf(value), low, no);
  }

  above(how: "JGT" | "JGE", value: bigint, yes: BpfPlace, no: BpfPlace): BpfPlace {
    const low = this.#compare(how, this.#low, lowHalf(value), yes, no);
    if (this.#narrow) return low;
    const same = this.#builder.jump("JEQ", highHalf(value), low, no);
    const high = this.#builder.jump("JGT", highHalf(value), yes, same);
    return this.#builder.load(this.#high, high);
  }

  maskedEqual(mask: bigint, wanted: bigint, yes: BpfPlace, no: BpfPlace): BpfPlace {
    const low = this.#masked(this.#low, lowHalf(mask), lowHalf(wanted), yes, no);
    if (this.#narrow) return low;
    return this.#masked(this.#high, highHalf(mask), highHalf(wanted), low, no);
  }

  #masked(offset: number, mask: number, wanted: number, yes: BpfPlace, no: BpfPlace): BpfPlace {
    // libseccomp looks at the masked bits of the wanted value only.
    const bits = (wanted & mask) >>> 0;
    if (mask === 0) return yes;
    const compare = this.#builder.jump("JEQ", bits, yes, no);
    return this.#builder.load(offset, this.#builder.and(mask, compare));
  }

  #compare(
    how: "JEQ" | "JGT" | "JGE",
    offset: number,
    half: number,
    yes: BpfPlace,
    no: BpfPlace,
  ): BpfPlace {
    return this.#builder.load(offset, this.#builder.jump(how, half, yes, no));
  }
}

function lowHalf(value: bigint): number {
  return Number(value & 0xffff_ffffn);
}

function highHalf(value: bigint): number {
  return Number((value >> 32n) & 0xffff_ffffn);
}
