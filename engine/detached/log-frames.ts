/**
 * What a detached container has written, in the file `log` of its directory (before that, `log.1`).
 *
 * ```
 * frame   u32 stream (1 output, 2 errors)   u32 length   i64 seconds   i64 nanoseconds   bytes
 * ```
 * Little endian, one write(2) each, so that whoever reads along sees whole frames.
 */

export const FRAME_HEADER_BYTES = 24;
/** A file becomes log.1, and log.1 goes, when it has so many: what a container may fill is bounded. */
export const LOG_LIMIT_BYTES = 16 * 1024 * 1024;
/** Longest of a frame's payload; whoever reads more in one has no log before them. */
export const MAX_FRAME_BYTES = 64 * 1024;

export interface LogFrame {
  readonly stream: 1 | 2;
  readonly seconds: number;
  readonly nanoseconds: number;
  readonly bytes: Uint8Array;
}

export function encodeLogFrame(stream: 1 | 2, bytes: Uint8Array, milliseconds: number): Uint8Array {
  const frame = new Uint8Array(FRAME_HEADER_BYTES + bytes.length);
  const view = new DataView(frame.buffer);
  view.setUint32(0, stream, true);
  view.setUint32(4, bytes.length, true);
  view.setBigInt64(8, BigInt(Math.floor(milliseconds / 1000)), true);
  view.setBigInt64(16, BigInt((milliseconds % 1000) * 1_000_000), true);
  frame.set(bytes, FRAME_HEADER_BYTES);
  return frame;
}

/** The whole frames that `bytes` begin with, and how long they are. Throws RangeError. */
export function decodeLogFrames(bytes: Uint8Array): {
  readonly frames: readonly LogFrame[];
  readonly usedBytes: number;
} {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const frames: LogFrame[] = [];
  let at = 0;
  while (bytes.length - at >= FRAME_HEADER_BYTES) {
    const [stream, length] = [view.getUint32(at, true), view.getUint32(at + 4, true)];
    if ((stream !== 1 && stream !== 2) || length > MAX_FRAME_BYTES)
      throw new RangeError(`Cannot read the log: there is no frame at byte ${at}`);
    const end = at + FRAME_HEADER_BYTES + length;
    if (end > bytes.length) break;
    frames.push({
      stream,
      seconds: Number(view.getBigInt64(at + 8, true)),
      nanoseconds: Number(view.getBigInt64(at + 16, true)),
      bytes: bytes.subarray(at + FRAME_HEADER_BYTES, end),
    });
    at = end;
  }
  return { frames, usedBytes: at };
}
