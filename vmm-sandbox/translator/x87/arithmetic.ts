/** x87 arithmetic between the stack's registers, or its top and a value. */

import { invalidOpcode } from "../system/fault.ts";
import { compareCodes } from "./compare.ts";
import * as f from "./float80.ts";
import type { Fpu } from "./stack.ts";

const operations = ["add", "mul", "com", "comp", "sub", "subr", "div", "divr"] as const;

function arithmetic(
  fpu: Fpu,
  name: (typeof operations)[number],
  a: f.Float80,
  b: f.Float80,
): f.Float80 {
  const { context } = fpu;
  switch (name) {
    case "add":
      return f.add(context, a, b);
    case "mul":
      return f.multiply(context, a, b);
    case "sub":
      return f.subtract(context, a, b);
    case "subr":
      return f.subtract(context, b, a);
    case "div":
      return f.divide(context, a, b);
    case "divr":
      return f.divide(context, b, a);
    default:
      throw new RangeError(`Cannot compute "${name}": it is a comparison`);
  }
}

/** ST(0) op value, to ST(0) or only to the condition codes. */
export function operate(
  fpu: Fpu,
  reg: number,
  value: f.Float80,
  empty: boolean,
  wasDenormal = false,
): void {
  const name = operations[reg] as (typeof operations)[number];
  if (name === "com" || name === "comp") {
    compareCodes(fpu, value, empty, false, wasDenormal);
    if (name === "comp") fpu.pop();
    return;
  }
  if (fpu.isEmpty(0) || empty) {
    fpu.underflow();
    fpu.set(0, f.indefinite);
    fpu.summarize();
    return;
  }
  const result = arithmetic(fpu, name, fpu.raw(0), value);
  // Zero-divide and invalid operations come before a denormal operand, NaNs hide it.
  const first = f.exception.invalid | f.exception.zeroDivide;
  if (wasDenormal && !(fpu.context.flags & first) && !f.isNan(result))
    fpu.context.flags |= f.exception.denormal;
  fpu.set(0, result);
  fpu.finish();
}

/** DC and DE register forms: ST(i) op ST(0), the "reverse" ones exchanged in the encoding. */
export function operateTo(fpu: Fpu, reg: number, i: number, pop: boolean): void {
  const name = (["add", "mul", "com", "comp", "subr", "sub", "divr", "div"] as const)[reg];
  if (name === undefined || name === "com" || name === "comp") throw invalidOpcode();
  if (fpu.isEmpty(0) || fpu.isEmpty(i)) {
    fpu.underflow();
    fpu.set(i, f.indefinite);
    fpu.summarize();
  } else {
    fpu.set(i, arithmetic(fpu, name, fpu.raw(i), fpu.raw(0)));
    fpu.finish();
  }
  if (pop) fpu.pop();
}
