/**
 * A disk in a file, read and written synchronously: image files are in the page cache nearly
 * always, and a round trip through a thread pool costs more than the copy.
 */
import { closeSync, fdatasyncSync, fstatSync, openSync, readvSync, writevSync } from "node:fs";
import type { BlockBackend } from "./block.ts";

/** The file cannot serve as a disk. */
export class DiskError extends Error {
  override readonly name = "DiskError";
}

export class FileBackend implements BlockBackend, Disposable {
  readonly sizeBytes: number;
  readonly readOnly: boolean;
  readonly #fd: number;

  /** A path, or a descriptor that is this object's from then on. */
  constructor(file: string | number, options: { readonly readOnly: boolean }) {
    this.readOnly = options.readOnly;
    this.#fd = typeof file === "number" ? file : openSync(file, options.readOnly ? "r" : "r+");
    const stat = fstatSync(this.#fd);
    if (!stat.isFile() || stat.size % 512 !== 0) {
      closeSync(this.#fd);
      throw new DiskError(
        `Cannot use "${file}" as a disk: expected a regular file of whole 512-byte sectors`,
      );
    }
    this.sizeBytes = stat.size;
  }

  read(position: number, buffers: Uint8Array[]): void {
    for (const [at, rest] of remaining(position, buffers)) {
      const read = readvSync(this.#fd, rest, at);
      if (read === 0) throw new DiskError(`Cannot read at ${at}: the file became shorter`);
      advance(rest, read);
    }
  }

  write(position: number, buffers: Uint8Array[]): void {
    for (const [at, rest] of remaining(position, buffers))
      advance(rest, writevSync(this.#fd, rest, at));
  }

  flush(): void {
    fdatasyncSync(this.#fd);
  }

  zero(position: number, sizeBytes: number): void {
    const zeros = new Uint8Array(Math.min(sizeBytes, 2 ** 20));
    for (let at = 0; at < sizeBytes; at += zeros.length) {
      this.write(position + at, [zeros.subarray(0, Math.min(zeros.length, sizeBytes - at))]);
    }
  }

  [Symbol.dispose](): void {
    closeSync(this.#fd);
  }
}

/** Short transfers happen: yields where to go on until every buffer is done. */
function* remaining(position: number, buffers: Uint8Array[]): Generator<[number, Uint8Array[]]> {
  const rest = buffers.filter(({ length }) => length > 0);
  const total = rest.reduce((sum, { length }) => sum + length, 0);
  for (;;) {
    const left = rest.reduce((sum, { length }) => sum + length, 0);
    if (left === 0) return;
    yield [position + total - left, rest];
  }
}

function advance(buffers: Uint8Array[], count: number): void {
  let left = count;
  while (buffers[0] !== undefined && left >= buffers[0].length) {
    left -= buffers[0].length;
    buffers.shift();
  }
  if (buffers[0] !== undefined && left > 0) buffers[0] = buffers[0].subarray(left);
}
