/**
 * The files of an archive in a work directory, by the paths they have in it, each with its digest.
 *
 * Archives list their contents last, so all is kept until the end; blobs are then renamed into
 * the store, not copied. Files get names of ours: nothing in the archive names a path here.
 */
import { closeSync, openSync, readFileSync, statSync, writeSync } from "node:fs";
import { join, posix } from "node:path";
import { type Digest, formatDigest } from "../../oci/index.ts";
import { createHash, type Hash } from "../builtin.ts";
import { byteStringToText } from "../byte-string.ts";
import { detectCompression, openDecoder } from "../decoder.ts";
import { diskFull, isDiskFull, LayerError } from "../errors.ts";
import type { LayerLimits } from "../limits.ts";
import type { TarEntry, TarSink } from "../tar/entry.ts";
import { TarReader } from "../tar/reader.ts";

const MAX_LINKS = 32;
const BREATH_BYTES = 4 * 1024 * 1024;

export interface ExtractedFile {
  readonly path: string;
  readonly digest: Digest;
  readonly sizeBytes: number;
}

export class ExtractedArchive implements TarSink {
  readonly #directory: string;
  readonly #files = new Map<string, ExtractedFile>();
  readonly #links = new Map<string, string>();
  #name = "";
  #fd = -1;
  #hash: Hash | undefined;
  #size = 0;

  constructor(directory: string) {
    this.#directory = directory;
  }

  /** The file at a path of the archive, through the symlinks that old `docker save` made. */
  get(path: string): ExtractedFile | undefined {
    let name = posix.normalize(path);
    for (let hops = 0; hops < MAX_LINKS; hops++) {
      const target = this.#links.get(name);
      if (target === undefined) return this.#files.get(name);
      name = target;
    }
    return undefined;
  }

  /** A small file's content. @throws LayerError when it is missing or large */
  read(path: string, maxBytes: number): Buffer {
    const file = this.get(path);
    if (file === undefined)
      throw new LayerError(`Cannot load the archive: it lacks the file "${path}"`);
    if (file.sizeBytes > maxBytes)
      throw new LayerError(
        `Cannot load the archive: its file "${path}" has ${file.sizeBytes} bytes, ` +
          `expected at most ${maxBytes}`,
      );
    return readFileSync(file.path);
  }

  entry(entry: TarEntry): void {
    const name = posix.normalize(byteStringToText(entry.path));
    const target = byteStringToText(entry.linkPath);
    if (entry.type === "hardlink") this.#links.set(name, posix.normalize(target));
    if (entry.type === "symlink")
      this.#links.set(name, posix.normalize(posix.join(posix.dirname(name), target)));
    if (entry.type !== "file") return;
    this.#links.delete(name);
    this.#name = name;
    this.#hash = createHash("sha256");
    this.#size = 0;
    this.#fd = openSync(this.#pathOf(this.#files.size), "wx");
  }

  data(bytes: Uint8Array, position: number): void {
    if (position !== this.#size)
      throw new LayerError(`Cannot load the archive: its file "${this.#name}" is sparse`);
    this.#hash?.update(bytes);
    for (let at = 0; at < bytes.length; ) at += writeSync(this.#fd, bytes, at);
    this.#size += bytes.length;
  }

  end(): void {
    if (this.#hash === undefined) return;
    this.close();
    const digest = formatDigest("sha256", this.#hash.digest("hex"));
    const path = this.#pathOf(this.#files.size);
    this.#hash = undefined;
    this.#files.delete(this.#name);
    this.#files.set(this.#name, { path, digest, sizeBytes: statSync(path).size });
  }

  close(): void {
    if (this.#fd >= 0) closeSync(this.#fd);
    this.#fd = -1;
  }

  #pathOf(index: number): string {
    return join(this.#directory, String(index));
  }
}

/** Reads an archive, compressed or not, into a directory. */
export async function extractArchive(
  stream: ReadableStream<Uint8Array>,
  directory: string,
  limits: LayerLimits,
): Promise<ExtractedArchive> {
  const archive = new ExtractedArchive(directory);
  const reader = new TarReader(archive, limits);
  const pieces = stream[Symbol.asyncIterator]();
  try {
    let piece = await pieces.next();
    if (piece.done) throw new LayerError("Cannot load the archive: it is empty");
    const compression = detectCompression(piece.value);
    using decoder = await openDecoder(compression, (chunk) => reader.push(chunk));
    let sinceBreath = 0;
    for (; !piece.done; piece = await pieces.next()) {
      decoder.push(piece.value);
      sinceBreath += piece.value.length;
      if (sinceBreath < BREATH_BYTES) continue;
      sinceBreath = 0;
      await new Promise((resolve) => setImmediate(resolve));
    }
    decoder.finish();
    reader.finish();
    return archive;
  } catch (error) {
    await pieces.return?.();
    throw isDiskFull(error) ? diskFull("Cannot load the archive", error) : error;
  } finally {
    archive.close();
  }
}
