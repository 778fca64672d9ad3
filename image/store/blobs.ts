/** Verified content by digest. A blob is whole or absent, and never changes. */
import {
  closeSync,
  fdatasync,
  mkdirSync,
  openSync,
  readdirSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
} from "node:fs";
import { dirname, join } from "node:path";
import {
  type Descriptor,
  type Digest,
  digestAlgorithm,
  digestHex,
  formatDigest,
  isDigest,
} from "../../oci/index.ts";
import { createHash } from "../builtin.ts";
import { DigestError, StoreError } from "../errors.ts";
import { isMissing, readIfExists } from "./files.ts";
import { BlobWriter } from "./ingest.ts";
import { blobPath, type Layout } from "./layout.ts";
import { lock } from "./lock.ts";

const STREAM_CHUNK_BYTES = 256 * 1024;

export interface BlobUsage {
  readonly digest: Digest;
  readonly sizeBytes: number;
  readonly allocatedBytes: number;
}

export class Blobs {
  readonly #layout: Layout;

  constructor(layout: Layout) {
    this.#layout = layout;
  }

  path(digest: Digest): string {
    return blobPath(this.#layout, digest);
  }

  has(digest: Digest): boolean {
    return this.sizeOf(digest) !== undefined;
  }

  /** Size in bytes; undefined when the blob is not here. */
  sizeOf(digest: Digest): number | undefined {
    try {
      return statSync(this.path(digest)).size;
    } catch (error) {
      if (isMissing(error)) return undefined;
      throw error;
    }
  }

  /** A small blob (manifest, config) in memory; verified, for the disk may be bad. */
  read(digest: Digest): Uint8Array {
    const bytes = readIfExists(this.path(digest));
    if (bytes === undefined)
      throw new StoreError(`Cannot find blob ${digest} in the store`, {
        hint: "pull the image again",
      });
    const algorithm = digestAlgorithm(digest);
    const actual = formatDigest(algorithm, createHash(algorithm).update(bytes).digest("hex"));
    if (actual !== digest)
      throw new DigestError(`Cannot use blob ${digest}: on disk it has the digest ${actual}`, {
        expected: digest,
        actual,
      });
    return bytes;
  }

  /** The blob as a stream, for pushes and archives. */
  open(digest: Digest, offset = 0): ReadableStream<Uint8Array> {
    const fd = openSync(this.path(digest), "r");
    let position = offset;
    return new ReadableStream<Uint8Array>({
      pull(controller) {
        const buffer = Buffer.allocUnsafe(STREAM_CHUNK_BYTES);
        const length = readSync(fd, buffer, 0, buffer.length, position);
        position += length;
        if (length > 0) controller.enqueue(buffer.subarray(0, length));
        else {
          closeSync(fd);
          controller.close();
        }
      },
      cancel: () => closeSync(fd),
    });
  }

  /**
   * Begins to store a blob; undefined when it is there already. When another process (or another
   * caller here) is storing the same blob, waits for it and takes over should it give up.
   */
  async ingest(
    descriptor: Descriptor,
    { signal }: { readonly signal?: AbortSignal } = {},
  ): Promise<BlobWriter | undefined> {
    const { digest } = descriptor;
    const blob = this.path(digest);
    const name = `${digestAlgorithm(digest)}-${digestHex(digest)}`;
    const part = join(this.#layout.ingest, `${name}.part`);
    const state = join(this.#layout.ingest, `${name}.state`);
    const isThere = () => this.has(digest);
    if (isThere()) {
      rmSync(state, { force: true }); // a process killed behind its last rename leaves it
      return undefined;
    }
    mkdirSync(dirname(part), { recursive: true });
    // Keeps prune out until the blob is there.
    const lease = await lock(this.#layout.lock, "shared", { signal });
    const path = join(this.#layout.ingest, `${name}.lock`);
    const own = await lock(path, "exclusive", { signal, until: isThere }).catch((error) => {
      lease?.[Symbol.dispose]();
      throw error;
    });
    const held = both(own, lease);
    if (own === undefined || isThere()) {
      held[Symbol.dispose]();
      return undefined;
    }
    return new BlobWriter(descriptor, { part, state, blob }, held);
  }

  /** Stores bytes that are in memory, and returns their descriptor. */
  async put(mediaType: string, bytes: Uint8Array): Promise<Descriptor> {
    const digest = formatDigest("sha256", createHash("sha256").update(bytes).digest("hex"));
    const descriptor = { mediaType, digest, size: bytes.length };
    const writer = await this.ingest(descriptor);
    if (writer === undefined) return descriptor;
    using _ = writer;
    writer.write(0, bytes);
    await writer.commit();
    return descriptor;
  }

  /** Takes a file of the store's own `tmp` over as a blob whose digest the caller has computed. */
  async adopt(path: string, digest: Digest): Promise<void> {
    using _ = await lock(this.#layout.lock, "shared");
    const file = openSync(path, "r+");
    try {
      await new Promise<void>((resolve, reject) => {
        fdatasync(file, (error) => (error ? reject(error) : resolve()));
      });
    } finally {
      closeSync(file);
    }
    renameSync(path, this.path(digest));
  }

  *list(): Generator<BlobUsage> {
    for (const algorithm of ["sha256", "sha512"] as const) {
      const directory = join(this.#layout.blobs, algorithm);
      for (const name of readdirSync(directory)) {
        const digest = `${algorithm}:${name}`;
        if (!isDigest(digest)) continue;
        const { size, blocks } = statSync(join(directory, name));
        yield { digest, sizeBytes: size, allocatedBytes: blocks * 512 };
      }
    }
  }

  /** The caller holds the store's lock exclusively. */
  remove(digest: Digest): void {
    rmSync(this.path(digest), { force: true });
  }
}

function both(...locks: readonly (Disposable | undefined)[]): Disposable {
  return {
    [Symbol.dispose]() {
      for (const one of locks) one?.[Symbol.dispose]();
    },
  };
}
