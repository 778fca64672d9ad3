/**
 * Bytes of descriptor chains: reading and writing across segments.
 *
 * `gather` makes a private copy with a limit of its own, never of a size that the guest chose.
 * `windows` is for bulk data that may change under our hands without harm.
 */
import type { GuestMemory } from "../machine/guest-memory.ts";
import type { Segment } from "./virtqueue.ts";

/** Copies up to `limit` bytes, from `skip` on. */
export function gather(
  memory: GuestMemory,
  segments: readonly Segment[],
  limit: number,
  skip = 0,
): Uint8Array {
  const total = segments.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
  const bytes = new Uint8Array(Math.max(0, Math.min(limit, total - skip)));
  let at = 0;
  for (const { address, sizeBytes } of slice(segments, skip, bytes.length)) {
    bytes.set(memory.window(address, sizeBytes), at);
    at += sizeBytes;
  }
  return bytes;
}

/** Writes `bytes` from `skip` on; returns how many fitted. */
export function scatter(
  memory: GuestMemory,
  segments: readonly Segment[],
  bytes: Uint8Array,
  skip = 0,
): number {
  let at = 0;
  for (const { address, sizeBytes } of slice(segments, skip, bytes.length)) {
    memory.window(address, sizeBytes).set(bytes.subarray(at, at + sizeBytes));
    at += sizeBytes;
  }
  return at;
}

/** Live windows on the part of the segments that starts at `skip` and has `length` bytes at most. */
export function windows(
  memory: GuestMemory,
  segments: readonly Segment[],
  skip: number,
  length: number,
): Uint8Array[] {
  return slice(segments, skip, length).map(({ address, sizeBytes }) =>
    memory.window(address, sizeBytes),
  );
}

function slice(segments: readonly Segment[], skip: number, length: number): Segment[] {
  const out: Segment[] = [];
  let toSkip = skip;
  let left = length;
  for (const { address, sizeBytes } of segments) {
    if (left <= 0) break;
    if (toSkip >= sizeBytes) {
      toSkip -= sizeBytes;
      continue;
    }
    const take = Math.min(sizeBytes - toSkip, left);
    out.push({ address: address + toSkip, sizeBytes: take });
    toSkip = 0;
    left -= take;
  }
  return out;
}
