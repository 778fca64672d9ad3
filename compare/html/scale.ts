/** Where a number stands on an axis, in percent of its width. */

export interface Scale {
  readonly at: (value: number) => number;
  readonly ticks: readonly number[];
  /** Steps are factors: lengths from the edge say nothing. */
  readonly factors: boolean;
}

/** Whether ticks are powers of ten or of two. */
export type Units = "decimal" | "binary";

/** Ends of the axis in percent: room for marks at the edges. */
const LEFT = 1;
const RIGHT = 99;
/** From this ratio of largest to smallest on, steps are factors. */
const LOG_FROM = 30;

/** Linear from zero for numbers that are alike, logarithmic for those of different orders. */
export function scaleFor(values: readonly number[], units: Units = "decimal"): Scale {
  const positive = values.filter((value) => Number.isFinite(value) && value > 0);
  if (positive.length === 0) return linear(1, units);
  const smallest = Math.min(...positive);
  const largest = Math.max(...positive);
  return largest / smallest > LOG_FROM
    ? logarithmic(smallest, largest, units)
    : linear(largest, units);
}

export function linear(largest: number, units: Units = "decimal"): Scale {
  const step = niceStep(largest / 4, units);
  const end = Math.max(step, Math.ceil(largest / step - 1e-9) * step);
  const count = Math.round(end / step);
  return {
    at: (value) => place(value / end),
    ticks: Array.from({ length: count + 1 }, (_, index) => index * step),
    factors: false,
  };
}

/** 1, 2 or 5 times a power of ten, or a power of two, not below `rough`. */
function niceStep(rough: number, units: Units): number {
  if (units === "binary") return 2 ** Math.ceil(Math.log2(rough) - 1e-9);
  const power = 10 ** Math.floor(Math.log10(rough));
  const factor = [1, 2, 5, 10].find((each) => each * power >= rough * (1 - 1e-9)) ?? 10;
  return factor * power;
}

export function logarithmic(smallest: number, largest: number, units: Units = "decimal"): Scale {
  const factor = units === "binary" ? 16 : 10;
  const powerOf = (value: number): number => Math.log(value) / Math.log(factor);
  const low = Math.floor(powerOf(smallest) + 1e-9);
  const high = Math.max(low + 1, Math.ceil(powerOf(largest) - 1e-9));
  return {
    at: (value) => place((powerOf(Math.max(value, factor ** low)) - low) / (high - low)),
    ticks: Array.from({ length: high - low + 1 }, (_, index) => factor ** (low + index)),
    factors: true,
  };
}

function place(share: number): number {
  return LEFT + Math.min(1, Math.max(0, share)) * (RIGHT - LEFT);
}
