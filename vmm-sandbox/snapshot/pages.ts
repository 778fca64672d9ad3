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

/** What is not zero. Looks at all of RAM, so only while nothing runs. */
export function findPages(memory: GuestMemory): readonly PageRun[] {
  const runs: { page: number; count: number }[] = [];
  const add = (address: number): void => {
    const page = address / PAGE_SIZE;
    const last = runs.at(-1);
    if (last !== undefined && page - (last.page + last.count) <= MAX_GAP_PAGES)
      last.count = page + 1 - last.page;
    else runs.push({ page, count: 1 });
  };
  for (const { guestAddress, sizeBytes } of ramRanges(memory.sizeBytes))
    search(memory, guestAddress, sizeBytes, 0, add);
  return runs;
}

function search(
  memory: GuestMemory,
  address: number,
  sizeBytes: number,
  level: number,
  add: (address: number) => void,
): void {
  const step = STEPS[level];
  if (step === undefined) {
    add(address);
    return;
  }
  for (let at = 0; at < sizeBytes; at += step) {
    const length = Math.min(step, sizeBytes - at);
    const bytes = memory.window(address + at, length);
    if (Buffer.compare(bytes, zeros.subarray(0, length)) === 0) continue;
    search(memory, address + at, length, level + 1, add);
  }
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
