/** zstd in TypeScript, for Node 20 whose zlib has none. */
import { Decompress } from "fzstd";
import type { Decoder, Output } from "./decoder.ts";
import { LayerError } from "./errors.ts";

export class FzstdDecoder implements Decoder {
  readonly #stream: Decompress;

  constructor(output: Output) {
    this.#stream = new Decompress((chunk) => {
      if (chunk.length > 0) output(chunk);
    });
  }

  push(input: Uint8Array): void {
    this.#attempt(() => this.#stream.push(input, false));
  }

  finish(): void {
    this.#attempt(() => this.#stream.push(new Uint8Array(0), true));
  }

  [Symbol.dispose](): void {}

  #attempt(step: () => void): void {
    try {
      step();
    } catch (error) {
      if (error instanceof LayerError) throw error;
      throw new LayerError(`Cannot decompress zstd: ${(error as Error).message}`);
    }
  }
}
