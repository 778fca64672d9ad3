/** What a monitor's processes hold of the machine's memory: its guest's RAM, and everything else. */
import { readFileSync } from "node:fs";
import type { Start } from "./protocol.ts";

interface Area {
  readonly start: number;
  readonly end: number;
  readonly pssKiB: number;
}

export function setsOf(pids: readonly number[], guestBytes: number): Start["memory"] {
  const areas = pids.map((pid) => parseAreas(readFileSync(`/proc/${pid}/smaps`, "latin1")));
  const whole = areas.flat().reduce((sum, { pssKiB }) => sum + pssKiB, 0);
  const guestKiB = areas
    .map((own) => guestSet(own, guestBytes))
    .find((found) => found !== undefined);
  if (guestKiB === undefined)
    throw new Error(`Cannot find the guest's RAM: expected areas of ${guestBytes} bytes together`);
  return { guestKiB, ownKiB: whole - guestKiB };
}

/** What the kernel may join with RAM: a heap of the C library beside it. */
const NEIGHBOUR_BYTES = 2 ** 20;

/** RAM may be several areas (parts of the kernel's file), one behind the other, of its size in all. */
function guestSet(areas: readonly Area[], guestBytes: number): number | undefined {
  for (const [first, { start }] of areas.entries()) {
    let set = 0;
    for (let i = first, end = start; areas[i]?.start === end && end - start < guestBytes; i++) {
      end = areas[i]?.end ?? end;
      set += areas[i]?.pssKiB ?? 0;
      const excess = end - start - guestBytes;
      if (excess >= 0 && excess < NEIGHBOUR_BYTES && set > 0) return set;
    }
  }
  return undefined;
}

/** proc_pid_smaps(5) */
function parseAreas(smaps: string): readonly Area[] {
  return [...smaps.matchAll(/^([0-9a-f]+)-([0-9a-f]+) [\s\S]*?^Pss: +(\d+) kB$/gm)].map(
    ([, start = "", end = "", pss]) => ({
      start: Number.parseInt(start, 16),
      end: Number.parseInt(end, 16),
      pssKiB: Number(pss),
    }),
  );
}
