/** Reads a log: what is there, and what comes. */
import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { hasErrno } from "../../linux/index.ts";
import { decodeLogFrames, type LogFrame } from "./log-frames.ts";

const CHUNK_BYTES = 256 * 1024;

export class LogReader implements Disposable {
  readonly #path: string;
  #fd: number | undefined;
  #offset = 0;

  constructor(path: string) {
    this.#path = path;
  }

  /** All whole frames that were not read yet, those of the file before this one first. */
  *read(): Generator<LogFrame> {
    if (this.#fd === undefined) {
      const before = tryOpen(`${this.#path}.1`);
      if (before !== undefined) {
        yield* framesOf(before, 0);
        closeSync(before);
      }
      this.#fd = tryOpen(this.#path);
      if (this.#fd === undefined) return;
    }
    yield* this.#rest(this.#fd);
    const next = tryOpen(this.#path);
    if (next === undefined) return;
    if (fstatSync(next).ino === fstatSync(this.#fd).ino) {
      closeSync(next);
      return;
    }
    // It was full: what was written between our look and that comes first.
    yield* this.#rest(this.#fd);
    closeSync(this.#fd);
    this.#fd = next;
    this.#offset = 0;
    yield* this.#rest(next);
  }

  [Symbol.dispose](): void {
    if (this.#fd !== undefined) closeSync(this.#fd);
  }

  *#rest(fd: number): Generator<LogFrame> {
    this.#offset = yield* framesOf(fd, this.#offset);
  }
}

/** @returns the offset behind the last whole frame */
function* framesOf(fd: number, offset: number): Generator<LogFrame, number> {
  let at = offset;
  for (;;) {
    const chunk = Buffer.alloc(CHUNK_BYTES);
    const length = readSync(fd, chunk, 0, CHUNK_BYTES, at);
    const { frames, usedBytes } = decodeLogFrames(chunk.subarray(0, length));
    yield* frames;
    at += usedBytes;
    if (usedBytes === 0) return at;
  }
}

function tryOpen(path: string): number | undefined {
  try {
    return openSync(path, "r");
  } catch (error) {
    if (hasErrno(error, "ENOENT")) return undefined;
    throw error;
  }
}
