/**
 * One layer from blob to directory in a single pass: read, decompress, hash, split into entries,
 * write. Synchronous, 256 KiB at a time; a blob that is still being downloaded is followed.
 */
import { closeSync, openSync, readSync } from "node:fs";
import { AT_FDCWD, Fd, O_CLOEXEC, O_DIRECTORY, O_PATH } from "../../linux/index.ts";
import { layerCompression } from "../../oci/index.ts";
import { createHash } from "../builtin.ts";
import { type Decoder, detectCompression, openDecoder } from "../decoder.ts";
import { LayerError, LimitError } from "../errors.ts";
import { expansionLimit } from "../limits.ts";
import { TarReader } from "../tar/reader.ts";
import { LayerApplier } from "./apply.ts";
import { JobProgress, type UnpackJob, type UnpackResult } from "./job.ts";

const CHUNK_BYTES = 256 * 1024;

/** @throws LayerError, LimitError, StoreError; AbortError when the job was aborted */
export async function unpackLayer(job: UnpackJob): Promise<UnpackResult> {
  const progress = new JobProgress(job.shared);
  using root = Fd.from("openat", AT_FDCWD, job.directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
  using applier = new LayerApplier(root, job);
  const source = new BlobSource(job, progress);
  try {
    const limits = { ...job.limits, maxExpandedBytes: expansionLimit(job.blobBytes, job.limits) };
    const reader = new TarReader(applier, limits);
    const hash = createHash(job.diffId?.startsWith("sha512:") ? "sha512" : "sha256");
    let expandedBytes = 0;
    const take = (chunk: Uint8Array) => {
      expandedBytes += chunk.length;
      if (expandedBytes > limits.maxExpandedBytes) throw tooLarge(limits.maxExpandedBytes);
      hash.update(chunk);
      reader.push(chunk);
    };
    const first = source.next();
    const compression = detectCompression(first);
    using decoder = await openDecoder(compression, take);
    pump(source, first, decoder);
    reader.finish();
    const diffId = verifyDiffId(hash.digest("hex"), job.diffId);
    const stated = layerCompression(job.mediaType);
    const mislabelled = stated !== undefined && stated !== compression;
    const warning = `its media type says compression "${stated}", its bytes "${compression}"`;
    const { warnings, ...applied } = applier.finish();
    return {
      diffId,
      expandedBytes,
      ...applied,
      warnings: mislabelled ? [warning, ...warnings] : warnings,
    };
  } catch (error) {
    throw nameRatio(error, job);
  } finally {
    source.close();
  }
}

/** Says which of the two limits on the expanded size it was. */
function nameRatio(error: unknown, { blobBytes, limits }: UnpackJob): unknown {
  if (!(error instanceof LimitError) || error.limit !== "maxExpandedBytes") return error;
  if (expansionLimit(blobBytes, limits) === limits.maxExpandedBytes) return error;
  return new LimitError(
    `${error.message}, more than ${limits.maxExpansionRatio} times its ${blobBytes} compressed bytes`,
    "maxExpansionRatio",
  );
}

function pump(source: BlobSource, first: Uint8Array, decoder: Decoder): void {
  for (let chunk = first; chunk.length > 0; chunk = source.next()) decoder.push(chunk);
  decoder.finish();
}

function verifyDiffId(hex: string, wanted: string | undefined): string {
  const algorithm = wanted?.startsWith("sha512:") ? "sha512" : "sha256";
  const diffId = `${algorithm}:${hex}`;
  if (wanted === undefined || diffId === wanted) return diffId;
  throw new LayerError(
    `Cannot use the layer: its content has the diff ID ${diffId}, the image's config says ${wanted}`,
  );
}

function tooLarge(limitBytes: number): LimitError {
  return new LimitError(
    `Cannot unpack the layer: it expands to more than ${limitBytes} bytes`,
    "maxExpandedBytes",
  );
}

/** The blob, chunk by chunk; waits while the file grows. */
class BlobSource {
  readonly #fd: number;
  readonly #job: UnpackJob;
  readonly #progress: JobProgress;
  readonly #buffer = Buffer.allocUnsafe(CHUNK_BYTES);
  #position = 0;

  constructor(job: UnpackJob, progress: JobProgress) {
    this.#job = job;
    this.#progress = progress;
    this.#fd = openBlob(job);
  }

  /** Valid until the next call; empty at the end. */
  next(): Uint8Array {
    const { blobBytes } = this.#job;
    this.#progress.consumed = this.#position;
    this.#progress.waitBeyond(this.#position);
    if (this.#progress.isAborted)
      throw new DOMException("The unpacking of a layer was aborted", "AbortError");
    const end = Math.min(blobBytes, this.#progress.available);
    const wanted = Math.min(CHUNK_BYTES, end - this.#position);
    if (wanted <= 0) return this.#buffer.subarray(0, 0);
    const length = readSync(this.#fd, this.#buffer, 0, wanted, this.#position);
    if (length === 0)
      throw new LayerError(
        `Cannot read the layer: its file ends at byte ${this.#position}, expected ${blobBytes}`,
      );
    this.#position += length;
    return this.#buffer.subarray(0, length);
  }

  close(): void {
    closeSync(this.#fd);
  }
}

function openBlob({ blobPath, finalPath }: UnpackJob): number {
  try {
    return openSync(blobPath, "r");
  } catch (error) {
    const isMoved = error instanceof Error && "code" in error && error.code === "ENOENT";
    if (!isMoved || finalPath === undefined) throw error;
    return openSync(finalPath, "r");
  }
}
