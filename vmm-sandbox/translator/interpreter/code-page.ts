/** What is known of a physical page with translated code: its runs, regions, and the lines they cover. */

export type Run = {
  readonly start: number;
  readonly end: number;
  readonly firstRecord: number;
  readonly records: number;
};

/** Compiled code that depends on bytes of a page. */
type LinkedRegion = {
  readonly head: number;
  readonly ranges: readonly (readonly [start: number, end: number])[];
};

export class CodePage {
  readonly runs: Run[] = [];
  readonly regions: LinkedRegion[] = [];
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

export function markRegion(
  page: CodePage,
  ranges: readonly (readonly [start: number, end: number])[],
): void {
  for (const [start, end] of ranges) page.lines.fill(1, start >> 6, ((end - 1) >> 6) + 1);
}

export function crossingKey(page: number, offset: number, mode: number): number {
  return (page * 4096 + offset) * 8 + mode;
}
