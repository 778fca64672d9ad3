/**
 * Ranges of a blob in any order, written where they belong.
 *
 * For stores that keep a sparse partial file and fill its holes after a crash. Nothing is verified
 * here, as hashing needs order: the caller hashes the file before it trusts it.
 */
import type { Descriptor } from "../oci/index.ts";
import { MAX_CONNECTIONS, resumedSource } from "./blobs.ts";
import type { Repository } from "./repository.ts";

/** From `start` to `end`, which is excluded. */
export interface ByteRange {
  readonly start: number;
  readonly end: number;
}

export type WriteAt = (position: number, bytes: Uint8Array) => void | Promise<void>;

export interface FetchRangesOptions {
  readonly signal: AbortSignal;
  /** Default: the whole blob. */
  readonly ranges?: readonly ByteRange[];
  readonly connections?: number;
}

const DEFAULT_CONNECTIONS = 4;
const PART_BYTES = 16 * 1024 * 1024;

export async function fetchRanges(
  repository: Repository,
  descriptor: Descriptor,
  write: WriteAt,
  { signal, ranges, connections = DEFAULT_CONNECTIONS }: FetchRangesOptions,
): Promise<void> {
  const parts = (ranges ?? [{ start: 0, end: descriptor.size }])
    .flatMap(({ start, end }) => cut(checkRange(start, end, descriptor.size)))
    .values();
  const abort = new AbortController();
  const both = AbortSignal.any([signal, abort.signal]);
  const work = async (): Promise<void> => {
    for (const { start, end } of parts) {
      const source = resumedSource(repository, descriptor, start, end, both);
      let position = start;
      for (let chunk = await source.read(); chunk !== undefined; chunk = await source.read()) {
        await write(position, chunk);
        position += chunk.length;
      }
    }
  };
  const workers = Array.from({ length: Math.min(connections, MAX_CONNECTIONS) }, work);
  try {
    await Promise.all(workers);
  } catch (error) {
    abort.abort(error);
    await Promise.allSettled(workers);
    throw error;
  }
}

function checkRange(start: number, end: number, size: number): ByteRange {
  if (0 <= start && start <= end && end <= size) return { start, end };
  throw new RangeError(`Range ${start} to ${end} is not within 0 to ${size}`);
}

function cut({ start, end }: ByteRange): readonly ByteRange[] {
  return Array.from({ length: Math.ceil((end - start) / PART_BYTES) }, (_, index) => ({
    start: start + index * PART_BYTES,
    end: Math.min(end, start + (index + 1) * PART_BYTES),
  }));
}
