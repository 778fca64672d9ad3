/** Writes a log where JavaScript has the streams: those of a machine. */
import { closeSync, openSync, renameSync, writeSync } from "node:fs";
import { encodeLogFrame, LOG_LIMIT_BYTES, MAX_FRAME_BYTES } from "./log-frames.ts";

export class LogWriter implements Disposable {
  readonly #path: string;
  #fd: number;
  #sizeBytes = 0;

  constructor(path: string) {
    this.#path = path;
    this.#fd = open(path);
  }

  write(stream: 1 | 2, bytes: Uint8Array): void {
    for (let at = 0; at < bytes.length; at += MAX_FRAME_BYTES) {
      const frame = encodeLogFrame(stream, bytes.subarray(at, at + MAX_FRAME_BYTES), Date.now());
      try {
        this.#sizeBytes += writeSync(this.#fd, frame);
      } catch {
        // A full disk is no reason to end the container.
      }
      if (this.#sizeBytes > LOG_LIMIT_BYTES) this.#turn();
    }
  }

  [Symbol.dispose](): void {
    closeSync(this.#fd);
  }

  #turn(): void {
    renameSync(this.#path, `${this.#path}.1`);
    closeSync(this.#fd);
    this.#fd = open(this.#path);
    this.#sizeBytes = 0;
  }
}

function open(path: string): number {
  return openSync(path, "a", 0o600);
}
