/** Medians, quartiles and ratios of samples that were taken in turn. */

export interface Spread {
  readonly median: number;
  readonly low: number;
  readonly high: number;
}

/** Median with the quartiles around it, interpolated between neighbours. */
export function spreadOf(values: readonly number[]): Spread {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (part: number) => {
    const position = part * (sorted.length - 1);
    const below = sorted[Math.floor(position)] ?? Number.NaN;
    const above = sorted[Math.ceil(position)] ?? Number.NaN;
    return below + (above - below) * (position - Math.floor(position));
  };
  return { median: at(0.5), low: at(0.25), high: at(0.75) };
}

/** Ratio within each round, so that what slowed one round down slows both sides of it. */
export function ratioOf(ours: readonly number[], theirs: readonly number[]): Spread {
  const ratios: number[] = [];
  for (const [index, value] of ours.entries()) {
    const other = theirs[index];
    if (other !== undefined && other > 0) ratios.push(value / other);
  }
  return spreadOf(ratios);
}
