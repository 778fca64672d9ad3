/**
 * Unpacked layers, shared between images, and the writable directories of containers above them.
 *
 * A layer directory is named by its chain ID, is complete or absent, and never changes once it is
 * there. A container's directory names the layers it stands on, so what is in use is read from
 * disk and no counter can be wrong.
 */
import { mkdirSync, readdirSync, renameSync, statSync } from "node:fs";
import { join } from "node:path";
import { type Descriptor, type Digest, digestHex } from "../../oci/index.ts";
import { randomHex } from "../builtin.ts";
import { textToByteString } from "../byte-string.ts";
import { openDirectory, removeTree } from "../directory.ts";
import { InUseError, StoreError } from "../errors.ts";
import { defaultLayerLimits, type LayerLimits } from "../limits.ts";
import { JobProgress, type UnpackResult } from "../unpack/job.ts";
import { attributePolicy } from "../unpack/metadata.ts";
import { UnpackPool } from "../unpack/pool.ts";
import type { Blobs } from "./blobs.ts";
import { chainIds } from "./chain.ts";
import { isMissing, readIfExists, replaceFile } from "./files.ts";
import { completeLayer } from "./layer-fixup.ts";
import type { Layout } from "./layout.ts";
import { lock } from "./lock.ts";
import { planOverlay } from "./overlay.ts";
import { copyRootAttributes } from "./root-attributes.ts";
import { settleLayers } from "./settle.ts";
import type {
  LayerRecord,
  LayerSource,
  Snapshot,
  SnapshotOptions,
  SnapshotRights,
  UnpackImageOptions,
} from "./snapshot-types.ts";
import { isBeingMade, WorkDirectory } from "./work-directory.ts";

const CHAIN_DIGITS = 20;
const CONTAINER_ID = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$/;

interface SnapshotRecord {
  readonly chain: readonly Digest[];
}

const PROGRESS_MS = 100;

export class Snapshots implements Disposable {
  readonly #layout: Layout;
  readonly #blobs: Blobs;
  readonly #rights: SnapshotRights;
  readonly #limits: LayerLimits;
  #pool: UnpackPool | undefined;

  constructor(
    layout: Layout,
    blobs: Blobs,
    rights: SnapshotRights,
    limits: LayerLimits = defaultLayerLimits,
  ) {
    this.#layout = layout;
    this.#blobs = blobs;
    this.#rights = rights;
    this.#limits = limits;
  }

