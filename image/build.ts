/** Images made here: from a directory (`import`, quick start) or from any layers. */
import { closeSync, openSync, readSync, writeSync } from "node:fs";
import { join } from "node:path";
import {
  type ContainerConfig,
  type Descriptor,
  type Digest,
  formatDigest,
  type HistoryEntry,
  hostPlatform,
  type ImageReference,
  mediaTypes,
  type Platform,
} from "../oci/index.ts";
import { createHash, zlib } from "./builtin.ts";
import { detectCompression, openDecoder } from "./decoder.ts";
import { diskFull, isDiskFull } from "./errors.ts";
import { type PackOptions, packTree } from "./pack.ts";
import type { Image } from "./store/images.ts";
import type { Store } from "./store/store.ts";
import { WorkDirectory } from "./store/work-directory.ts";
import { TarReader } from "./tar/reader.ts";

/** A layer that is stored. */
export interface BuiltLayer {
  readonly descriptor: Descriptor;
  readonly diffId: Digest;
}

export interface ImageRequest {
  readonly layers: readonly BuiltLayer[];
  readonly config?: ContainerConfig;
  readonly platform?: Platform;
  /** ISO 8601; the present when left out. */
  readonly created?: string;
  readonly author?: string;
  readonly history?: readonly HistoryEntry[];
  /** Names to give the image. */
  readonly references?: readonly ImageReference[];
}

const MiB = 1024 * 1024;
const READ_BYTES = 256 * 1024;
const GZIP_LEVEL = 6;

/** Writes config and manifest for stored layers and records the image. */
export async function buildImage(store: Store, request: ImageRequest): Promise<Image> {
  using _ = await store.lease();
  const { os, architecture, variant } = request.platform ?? hostPlatform();
  const created = request.created ?? new Date().toISOString();
  const config = {
    created,
    ...(request.author === undefined ? {} : { author: request.author }),
    architecture,
    ...(variant === undefined ? {} : { variant }),
    os,
    config: request.config ?? {},
    rootfs: { type: "layers", diff_ids: request.layers.map((layer) => layer.diffId) },
    history: request.history ?? request.layers.map(() => ({ created, created_by: "manyworlds" })),
  };
  const manifest = {
    schemaVersion: 2,
    mediaType: mediaTypes.ociManifest,
    config: await store.blobs.put(mediaTypes.ociConfig, Buffer.from(JSON.stringify(config))),
    layers: request.layers.map((layer) => layer.descriptor),
  };
  const bytes = Buffer.from(JSON.stringify(manifest));
  const image = store.images.put(await store.blobs.put(mediaTypes.ociManifest, bytes));
  for (const reference of request.references ?? []) store.images.tag(image, reference);
  store.writeIndex();
  return store.images.get(image.id);
}

/** Stores a directory's content as a gzip layer. */
export async function layerFromDirectory(
  store: Store,
  directory: string,
  options: PackOptions = {},
): Promise<BuiltLayer> {
  return layerFromTar(store, packTree(directory, options));
}

/** Stores an uncompressed tar, given in pieces, as a gzip layer. */
export async function layerFromTar(
  store: Store,
  pieces: Iterable<Uint8Array> | AsyncIterable<Uint8Array>,
): Promise<BuiltLayer> {
  using work = new WorkDirectory(store.layout);
  const path = join(work.path, "layer");
  const diffHash = createHash("sha256");
  const blobHash = createHash("sha256");
  let size = 0;
  const fd = openSync(path, "wx");
  try {
    // The platform's gzip stream works on another thread while the tree is read here.
    const gzip = zlib().createGzip({ level: GZIP_LEVEL, chunkSize: READ_BYTES });
    const written = (async () => {
      for await (const chunk of gzip) {
        blobHash.update(chunk);
        size += chunk.length;
        writeSync(fd, chunk);
      }
    })();
    for await (const piece of pieces) {
      diffHash.update(piece);
      // When writing has failed there is no more draining: `written` tells why.
      if (!gzip.write(piece))
        await Promise.race([new Promise((resolve) => gzip.once("drain", resolve)), written]);
    }
    gzip.end();
    await written;
  } catch (error) {
    throw isDiskFull(error) ? diskFull("Cannot store the layer", error) : error;
  } finally {
    closeSync(fd);
  }
  const digest = formatDigest("sha256", blobHash.digest("hex"));
  await store.blobs.adopt(path, digest);
  const descriptor = { mediaType: mediaTypes.ociLayerGzip, digest, size };
  return { descriptor, diffId: formatDigest("sha256", diffHash.digest("hex")) };
}

/**
 * Stores a layer as it comes, compressed or not, after reading it through once.
 * @throws LayerError when it is no tar
 */
export async function layerFromArchive(
  store: Store,
  archive: ReadableStream<Uint8Array>,
): Promise<BuiltLayer> {
  using work = new WorkDirectory(store.layout);
  const path = join(work.path, "layer");
  const blobHash = createHash("sha256");
  let size = 0;
  const fd = openSync(path, "wx+");
  try {
    for await (const chunk of archive) {
      blobHash.update(chunk);
      size += chunk.length;
      writeSync(fd, chunk);
    }
    const { compression, diffId } = await inspectLayer(fd, size, store);
    const digest = formatDigest("sha256", blobHash.digest("hex"));
    await store.blobs.adopt(path, digest);
    return { descriptor: { mediaType: layerTypes[compression], digest, size }, diffId };
  } catch (error) {
    throw isDiskFull(error) ? diskFull("Cannot store the layer", error) : error;
  } finally {
    closeSync(fd);
  }
}

export const layerTypes = {
  none: mediaTypes.ociLayer,
  gzip: mediaTypes.ociLayerGzip,
  zstd: mediaTypes.ociLayerZstd,
} as const;

/** Reads a layer through: is it a tar, how is it compressed, what is its diff ID. */
export async function inspectLayer(fd: number, sizeBytes: number, store: Store) {
  const hash = createHash("sha256");
  const ignore = { entry: () => {}, data: () => {}, end: () => {} };
  const reader = new TarReader(ignore, store.limits);
  const buffer = Buffer.alloc(Math.min(READ_BYTES, Math.max(4, sizeBytes)));
  const first = readSync(fd, buffer, 0, buffer.length, 0);
  const compression = detectCompression(buffer.subarray(0, first));
  using decoder = await openDecoder(compression, (chunk) => {
    hash.update(chunk);
    reader.push(chunk);
  });
  let sinceBreath = 0;
  for (let at = 0; at < sizeBytes; ) {
    const length = readSync(fd, buffer, 0, buffer.length, at);
    if (length === 0) break;
    decoder.push(buffer.subarray(0, length));
    at += length;
    sinceBreath += length;
    if (sinceBreath < 4 * MiB) continue;
    sinceBreath = 0;
    await new Promise((resolve) => setImmediate(resolve));
  }
  decoder.finish();
  reader.finish();
  return { compression, diffId: formatDigest("sha256", hash.digest("hex")) };
}
