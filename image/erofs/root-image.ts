/**
 * The root file system of an image as one EROFS file, made from the layers in the content store and
 * kept: `erofs/CHAIN.erofs`, CHAIN the first digits of the chain ID. No layer is unpacked.
 */
import { closeSync, existsSync, mkdirSync, openSync, readSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { Descriptor, Digest } from "../../oci/index.ts";
import { createHash, randomHex } from "../builtin.ts";
import { detectCompression, openDecoder } from "../decoder.ts";
import { diskFull, isDiskFull, LayerError, LimitError } from "../errors.ts";
import { expansionLimit, type LayerLimits } from "../limits.ts";
import type { ImageRecord } from "../store/images.ts";
import { lock } from "../store/lock.ts";
import type { Store } from "../store/store.ts";
import { TarReader } from "../tar/reader.ts";
import { ErofsBuilder } from "./builder.ts";
import { bufferedImageFile } from "./image-file.ts";
import { rootImagePath } from "./root-image-path.ts";

const CHUNK_BYTES = 256 * 1024;

export interface RootImageOptions {
  readonly signal?: AbortSignal | undefined;
  /** Called only when the file must be made. */
  readonly onBuild?: (() => void) | undefined;
}

/** Where the image's file is; made when it is missing. @throws LayerError, LimitError, StoreError */
export async function rootImage(
  store: Store,
  record: ImageRecord,
  { signal, onBuild }: RootImageOptions = {},
): Promise<string> {
  const path = rootImagePath(store, record);
  if (existsSync(path)) return path;
  mkdirSync(join(store.root, "erofs"), { recursive: true, mode: 0o700 });
  const isThere = () => existsSync(path);
  using held = await lock(`${path}.lock`, "exclusive", { signal, until: isThere });
  if (held === undefined || isThere()) return path;
  onBuild?.();
  const aside = join(store.layout.tmp, `erofs-${process.pid}-${randomHex(6)}`);
  try {
    await build(store, record, aside, signal);
    renameSync(aside, path);
  } catch (error) {
    rmSync(aside, { force: true });
    throw isDiskFull(error) ? diskFull(`Cannot write "${path}"`, error) : error;
  }
  return path;
}

async function build(
  store: Store,
  record: ImageRecord,
  path: string,
  signal: AbortSignal | undefined,
): Promise<void> {
  const fd = openSync(path, "wx", 0o600);
  try {
    const builder = new ErofsBuilder(bufferedImageFile(fd));
    for (let index = record.layers.length - 1; index >= 0; index--) {
      const [layer, diffId] = [record.layers[index], record.diffIds[index]];
      if (layer === undefined || diffId === undefined)
        throw new LayerError(`Cannot use layer ${index} of the image: its config has no diff ID`);
      builder.beginLayer();
      await readLayer(store, builder, layer, diffId, signal);
    }
    builder.finish(record.chain.at(-1) ?? "empty");
  } finally {
    closeSync(fd);
  }
}

async function readLayer(
  store: Store,
  builder: ErofsBuilder,
  layer: Descriptor,
  diffId: Digest,
  signal: AbortSignal | undefined,
): Promise<void> {
  const limits = layerLimits(layer.size, store.limits);
  const reader = new TarReader(builder, limits);
  const algorithm = diffId.startsWith("sha512:") ? "sha512" : "sha256";
  const hash = createHash(algorithm);
  let expandedBytes = 0;
  const take = (chunk: Uint8Array) => {
    expandedBytes += chunk.length;
    if (expandedBytes > limits.maxExpandedBytes)
      throw new LimitError(
        `Cannot read layer ${layer.digest}: it expands to more than ${limits.maxExpandedBytes} bytes`,
        "maxExpandedBytes",
      );
    hash.update(chunk);
    reader.push(chunk);
  };
  await decode(store.blobs.path(layer.digest), take, signal);
  reader.finish();
  const actual = `${algorithm}:${hash.digest("hex")}`;
  if (actual !== diffId)
    throw new LayerError(
      `Cannot use layer ${layer.digest}: its content has the diff ID ${actual}, the image's config says ${diffId}`,
    );
}

function layerLimits(blobBytes: number, limits: LayerLimits): LayerLimits {
  return { ...limits, maxExpandedBytes: expansionLimit(blobBytes, limits) };
}

async function decode(
  path: string,
  take: (chunk: Uint8Array) => void,
  signal: AbortSignal | undefined,
): Promise<void> {
  const fd = openSync(path, "r");
  try {
    const buffer = Buffer.allocUnsafe(CHUNK_BYTES);
    let length = readSync(fd, buffer);
    using decoder = await openDecoder(detectCompression(buffer.subarray(0, length)), take);
    for (; length > 0; length = readSync(fd, buffer)) {
      decoder.push(buffer.subarray(0, length));
      signal?.throwIfAborted();
      await new Promise<void>((resolve) => setImmediate(resolve)); // signals and progress
    }
    decoder.finish();
  } finally {
    closeSync(fd);
  }
}