  /** Whether all layers of a chain are unpacked. */
  has(chain: readonly Digest[]): boolean {
    return chain.every((chainId) => this.#exists(chainId));
  }

  /**
   * Unpacks the layers that are missing, at the same time, on all cores. Layers are in place when
   * this returns, lowest first, so what is left after a crash is always a valid beginning.
   * @throws LayerError, LimitError, StoreError
   */
  async unpack(
    layers: readonly LayerSource[],
    options: UnpackImageOptions = {},
  ): Promise<readonly Digest[]> {
    const chain = chainIds(layers.map((layer) => layer.diffId));
    if (this.has(chain)) return chain;
    settleLayers(this.#layout, { onlyOld: true });
    this.#pool ??= new UnpackPool();
    const failed = new AbortController();
    const signal = options.signal
      ? AbortSignal.any([options.signal, failed.signal])
      : failed.signal;
    let below: Promise<void> = Promise.resolve();
    const steps = layers.map((layer, i) => {
      below = this.#unpackLayer({ layer, chain, index: i, below, signal, options });
      // The first failure stops the others; it is the one reported.
      return below.catch((error) => {
        failed.abort(error);
        throw error;
      });
    });
    const settled = await Promise.allSettled(steps);
    options.signal?.throwIfAborted();
    if (settled.some((step) => step.status === "rejected")) throw failed.signal.reason;
    return chain;
  }

  /** Writable directories above the layers of a chain. They stay until `remove`. */
  prepare(id: string, chain: readonly Digest[], options: SnapshotOptions = {}): Snapshot {
    const directory = this.#containerDirectory(id);
    const missing = chain.find((chainId) => !this.#exists(chainId));
    if (missing !== undefined)
      throw new StoreError(`Cannot prepare "${id}": layer ${missing} is not unpacked`, {
        hint: "pull the image again",
      });
    try {
      mkdirSync(directory);
    } catch (error) {
      throw new InUseError(`Cannot prepare "${id}": a container with this ID exists`, {
        cause: error,
      });
    }
    const record: SnapshotRecord = { chain };
    // Nothing of a container is flushed: after a power cut its process is gone anyway.
    const path = join(directory, "snapshot.json");
    replaceFile(this.#layout.tmp, path, JSON.stringify(record), { flush: false });
    for (const name of ["upper", "work", "merged"]) mkdirSync(join(directory, name));
    const top = chain.at(-1);
    if (top !== undefined)
      copyRootAttributes(this.layerPath(top), join(directory, "upper"), this.#rights);
    return this.#describe(id, chain, options);
  }

  /** What `prepare` returned for this container. */
  get(id: string, options: SnapshotOptions = {}): Snapshot {
    const { chain } = this.#readRecord(id);
    return this.#describe(id, chain, options);
  }

  list(): string[] {
    return readdirSync(this.#layout.containers).filter((id) => CONTAINER_ID.test(id));
  }

  /** Removes a container's directories; whatever was mounted there must be gone. */
  remove(id: string): void {
    this.#containerDirectory(id);
    using containers = openDirectory(this.#layout.containers);
    removeTree(containers, textToByteString(id));
  }

  /** Layers that a container stands on, lowest first. */
  chainOf(id: string): readonly Digest[] {
    return this.#readRecord(id).chain;
  }

  /** All layers that containers stand on. */
  inUse(): Set<Digest> {
    return new Set(this.list().flatMap((id) => this.chainOf(id)));
  }

  /** Directory with the layer's files. */
  layerPath(chainId: Digest): string {
    return join(this.#layerDirectory(chainId), "fs");
  }

  layer(chainId: Digest): LayerRecord | undefined {
    const bytes = readIfExists(join(this.#layerDirectory(chainId), "layer.json"));
    // SAFE: our own file, written whole or not at all
    return bytes === undefined ? undefined : (JSON.parse(bytes.toString("utf8")) as LayerRecord);
  }

  layers(): LayerRecord[] {
    return readdirSync(this.#layout.layers).flatMap((name) => {
      const bytes = readIfExists(join(this.#layout.layers, name, "layer.json"));
      // SAFE: as above
      return bytes === undefined ? [] : [JSON.parse(bytes.toString("utf8")) as LayerRecord];
    });
  }

  /** Removes an unpacked layer; the caller holds the store's lock exclusively. */
  removeLayer(chainId: Digest): void {
    // Out of sight first: a half-removed layer must not be taken for a whole one.
    const gone = `gone-${randomHex(6)}`;
    try {
      renameSync(this.#layerDirectory(chainId), join(this.#layout.tmp, gone));
    } catch (error) {
      if (isMissing(error)) return;
      throw error;
    }
    using tmp = openDirectory(this.#layout.tmp);
    removeTree(tmp, textToByteString(gone));
  }

  /** Flushes the disk and marks all layers as safe from a power failure; at quiet times. */
  settle(): void {
    settleLayers(this.#layout);
  }

  /** Removes what processes that are gone left half made. */
  sweep(): void {
    using tmp = openDirectory(this.#layout.tmp);
    for (const name of readdirSync(this.#layout.tmp)) {
      const path = join(this.#layout.tmp, name);
      if (isBeingMade(path)) continue;
      removeTree(tmp, textToByteString(name));
    }
  }

  [Symbol.dispose](): void {
    this.#pool?.[Symbol.dispose]();
    this.#pool = undefined;
  }

  async #unpackLayer(step: {
    readonly layer: LayerSource;
    readonly chain: readonly Digest[];
    readonly index: number;
    readonly below: Promise<void>;
    readonly signal: AbortSignal;
    readonly options: UnpackImageOptions;
  }): Promise<void> {
    const { layer, chain, index, below, signal } = step;
    const chainId = chain[index];
    if (chainId === undefined || this.#exists(chainId)) return below;
    // Another process may be at the same layer: whoever has the lock does it, the other waits.
    const held = await lock(`${this.#layerDirectory(chainId)}.lock`, "exclusive", {
      signal,
      until: () => this.#exists(chainId),
    });
    using _ = held;
    if (held === undefined || this.#exists(chainId)) return below;
    using work = new WorkDirectory(this.#layout);
    const result = await this.#runJob(layer, work.path, step);
    await below;
    const lower = chain.slice(0, index).map((id) => this.layerPath(id));
    const { chown, userXattr } = this.#rights;
    completeLayer(join(work.path, "fs"), lower.reverse(), result, {
      ...attributePolicy({ chown, userXattr }, () => {}),
      defaultOwner: undefined,
    });
    this.#commit(work, layer, chain, index, result);
  }

  async #runJob(
    layer: LayerSource,
    directory: string,
    { signal, options }: { readonly signal: AbortSignal; readonly options: UnpackImageOptions },
  ): Promise<UnpackResult> {
    const { descriptor, diffId } = layer;
    const source = layer.follow?.() ?? this.#stored(descriptor);
    mkdirSync(join(directory, "fs"), { mode: 0o755 });
    const { onProgress } = options;
    const report = () =>
      onProgress?.({
        digest: descriptor.digest,
        unpackedBytes: source.progress.consumed,
        totalBytes: descriptor.size,
      });
    const timer = onProgress && setInterval(report, PROGRESS_MS);
    try {
      const job = {
        blobPath: source.path,
        finalPath: this.#blobs.path(descriptor.digest),
        blobBytes: descriptor.size,
        mediaType: descriptor.mediaType,
        diffId,
        directory: join(directory, "fs"),
        form: "overlay",
        ...this.#rights,
        limits: this.#limits,
        shared: source.progress.shared,
      } as const;
      const pool = this.#pool ?? new UnpackPool();
      const result = await pool.run(job, { signal });
      report();
      return result;
    } finally {
      clearInterval(timer);
    }
  }

  #stored(descriptor: Descriptor): { readonly path: string; readonly progress: JobProgress } {
    if (!this.#blobs.has(descriptor.digest))
      throw new StoreError(`Cannot unpack layer ${descriptor.digest}: it is not in the store`, {
        hint: "pull the image again",
      });
    const progress = new JobProgress();
    progress.complete(descriptor.size);
    return { path: this.#blobs.path(descriptor.digest), progress };
  }

  #commit(
    work: WorkDirectory,
    layer: LayerSource,
    chain: readonly Digest[],
    index: number,
    { entries, expandedBytes, warnings }: UnpackResult,
  ): void {
    const chainId = chain[index];
    if (chainId === undefined) return;
    const parent = chain[index - 1];
    const { diffId } = layer;
    const record: LayerRecord = { chainId, diffId, parent, entries, expandedBytes, warnings };
    const path = join(work.path, "layer.json");
    replaceFile(this.#layout.tmp, path, JSON.stringify(record), { flush: false });
    work.moveTo(this.#layerDirectory(chainId));
  }

  #describe(id: string, chain: readonly Digest[], options: SnapshotOptions): Snapshot {
    const directory = this.#containerDirectory(id);
    const lower = chain.map((chainId) => this.layerPath(chainId)).reverse();
    const names = chain.map((chainId) => `${shortName(chainId)}/fs`).reverse();
    const mount = planOverlay({
      layersDirectory: this.#layout.layers,
      lower: names,
      container: `../containers/${id}`,
      target: join(directory, "merged"),
      userXattr: this.#rights.userXattr,
      volatile: options.volatile ?? false,
    });
    const [upper, work, merged] = ["upper", "work", "merged"].map((name) => join(directory, name));
    // SAFE: three names in, three out
    return { id, directory, upper, work, merged, lower, mount } as Snapshot;
  }

  #exists(chainId: Digest): boolean {
    try {
      return statSync(this.layerPath(chainId)).isDirectory();
    } catch (error) {
      if (isMissing(error)) return false;
      throw error;
    }
  }

  #layerDirectory(chainId: Digest): string {
    return join(this.#layout.layers, shortName(chainId));
  }

  #containerDirectory(id: string): string {
    if (CONTAINER_ID.test(id)) return join(this.#layout.containers, id);
    throw new StoreError(
      `Cannot use "${id}" as a container's ID: expected letters, digits and _.-`,
    );
  }

  #readRecord(id: string): SnapshotRecord {
    const path = join(this.#containerDirectory(id), "snapshot.json");
    const bytes = readIfExists(path);
    // Made, but killed before its record was written: it stands on nothing.
    if (bytes === undefined || bytes.length === 0) return { chain: [] };
    return JSON.parse(bytes.toString("utf8")) as SnapshotRecord; // SAFE: our own file
  }
}

function shortName(chainId: Digest): string {
  return digestHex(chainId).slice(0, CHAIN_DIGITS);
}
