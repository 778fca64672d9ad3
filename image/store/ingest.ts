/**
 * A blob on its way into the store.
 *
 * Bytes may come in any order (several ranges at once) and from several runs: what has arrived
 * stays in `ingest/` when the process dies, with a list of the ranges beside it. The digest is
 * computed along the gapless prefix, and only a blob that has it is renamed into `blobs/`. An
 * unpacker can follow the prefix while it grows.
 */
import {
  closeSync,
  fdatasync,
  fstatSync,
  ftruncateSync,
  openSync,
  readSync,
  renameSync,
  rmSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { type Descriptor, digestAlgorithm, formatDigest } from "../../oci/index.ts";
import { createHash, type Hash } from "../builtin.ts";
import { DigestError, diskFull, isDiskFull, StoreError } from "../errors.ts";
import { JobProgress } from "../unpack/job.ts";
import { isMissing, readIfExists } from "./files.ts";
import { type Range, RangeSet } from "./ranges.ts";

const READ_BACK_BYTES = 1024 * 1024;
/** How much may be lost, and so downloaded again, when the process dies. */
const RECORD_BYTES = 4 * 1024 * 1024;
const MAX_STATE_BYTES = 1024 * 1024;

export interface IngestPaths {
  readonly part: string;
  readonly state: string;
  /** Where the blob goes when it is complete. */
  readonly blob: string;
}

export class BlobWriter implements Disposable {
  readonly descriptor: Descriptor;
  readonly #paths: IngestPaths;
  readonly #lock: Disposable;
  readonly #fd: number;
  readonly #ranges: RangeSet;
  readonly #hash: Hash;
  readonly #followers: JobProgress[] = [];
  #hashed = 0;
  #unrecorded = 0;
  #open = true;

  /** Takes ownership of the lock, which is held until the writer is done. */
  constructor(descriptor: Descriptor, paths: IngestPaths, lock: Disposable) {
    this.descriptor = descriptor;
    this.#paths = paths;
    this.#lock = lock;
    this.#hash = createHash(digestAlgorithm(descriptor.digest));
    try {
      this.#fd = openPart(paths.part);
      this.#ranges = readState(paths.state, descriptor.size, fstatSync(this.#fd).size);
      if (this.#ranges.total === 0) ftruncateSync(this.#fd, 0);
    } catch (error) {
      lock[Symbol.dispose]();
      throw wrap(error, "Cannot begin to store", descriptor);
    }
  }

  /** Bytes that are there from the start without a gap; a sequential download goes on here. */
  get offset(): number {
    return this.#ranges.prefix;
  }

  /** What is still to be fetched. */
  get missing(): readonly Range[] {
    return this.#ranges.missing(this.descriptor.size);
  }

  /** File that an unpacker may read as far as `follow` says; stays readable after `commit`. */
  get path(): string {
    return this.#paths.part;
  }

  /** Numbers by which another thread follows the download; complete when the blob is verified. */
  follow(): JobProgress {
    const progress = new JobProgress();
    progress.grow(this.#ranges.prefix);
    this.#followers.push(progress);
    return progress;
  }

  /** Stores bytes of the blob. @throws DigestError when they lie beyond its stated size */
  write(position: number, bytes: Uint8Array): void {
    const { size, digest } = this.descriptor;
    if (position < 0 || position + bytes.length > size)
      throw new DigestError(`Cannot store ${digest}: it is longer than the ${size} bytes stated`, {
        expected: digest,
        actual: `more than ${size} bytes`,
      });
    try {
      for (let at = 0; at < bytes.length; )
        at += writeSync(this.#fd, bytes, at, bytes.length - at, position + at);
    } catch (error) {
      throw wrap(error, "Cannot store", this.descriptor);
    }
    if (position === this.#hashed) {
      this.#hash.update(bytes);
      this.#hashed += bytes.length;
    }
    this.#ranges.add({ offset: position, length: bytes.length });
    for (const progress of this.#followers) progress.grow(this.#ranges.prefix);
    this.#unrecorded += bytes.length;
    if (this.#unrecorded >= RECORD_BYTES) this.#record();
  }

  /** Stores a whole stream from `offset` on; the stream must start there. */
  async writeFrom(stream: ReadableStream<Uint8Array>): Promise<void> {
    let position = this.offset;
    for await (const chunk of stream) {
      this.write(position, chunk);
      position += chunk.length;
    }
  }

  /** Verifies size and digest, flushes, and makes the blob visible. */
  async commit(): Promise<void> {
    const { digest, size } = this.descriptor;
    if (this.#ranges.prefix < size) {
      const there = this.#ranges.total;
      throw new StoreError(`Cannot store ${digest}: ${there} of ${size} bytes have arrived`, {
        hint: "try again: what has arrived is kept",
      });
    }
    try {
      await this.#hashRest();
      const actual = formatDigest(digestAlgorithm(digest), this.#hash.digest("hex"));
      if (actual !== digest) {
        this.discard();
        throw new DigestError(`Cannot store ${digest}: what arrived has the digest ${actual}`, {
          expected: digest,
          actual,
        });
      }
      ftruncateSync(this.#fd, size);
      await flush(this.#fd);
      renameSync(this.#paths.part, this.#paths.blob);
    } catch (error) {
      throw wrap(error, "Cannot store", this.descriptor);
    }
    rmSync(this.#paths.state, { force: true });
    for (const progress of this.#followers) progress.complete(size);
    this.#followers.length = 0;
    this.#close();
  }

  /** Gives up, but keeps what has arrived for the next attempt. */
  abort(): void {
    if (this.#open) this.#record();
    this.#close();
  }

  /** Gives up and forgets what has arrived. */
  discard(): void {
    rmSync(this.#paths.state, { force: true });
    rmSync(this.#paths.part, { force: true });
    this.#close();
  }

  [Symbol.dispose](): void {
    this.abort();
  }

  #close(): void {
    if (!this.#open) return;
    this.#open = false;
    closeSync(this.#fd);
    for (const progress of this.#followers) progress.abort();
    this.#lock[Symbol.dispose]();
  }

  /** A crash between two records only means to fetch a little twice: no flush is needed. */
  #record(): void {
    this.#unrecorded = 0;
    const aside = `${this.#paths.state}.new`;
    try {
      writeFileSync(aside, JSON.stringify(this.#ranges.ranges));
      renameSync(aside, this.#paths.state);
    } catch {
      // The list is a convenience: without it the blob is fetched anew.
      rmSync(aside, { force: true });
    }
  }

  /** What came out of order, or in an earlier run, is read back. */
  async #hashRest(): Promise<void> {
    const buffer = Buffer.allocUnsafe(READ_BACK_BYTES);
    while (this.#hashed < this.descriptor.size) {
      const wanted = Math.min(buffer.length, this.descriptor.size - this.#hashed);
      const length = readSync(this.#fd, buffer, 0, wanted, this.#hashed);
      if (length === 0) break;
      this.#hash.update(buffer.subarray(0, length));
      this.#hashed += length;
      await new Promise((resolve) => setImmediate(resolve)); // let other downloads go on
    }
  }
}

function openPart(path: string): number {
  try {
    return openSync(path, "r+");
  } catch (error) {
    if (!isMissing(error)) throw error;
    return openSync(path, "wx+", 0o600);
  }
}

/** Ranges that an earlier run recorded, as far as the file can hold them. */
function readState(path: string, blobBytes: number, fileBytes: number): RangeSet {
  const text = readIfExists(path);
  if (text === undefined || text.length > MAX_STATE_BYTES) return new RangeSet();
  const end = Math.min(blobBytes, fileBytes);
  try {
    const recorded = JSON.parse(text.toString("utf8")) as readonly Range[];
    const valid = recorded.every(
      ({ offset, length }) =>
        Number.isSafeInteger(offset) && offset >= 0 && length > 0 && offset + length <= end,
    );
    return valid ? new RangeSet(recorded) : new RangeSet();
  } catch {
    return new RangeSet();
  }
}

function wrap(error: unknown, what: string, { digest }: Descriptor): unknown {
  if (isDiskFull(error)) return diskFull(`${what} ${digest}`, error);
  if (error instanceof DigestError || error instanceof StoreError) return error;
  return new StoreError(`${what} ${digest}`, { cause: error });
}

function flush(fd: number): Promise<void> {
  return new Promise((resolve, reject) => {
    fdatasync(fd, (error) => (error ? reject(error) : resolve()));
  });
}
