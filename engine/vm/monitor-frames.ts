/** Takes what comes over a machine's socket (runtime/machine/frames.ts draws it) apart into frames. */
import { FRAME_HEADER_BYTES, MAX_FRAME_BYTES } from "../../runtime/index.ts";

/** @throws RangeError for a frame that is too large */
export class FrameReader {
  readonly #onFrame: (kind: number, payload: Buffer) => void;
  #rest: Buffer = Buffer.alloc(0);

  constructor(onFrame: (kind: number, payload: Buffer) => void) {
    this.#onFrame = onFrame;
  }

  push(bytes: Uint8Array): void {
    this.#rest = this.#rest.length === 0 ? Buffer.from(bytes) : Buffer.concat([this.#rest, bytes]);
    let at = 0;
    while (this.#rest.length - at >= FRAME_HEADER_BYTES) {
      const length = this.#rest.readUInt32LE(at + 1);
      if (length > MAX_FRAME_BYTES)
        throw new RangeError(`Expected a frame of at most ${MAX_FRAME_BYTES} bytes, got ${length}`);
      const end = at + FRAME_HEADER_BYTES + length;
      if (this.#rest.length < end) break;
      this.#onFrame(this.#rest[at] ?? 0, this.#rest.subarray(at + FRAME_HEADER_BYTES, end));
      at = end;
    }
    this.#rest = this.#rest.subarray(at);
  }
}
