/** Takes a stream apart into pieces of known length. */

export class ByteQueue {
  readonly #reader: ReadableStreamDefaultReader<Uint8Array>;
  #rest: Uint8Array = new Uint8Array(0);

  constructor(stream: ReadableStream<Uint8Array>) {
    this.#reader = stream.getReader();
  }

  /** Exactly `length` bytes; throws when the stream ends before. */
  async take(length: number): Promise<Uint8Array> {
    const target = new Uint8Array(length);
    for (let filled = 0; filled < length; ) {
      if (this.#rest.length === 0) {
        const { value, done } = await this.#reader.read();
        if (done) throw new Error(`The stream ended after ${filled} of ${length} bytes`);
        this.#rest = value;
      }
      const piece = this.#rest.subarray(0, length - filled);
      target.set(piece, filled);
      filled += piece.length;
      this.#rest = this.#rest.subarray(piece.length);
    }
    return target;
  }

  /** Everything up to the stream's end; throws when that is more than `maxBytes`. */
  async takeAll(maxBytes: number): Promise<Uint8Array> {
    const pieces = [this.#rest];
    let total = this.#rest.length;
    this.#rest = new Uint8Array(0);
    for (;;) {
      const { value, done } = await this.#reader.read();
      if (done) return Buffer.concat(pieces);
      total += value.length;
      if (total > maxBytes) throw new Error(`Expected at most ${maxBytes} bytes`);
      pieces.push(value);
    }
  }
}
