/**
 * The file of a machine's snapshot. Numbers are little endian.
 *
 * ```
 * 0      8   "MWSNAP\r\n"
 * 8      4   version
 * 12     4   number of runs
 * 16     8   size of the machine's RAM in bytes
 * 24     8   pages in all
 * 32     4   bytes of the state
 * 36     4   bytes of translated code
 * 64     32  key: which machine this is (engine/vm/snapshot-key.ts)
 * 96     32  SHA-256 of runs and state
 * 128    32  SHA-256 of bytes 0 to 127
 * 4096       the pages of all runs, one after the other: aligned, so that they can be mapped
 *            what the backend made of code, if anything: translator/saved-code.ts
 *            runs: {first page u32, number of pages u32} each
 *            state: JSON (plain-data.ts)
 * ```
 * The header is written last: a file that was cut short has none. What digests do not cover is the
 * pages and the code: a snapshot is of this boot of the host (its key says which), private to its owner, and never
 * written once it has a name.
 */
import { createHash, timingSafeEqual } from "node:crypto";
import { PAGE_SIZE } from "../machine/layout.ts";
import { checkRuns, type PageRun } from "./pages.ts";

/** Not a snapshot, not a whole one, or not of this machine. */
export class SnapshotError extends Error {
  override readonly name = "SnapshotError";
}

export interface SnapshotLayout {
  /** 32 bytes. */
  readonly key: Uint8Array;
  readonly memorySizeBytes: number;
  readonly runs: readonly PageRun[];
  readonly codeBytes: number;
  readonly state: Uint8Array;
}

export const HEADER_BYTES = 4096;
export const PAGES_OFFSET = HEADER_BYTES;
const MAGIC = Buffer.from("MWSNAP\r\n");
/** Of this file and of all state in it: raise it when a device's or a CPU's saved state changes. */
const VERSION = 1;
const KEY_BYTES = 32;
const RUN_BYTES = 8;
const MAX_RUNS = 2 ** 20;
const MAX_STATE_BYTES = 2 ** 22;
const MAX_CODE_BYTES = 2 ** 26;
const [KEY_AT, TRAILER_DIGEST_AT, HEADER_DIGEST_AT] = [64, 96, 128];

/** What stands around the pages: the header, and what follows them. */
export function encodeSnapshot(layout: SnapshotLayout): {
  readonly header: Uint8Array;
  readonly trailer: Uint8Array;
  readonly codeOffset: number;
  readonly trailerOffset: number;
} {
  const { key, memorySizeBytes, runs, codeBytes, state } = layout;
  if (key.length !== KEY_BYTES) throw new RangeError(`Expected a key of ${KEY_BYTES} bytes`);
  if (runs.length > MAX_RUNS || state.length > MAX_STATE_BYTES || codeBytes > MAX_CODE_BYTES)
    throw new SnapshotError(
      `Cannot save ${runs.length} runs of pages, ${state.length} bytes of state and ${codeBytes} of code: expected ${MAX_RUNS}, ${MAX_STATE_BYTES} and ${MAX_CODE_BYTES} at most`,
    );
  const trailer = new Uint8Array(runs.length * RUN_BYTES + state.length);
  const table = new DataView(trailer.buffer);
  for (const [index, { page, count }] of runs.entries()) {
    table.setUint32(index * RUN_BYTES, page, true);
    table.setUint32(index * RUN_BYTES + 4, count, true);
  }
  trailer.set(state, runs.length * RUN_BYTES);
  const pages = countPages(runs);
  const header = new Uint8Array(HEADER_BYTES);
  const view = new DataView(header.buffer);
  header.set(MAGIC);
  view.setUint32(8, VERSION, true);
  view.setUint32(12, runs.length, true);
  view.setBigUint64(16, BigInt(memorySizeBytes), true);
  view.setBigUint64(24, BigInt(pages), true);
  view.setUint32(32, state.length, true);
  view.setUint32(36, codeBytes, true);
  header.set(key, KEY_AT);
  header.set(sha256(trailer), TRAILER_DIGEST_AT);
  header.set(sha256(header.subarray(0, HEADER_DIGEST_AT)), HEADER_DIGEST_AT);
  const codeOffset = PAGES_OFFSET + pages * PAGE_SIZE;
  return { header, trailer, codeOffset, trailerOffset: codeOffset + codeBytes };
}

