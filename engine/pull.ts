/**
 * Pull: plan which blobs are missing, fetch them at the same time, and unpack each layer while it
 * arrives. Nothing is visible under its name before everything is verified and unpacked.
 *
 * ```
 * resolve ─► config ─┬► layer ─► store ─► inflate, unpack ─┐
 *                    ├► layer …                            ├─► image record ─► name
 *                    └► layer …                            ┘
 * ```
 */
import { closeSync, openSync } from "node:fs";
import type { BlobWriter, Image, LayerSource, Store } from "../image/index.ts";
import { hasErrno } from "../linux/index.ts";
import {
  choosePlatform,
  type Descriptor,
  digestHex,
  familiarReference,
  formatPlatform,
  hostPlatform,
  type ImageConfig,
  type ImageReference,
  type Platform,
  parseImageConfig,
  parsePlatform,
  parseReference,
} from "../oci/index.ts";
import type { RegistryClient, ResolvedImage } from "../registry-client/index.ts";
import { ContainerError } from "./errors.ts";
import type { OnProgress } from "./progress.ts";

export interface PullOptions {
  readonly platform?: string | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: OnProgress | undefined;
  /** False where the layers are to be kept as they are: virtual machines need no directories. */
  readonly unpack?: boolean | undefined;
}

export interface PullResult {
  readonly image: Image;
  /** Digest of what the reference names: an index, or the manifest itself. */
  readonly digest: string;
  /** Nothing had to be fetched. */
  readonly upToDate: boolean;
}

/** Layers that are fetched at once: docker's number. */
const LAYERS_AT_ONCE = 3;

export async function pullImage(
  store: Store,
  client: RegistryClient,
  text: string,
  options: PullOptions = {},
): Promise<PullResult> {
  const { signal = new AbortController().signal, onProgress = () => undefined } = options;
  const reference = parseReference(text);
  const platform =
    options.platform === undefined ? hostPlatform() : parsePlatform(options.platform);
  onProgress({ type: "status", text: `Pulling ${familiarReference(reference)}` });
  const resolved = await client.resolve(reference, { platform, signal });
  using _ = await store.lease({ signal });
  const upToDate = store.blobs.has(resolved.descriptor.digest);
  const image = await new Pull(
    store,
    client,
    reference,
    resolved,
    platform,
    signal,
    onProgress,
    options.unpack ?? true,
  ).run();
  const digest = resolved.index?.descriptor.digest ?? resolved.descriptor.digest;
  store.images.tag(image, reference);
  const { tag, ...named } = reference;
  if (tag !== undefined) store.images.tag(image, { ...named, digest });
  return { image, digest, upToDate };
}

class Pull {
  readonly #store: Store;
  readonly #client: RegistryClient;
  readonly #reference: ImageReference;
  readonly #resolved: ResolvedImage;
  readonly #platform: Platform;
  readonly #signal: AbortSignal;
  readonly #onProgress: OnProgress;
  readonly #unpacks: boolean;

  constructor(
    store: Store,
    client: RegistryClient,
    reference: ImageReference,
    resolved: ResolvedImage,
    platform: Platform,
    signal: AbortSignal,
    onProgress: OnProgress,
    unpacks: boolean,
  ) {
    this.#unpacks = unpacks;
    this.#store = store;
    this.#client = client;
    this.#reference = reference;
    this.#resolved = resolved;
    this.#platform = platform;
    this.#signal = signal;
    this.#onProgress = onProgress;
  }

