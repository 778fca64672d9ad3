/**
 * Which pages of a machine's RAM a snapshot holds: those that are not all zeros, in runs.
 *
 * ```
 * run    first page (guest-physical address / 4096), number of pages; ascending, apart
 * ```
 */
import { type GuestMemory, ramRanges } from "../machine/guest-memory.ts";
import { PAGE_SIZE } from "../machine/layout.ts";

export interface PageRun {
  readonly page: number;
  readonly count: number;
}

/** Gaps of up to so many zero pages stay in a run: each run is a system call when it is restored. */
const MAX_GAP_PAGES = 7;
/** Compared at once; most of a fresh machine's RAM is zeros. */
const STEPS = [2 * 2 ** 20, 64 * 1024, PAGE_SIZE] as const;

const zeros = Buffer.alloc(STEPS[0]);

/** One byte for each page of these bytes, 0 for what is zeros for sure; undefined: look. */
export type Touched = (bytes: Uint8Array) => Uint8Array | undefined;

/** What is not zero. Looks at all of RAM that was touched, so only while nothing runs. */
export function findPages(
  memory: GuestMemory,
  touched: Touched = () => undefined,
): readonly PageRun[] {
  const runs: { page: number; count: number }[] = [];
  const add = (address: number): void => {
    const page = address / PAGE_SIZE;
    const last = runs.at(-1);
    if (last !== undefined && page - (last.page + last.count) <= MAX_GAP_PAGES)
      last.count = page + 1 - last.page;
    else runs.push({ page, count: 1 });
  };
  const look = (address: number, bytes: Uint8Array, level: number): void => {
    const step = STEPS[level];
    if (Buffer.compare(bytes, zeros.subarray(0, bytes.length)) === 0) return;
    if (step === undefined) add(address);
    else for (const [at, part] of pieces(bytes, step)) look(address + at, part, level + 1);
  };
  for (const { guestAddress, sizeBytes } of ramRanges(memory.sizeBytes))
    for (let at = 0; at < sizeBytes; at += STEPS[0]) {
      const address = guestAddress + at;
      const bytes = memory.window(address, Math.min(STEPS[0], sizeBytes - at));
      const pages = touched(bytes);
      if (pages === undefined) look(address, bytes, 1);
      else if (pages.includes(1))
        for (const [offset, part] of pieces(bytes, PAGE_SIZE))
          if (pages[offset / PAGE_SIZE] !== 0) look(address + offset, part, STEPS.length);
    }
  return runs;
}

function* pieces(bytes: Uint8Array, size: number): Generator<readonly [number, Uint8Array]> {
  for (let at = 0; at < bytes.length; at += size) yield [at, bytes.subarray(at, at + size)];
}

/** Ascending, apart and inside RAM: anything else is no list of ours. */
export function checkRuns(runs: readonly PageRun[], memorySizeBytes: number): boolean {
  const ranges = ramRanges(memorySizeBytes);
  let end = 0;
  for (const { page, count } of runs) {
    const [from, to] = [page * PAGE_SIZE, (page + count) * PAGE_SIZE];
    const isRam = ranges.some(
      ({ guestAddress, sizeBytes }) => from >= guestAddress && to <= guestAddress + sizeBytes,
    );
    if (count < 1 || page < end || !isRam) return false;
    end = page + count;
  }
  return true;
}
