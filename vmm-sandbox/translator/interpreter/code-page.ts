/** What is known of a physical page with translated code: its runs, regions, and the lines they cover. */

export type Run = {
  readonly start: number;
  readonly end: number;
  readonly firstRecord: number;
  readonly records: number;
};

export type Range = readonly [start: number, end: number];

/** Code that is compiled or about to be: the run it replaces, and the bytes it depends on. */
export type RegionCode = {
  readonly head: number;
  readonly headPage: number;
  /** By physical page. */
  readonly ranges: ReadonlyMap<number, readonly Range[]>;
};

export class CodePage {
  readonly runs: Run[] = [];
  readonly regions = new Set<RegionCode>();
  /** Record address by page offset, one table per mode. */
  readonly entries = new Map<number, Int32Array>();
  /** 64-byte lines that runs were decoded from. */
  readonly lines = new Uint8Array(64);
}

/** Mnemonics after which the run cannot go straight on. */
export const endsRun = new Set(
  "jmp jmpind call callind ret retn iret retfar jmpfar callfar syscall sysret sysenter sysexit int int3 int1 into ud hlt popf movtoseg popseg movtocr wrmsr lgdt lidt swapgs_ rdpmc".split(
    " ",
  ),
);

export type TranslateStatistics = {
  runs: number;
  instructions: number;
  flushes: number;
  invalidations: number;
  regionsDropped: number;
};

export function markRegion(page: CodePage, ranges: readonly Range[]): void {
  for (const [start, end] of ranges) page.lines.fill(1, start >> 6, ((end - 1) >> 6) + 1);
}

export function crossingKey(page: number, offset: number, mode: number): number {
  return (page * 4096 + offset) * 8 + mode;
}