  async run(): Promise<Image> {
    const { manifest, manifestBytes, descriptor, index } = this.#resolved;
    await this.#fetch(manifest.config);
    const config = parseImageConfig(this.#store.blobs.read(manifest.config.digest));
    checkPlatform(familiarReference(this.#reference), config, this.#platform);
    await this.#layers(manifest.layers, config.rootfs.diff_ids);
    const { blobs, images } = this.#store;
    if (index !== undefined) await blobs.put(index.descriptor.mediaType, index.bytes);
    // the manifest comes last: where it is, everything it names is
    await blobs.put(descriptor.mediaType, manifestBytes);
    return images.put(descriptor);
  }

  async #layers(
    layers: readonly Descriptor[],
    diffIds: readonly LayerSource["diffId"][],
  ): Promise<void> {
    const failed = new AbortController();
    const signal = AbortSignal.any([this.#signal, failed.signal]);
    const fetches = new Map<string, Download>();
    for (const layer of layers) {
      if (fetches.has(layer.digest)) continue;
      fetches.set(layer.digest, new Download(layer));
      this.#tell(layer, this.#store.blobs.has(layer.digest) ? "exists" : "waiting");
    }
    const downloads = this.#download([...fetches.values()], signal);
    downloads.catch((error: unknown) => failed.abort(error));
    let unpacked: Promise<unknown> = Promise.resolve();
    try {
      // every download must have begun or be known to be there before a layer can follow it
      await Promise.race([Promise.all([...fetches.values()].map((each) => each.begun)), downloads]);
      const sources = layers.map((descriptor, index): LayerSource => {
        const diffId = diffIds[index];
        if (diffId === undefined) {
          throw new Error(`Cannot unpack layer ${descriptor.digest}: the config has no diff ID`);
        }
        return { descriptor, diffId, follow: () => fetches.get(descriptor.digest)?.follow() };
      });
      if (this.#unpacks)
        unpacked = this.#store.snapshots.unpack(sources, {
          signal,
          onProgress: ({ digest, unpackedBytes, totalBytes }) => {
            const download = fetches.get(digest);
            if (download?.finished)
              this.#tell(download.descriptor, "unpacking", unpackedBytes, totalBytes);
          },
        });
      await Promise.all([downloads, unpacked]);
    } catch (error) {
      failed.abort(error);
      await Promise.allSettled([downloads, unpacked]);
      this.#signal.throwIfAborted();
      throw failed.signal.reason ?? error;
    } finally {
      for (const each of fetches.values()) each.close();
    }
    for (const { descriptor, existed } of fetches.values()) {
      if (!existed) this.#tell(descriptor, "done");
    }
  }

  async #download(all: readonly Download[], signal: AbortSignal): Promise<void> {
    const queue = [...all];
    const work = async (): Promise<void> => {
      for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
        signal.throwIfAborted();
        await this.#fetchLayer(next, signal);
      }
    };
    try {
      // The writers are opened first: an unpacker may follow one before its bytes come. They are
      // locks, too, so all processes take them in the same order.
      const ordered = [...all].sort((a, b) => (a.descriptor.digest < b.descriptor.digest ? -1 : 1));
      for (const each of ordered)
        each.begin(await this.#store.blobs.ingest(each.descriptor, { signal }));
      await Promise.all(Array.from({ length: LAYERS_AT_ONCE }, work));
    } finally {
      for (const each of all) each[Symbol.dispose]();
    }
  }

  async #fetchLayer(download: Download, signal: AbortSignal): Promise<void> {
    const { writer, descriptor } = download;
    if (writer === undefined) {
      this.#tell(descriptor, "exists");
      return;
    }
    let position = writer.offset;
    this.#tell(descriptor, "downloading", position, descriptor.size);
    await this.#receive(writer, signal, (bytes) => {
      position += bytes;
      this.#tell(descriptor, "downloading", position, descriptor.size);
    });
    await writer.commit();
    download.finish();
  }

  async #fetch(descriptor: Descriptor): Promise<void> {
    const writer = await this.#store.blobs.ingest(descriptor, { signal: this.#signal });
    if (writer === undefined) return;
    using _ = writer;
    await this.#receive(writer, this.#signal, () => undefined);
    await writer.commit();
  }

  async #receive(
    writer: BlobWriter,
    signal: AbortSignal,
    onBytes: (count: number) => void,
  ): Promise<void> {
    const { descriptor, offset } = writer;
    if (offset >= descriptor.size) return;
    const stream = this.#client.fetchBlob(this.#reference, descriptor, {
      signal,
      offset,
    });
    let position = offset;
    for await (const chunk of stream) {
      writer.write(position, chunk);
      position += chunk.length;
      onBytes(chunk.length);
    }
  }

  #tell(
    { digest }: Descriptor,
    phase: "waiting" | "exists" | "downloading" | "unpacking" | "done",
    currentBytes?: number,
    totalBytes?: number,
  ): void {
    this.#onProgress({
      type: "item",
      id: digestHex(digest).slice(0, 12),
      phase,
      ...(currentBytes !== undefined && { currentBytes }),
      ...(totalBytes !== undefined && { totalBytes }),
    });
  }
}

/** A manifest without an index says nowhere but in its config what machine it is for. */
function checkPlatform(name: string, config: ImageConfig, wanted: Platform): void {
  const { os, architecture, variant } = config;
  const platform = { os, architecture, ...(variant !== undefined && { variant }) };
  if (choosePlatform([{ platform }], wanted) !== undefined) return;
  throw new ContainerError(
    `Cannot use image "${name}": it is for "${formatPlatform(platform)}", ` +
      `expected "${formatPlatform(wanted)}"`,
    { hint: "choose another tag, or another --platform" },
  );
}

/** One layer on its way; a writer only when the blob was not here. */
class Download implements Disposable {
  readonly descriptor: Descriptor;
  readonly begun: Promise<void>;
  writer: BlobWriter | undefined;
  existed = false;
  finished = false;
  #announce: () => void = () => undefined;
  #reading: number | undefined;

  constructor(descriptor: Descriptor) {
    this.descriptor = descriptor;
    this.begun = new Promise((resolve) => {
      this.#announce = resolve;
    });
  }

  begin(writer: BlobWriter | undefined): void {
    this.writer = writer;
    this.existed = writer === undefined;
    this.#announce();
  }

  finish(): void {
    this.finished = true;
  }

  /** What an unpacker reads while bytes arrive; nothing when the blob is in the store. */
  follow(): ReturnType<NonNullable<LayerSource["follow"]>> {
    const { writer, finished } = this;
    if (writer === undefined || finished) return undefined;
    try {
      this.#reading ??= openSync(writer.path, "r");
    } catch (error) {
      if (hasErrno(error, "ENOENT")) return undefined; // complete, and renamed just now
      throw error;
    }
    // a name that stays when the file gets another
    return { path: `/proc/self/fd/${this.#reading}`, progress: writer.follow() };
  }

  /** When the layers are unpacked. */
  close(): void {
    if (this.#reading !== undefined) closeSync(this.#reading);
    this.#reading = undefined;
  }

  [Symbol.dispose](): void {
    this.writer?.[Symbol.dispose]();
  }
}
