/** The IDs that there are in our own user namespace, which is not always the host's: user_namespaces(7). */

export interface IdRange {
  readonly first: number;
  readonly count: number;
}

const NOBODY = 65_534;

/** /proc/PID/uid_map: first inside, first outside, how many. */
export function parseIdRanges(text: string): readonly IdRange[] {
  return text
    .split("\n")
    .map((line) => line.trim().split(/\s+/).map(Number))
    .filter((numbers) => numbers.length === 3 && numbers.every(Number.isSafeInteger))
    .map(([first = 0, , count = 0]) => ({ first, count }));
}

/** Everybody who is here is the same there. A map may only name IDs that its writer's namespace has. */
export function mapEverybody(ranges: readonly IdRange[]): string {
  return ranges.map(({ first, count }) => `${first} ${first} ${count}`).join("\n");
}

/** Who owns nothing: nobody, or in a namespace without them the last that it has. */
export function nobodyOf(ranges: readonly IdRange[]): number {
  const has = ranges.some(({ first, count }) => first <= NOBODY && NOBODY < first + count);
  return has ? NOBODY : Math.max(0, ...ranges.map(({ first, count }) => first + count - 1));
}
