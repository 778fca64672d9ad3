/**
 * What the engine and a confined monitor say to each other over one socket.
 *
 * ```
 * frame   u32 size of the payload, u32 kind, u32 id (little endian), payload
 * ```
 * The id names a connection of the guest, a vsock port, or nothing. The monitor is not trusted: the
 * engine takes these frames as it would take any stranger's.
 */

// biome-ignore format: table
export const frameKinds = {
  // engine → monitor
  initrd: 1,      // bytes of the first root; several frames, in order
  start: 2,       // JSON, MonitorConfig
  listen: 3,      // id: port; the next connection to it is bridged
  unlisten: 4,    // id: port
  stop: 5,        // the machine is to stop at once
  describe: 6,    // asks for a crash report
  stats: 7,       // asks for what the CPU has counted
  // monitor → engine
  running: 16,    // the guest's first instruction is next
  failed: 17,     // JSON {name, message, hint?}: the machine could not be made
  accepted: 18,   // id: connection; payload: u32 port
  console: 19,    // bytes
  ended: 20,      // JSON, StopReason
  report: 21,     // text
  counted: 23,    // JSON, CpuReport, or null where nothing is counted
  saved: 22,      // JSON, SaveResult: the machine's snapshot is in its file, or could not be made
  // both ways, id: connection
  data: 32,
  end: 33,        // no more data from this side
  window: 34,     // payload: u32, so many bytes more may be sent
  abort: 35,      // this side's data end with an error
  cancel: 36,     // this side reads no more
} as const;

export const HEADER_BYTES = 12;
export const MAX_PAYLOAD_BYTES = 256 * 1024;

/** The other side broke the protocol. */
export class FrameError extends Error {
  override readonly name = "FrameError";
}

export function encodeFrame(kind: number, id: number, payload: Uint8Array): Uint8Array {
  const frame = new Uint8Array(HEADER_BYTES + payload.length);
  const view = new DataView(frame.buffer);
  view.setUint32(0, payload.length, true);
  view.setUint32(4, kind, true);
  view.setUint32(8, id, true);
  frame.set(payload, HEADER_BYTES);
  return frame;
}

export type OnFrame = (kind: number, id: number, payload: Uint8Array) => void;

/** Cuts a stream of bytes into frames; payloads are copies. Throws FrameError for one too long. */
export class FrameReader {
  readonly #onFrame: OnFrame;
  #rest: Uint8Array = new Uint8Array(0);

  constructor(onFrame: OnFrame) {
    this.#onFrame = onFrame;
  }

  push(bytes: Uint8Array): void {
    let left = this.#rest.length === 0 ? bytes : Buffer.concat([this.#rest, bytes]);
    while (left.length >= HEADER_BYTES) {
      const view = new DataView(left.buffer, left.byteOffset, HEADER_BYTES);
      const end = HEADER_BYTES + view.getUint32(0, true);
      if (end > HEADER_BYTES + MAX_PAYLOAD_BYTES)
        throw new FrameError(
          `Cannot take a frame of ${end} bytes: expected ${MAX_PAYLOAD_BYTES} at most`,
        );
      if (left.length < end) break;
      this.#onFrame(
        view.getUint32(4, true),
        view.getUint32(8, true),
        left.slice(HEADER_BYTES, end),
      );
      left = left.subarray(end);
    }
    this.#rest = left.slice();
  }
}

export function encodeWord(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value, true);
  return bytes;
}

export function decodeWord(payload: Uint8Array): number {
  if (payload.length !== 4) throw new FrameError(`Expected 4 bytes, got ${payload.length}`);
  return new DataView(payload.buffer, payload.byteOffset).getUint32(0, true);
}