export interface SnapshotHeader {
  readonly memorySizeBytes: number;
  readonly runCount: number;
  readonly stateBytes: number;
  readonly codeOffset: number;
  readonly codeBytes: number;
  readonly trailerOffset: number;
  readonly trailerBytes: number;
  readonly trailerDigest: Uint8Array;
}

/** Believes nothing of it: digests, lengths and the file's size must agree. */
export function decodeHeader(
  header: Uint8Array,
  fileBytes: number,
  expected: Pick<SnapshotLayout, "key" | "memorySizeBytes">,
): SnapshotHeader {
  if (header.length !== HEADER_BYTES || !startsWith(header, MAGIC))
    throw new SnapshotError("This is no snapshot of a machine: expected its header");
  const digest = header.subarray(HEADER_DIGEST_AT, HEADER_DIGEST_AT + 32);
  if (!same(digest, sha256(header.subarray(0, HEADER_DIGEST_AT))))
    throw new SnapshotError("The snapshot is damaged: its header has another digest");
  const view = new DataView(header.buffer, header.byteOffset, header.byteLength);
  const version = view.getUint32(8, true);
  if (version !== VERSION)
    throw new SnapshotError(`The snapshot has version ${version}: expected ${VERSION}`);
  if (!same(header.subarray(KEY_AT, KEY_AT + KEY_BYTES), expected.key))
    throw new SnapshotError("The snapshot is another machine's: it has another key");
  const memorySizeBytes = Number(view.getBigUint64(16, true));
  if (memorySizeBytes !== expected.memorySizeBytes)
    throw new SnapshotError(
      `The snapshot has ${memorySizeBytes} bytes of RAM: expected ${expected.memorySizeBytes}`,
    );
  const [runCount, stateBytes] = [view.getUint32(12, true), view.getUint32(32, true)];
  const pages = Number(view.getBigUint64(24, true));
  const codeOffset = PAGES_OFFSET + pages * PAGE_SIZE;
  const codeBytes = view.getUint32(36, true);
  const trailerOffset = codeOffset + codeBytes;
  const trailerBytes = runCount * RUN_BYTES + stateBytes;
  if (
    runCount > MAX_RUNS ||
    stateBytes > MAX_STATE_BYTES ||
    codeBytes > MAX_CODE_BYTES ||
    pages * PAGE_SIZE > memorySizeBytes ||
    trailerOffset + trailerBytes !== fileBytes
  )
    throw new SnapshotError(`The snapshot is damaged: ${fileBytes} bytes are not its size`);
  const trailerDigest = header.slice(TRAILER_DIGEST_AT, TRAILER_DIGEST_AT + 32);
  return {
    memorySizeBytes,
    runCount,
    stateBytes,
    codeOffset,
    codeBytes,
    trailerOffset,
    trailerBytes,
    trailerDigest,
  };
}

export function decodeTrailer(
  trailer: Uint8Array,
  { runCount, memorySizeBytes, trailerDigest, codeOffset, trailerBytes }: SnapshotHeader,
): { readonly runs: readonly PageRun[]; readonly state: Uint8Array } {
  if (trailer.length !== trailerBytes || !same(trailerDigest, sha256(trailer)))
    throw new SnapshotError("The snapshot is damaged: its state has another digest");
  const view = new DataView(trailer.buffer, trailer.byteOffset, trailer.byteLength);
  const runs = Array.from({ length: runCount }, (_, index) => ({
    page: view.getUint32(index * RUN_BYTES, true),
    count: view.getUint32(index * RUN_BYTES + 4, true),
  }));
  const pagesEnd = PAGES_OFFSET + countPages(runs) * PAGE_SIZE;
  if (!checkRuns(runs, memorySizeBytes) || pagesEnd !== codeOffset)
    throw new SnapshotError("The snapshot is damaged: its pages are not in order, or no RAM");
  return { runs, state: trailer.subarray(runCount * RUN_BYTES) };
}

function countPages(runs: readonly PageRun[]): number {
  return runs.reduce((sum, { count }) => sum + count, 0);
}

function sha256(bytes: Uint8Array): Uint8Array {
  return createHash("sha256").update(bytes).digest();
}

function same(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && timingSafeEqual(a, b);
}

function startsWith(bytes: Uint8Array, prefix: Uint8Array): boolean {
  return same(bytes.subarray(0, prefix.length), prefix);
}
