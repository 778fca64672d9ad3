/** The memory of another process as /proc shows it: proc(5), /proc/PID/maps and /proc/PID/pagemap. */
import { PROT_EXEC, PROT_READ, PROT_WRITE } from "../../linux/index.ts";

export const PAGE_BYTES = 4096;

export interface Mapping {
  readonly start: number;
  readonly end: number;
  /** PROT_*. */
  readonly protection: number;
  /** In the file, when there is one. */
  readonly offset: number;
  /** A path, a name in brackets, or nothing for anonymous memory. */
  readonly name: string;
}

/** Private memory only; throws SyntaxError for what is shared with others or not to be read. */
export function parseMappings(text: string): readonly Mapping[] {
  return text
    .split("\n")
    .filter((line) => line !== "")
    .map(parseMapping);
}

/** START-END rwxp OFFSET DEVICE INODE NAME */
function parseMapping(line: string): Mapping {
  const [range = "", access = "", offset = "", , , ...name] = line.split(/ +/);
  const [start = Number.NaN, end = Number.NaN] = range
    .split("-")
    .map((hex) => Number.parseInt(hex, 16));
  if (!(start < end) || access.length !== 4)
    throw new SyntaxError(`Cannot read ${JSON.stringify(line)}: expected a line of /proc/PID/maps`);
  if (access[3] !== "p") throw new SyntaxError(`Cannot freeze shared memory: "${line}"`);
  const protection =
    (access[0] === "r" ? PROT_READ : 0) |
    (access[1] === "w" ? PROT_WRITE : 0) |
    (access[2] === "x" ? PROT_EXEC : 0);
  return { start, end, protection, offset: Number.parseInt(offset, 16), name: name.join(" ") };
}

/** Bits of an entry's upper half: present or swapped out; of a file or shared. */
const inMemory = 0xc000_0000;
const ofFile = 0x2000_0000;

export interface Run {
  readonly start: number;
  readonly end: number;
}

/** Pages that are neither untouched nor still the file's, `entries` being the mapping's. */
export function ownPages(entries: Uint32Array, start: number): readonly Run[] {
  const runs: Run[] = [];
  let from = -1;
  const count = entries.length / 2;
  for (let page = 0; page <= count; page++) {
    const high = page < count ? (entries[2 * page + 1] ?? 0) : 0;
    const isOwn = (high & inMemory) !== 0 && (high & ofFile) === 0;
    if (isOwn && from < 0) from = page;
    if (isOwn || from < 0) continue;
    runs.push({ start: start + from * PAGE_BYTES, end: start + page * PAGE_BYTES });
    from = -1;
  }
  return runs;
}

/** Runs with little between them become one: a mapping costs more than the pages between. */
export function joinRuns(runs: readonly Run[], gapPages: number): readonly Run[] {
  const joined: Run[] = [];
  for (const run of runs) {
    const last = joined.at(-1);
    if (last !== undefined && run.start - last.end <= gapPages * PAGE_BYTES)
      joined[joined.length - 1] = { start: last.start, end: run.end };
    else joined.push(run);
  }
  return joined;
}
