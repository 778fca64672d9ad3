/** FCOM and its family: to condition codes or to RFLAGS (SDM volume 2, by name). */
import * as f from "./float80.ts";
import { condition, type Fpu } from "./stack.ts";

function compareValues(
  fpu: Fpu,
  b: f.Float80,
  empty: boolean,
  quiet: boolean,
  wasDenormal: boolean,
) {
  if (fpu.isEmpty(0) || empty) {
    fpu.underflow();
    fpu.summarize();
    return undefined;
  }
  const a = fpu.raw(0);
  const order = f.compare(a, b);
  const { context } = fpu;
  const signals = [a, b].some((x) => f.isSignalling(x) || f.isUnsupported(x));
  if (order === undefined && (!quiet || signals)) context.flags |= f.exception.invalid;
  else if (order !== undefined && (wasDenormal || f.isDenormal(a) || f.isDenormal(b)))
    context.flags |= f.exception.denormal;
  fpu.status(context.flags);
  fpu.summarize();
  return order;
}

/** FCOM, FUCOM, FTST: C3 equal, C0 less, all three unordered. */
export function compareCodes(
  fpu: Fpu,
  b: f.Float80,
  empty: boolean,
  quiet: boolean,
  wasDenormal = false,
): void {
  const order = compareValues(fpu, b, empty, quiet, wasDenormal);
  fpu.clear(condition.c0 | condition.c2 | condition.c3 | condition.c1);
  if (order === undefined) fpu.status(condition.c0 | condition.c2 | condition.c3);
  else if (order < 0) fpu.status(condition.c0);
  else if (order === 0) fpu.status(condition.c3);
}

/** FCOMI, FUCOMI: ZF, PF, CF. */
export function compareFlags(fpu: Fpu, i: number, quiet: boolean): void {
  const order = compareValues(fpu, fpu.raw(i), fpu.isEmpty(i), quiet, false);
  const { registers } = fpu.cpu;
  const bits = order === undefined ? 0x45 : order < 0 ? 1 : order === 0 ? 0x40 : 0;
  registers.rflags = (registers.rflags & ~0x8d5) | bits;
}
