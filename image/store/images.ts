/**
 * Images and their names.
 *
 * An image is a manifest; its ID is the digest of its config, as docker shows it. A record caches
 * what every start needs, so that resolving a name reads two small files and no blob. Names point
 * to manifests: full references with a tag, or with the digest that a registry gave.
 */
import { readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import {
  type Descriptor,
  type Digest,
  digestHex,
  familiarReference,
  formatReference,
  type ImageConfig,
  type ImageManifest,
  type ImageReference,
  isDigest,
  parseImageConfig,
  parseManifest,
  parseReference,
} from "../../oci/index.ts";
import { createHash } from "../builtin.ts";
import { ImageNotFoundError, StoreError } from "../errors.ts";
import type { Blobs } from "./blobs.ts";
import { chainIds } from "./chain.ts";
import { readIfExists, replaceFile } from "./files.ts";
import type { Layout } from "./layout.ts";

const ID_DIGITS = 64;
const FORMAT = 1;

export interface ImageRecord {
  readonly format: typeof FORMAT;
  readonly manifest: Descriptor;
  readonly config: Descriptor;
  readonly layers: readonly Descriptor[];
  readonly diffIds: readonly Digest[];
  /** Chain IDs of the layers, lowest first; the last names the whole root file system. */
  readonly chain: readonly Digest[];
  readonly platform: string;
  readonly created: string | undefined;
  /** When it came into this store, ISO 8601. */
  readonly added: string;
}

export interface NameRecord {
  /** Complete form: `docker.io/library/busybox:latest`, or with `@sha256:…`. */
  readonly reference: string;
  readonly manifest: Digest;
  readonly config: Digest;
}

export interface Image {
  /** Digest of the config: docker's image ID. */
  readonly id: Digest;
  readonly record: ImageRecord;
  /** Familiar references with tags, such as `busybox:latest`. */
  readonly tags: readonly string[];
  /** Familiar references with digests. */
  readonly digests: readonly string[];
}

export class Images {
  readonly #layout: Layout;
  readonly #blobs: Blobs;
  /** Names or records were changed through this object, so `index.json` is out of date. */
  hasChanged = false;

  constructor(layout: Layout, blobs: Blobs) {
    this.#layout = layout;
    this.#blobs = blobs;
  }

  /**
   * Records an image whose manifest, config and layers are all stored.
   * @throws StoreError when a blob is missing, SpecError when manifest and config disagree
   */
  put(manifest: Descriptor): Image {
    const parsed = this.manifest(manifest.digest, manifest.mediaType);
    const config = parseImageConfig(this.#blobs.read(parsed.config.digest));
    const diffIds = config.rootfs.diff_ids;
    if (diffIds.length !== parsed.layers.length)
      throw new StoreError(
        `Cannot use image ${manifest.digest}: its manifest has ${parsed.layers.length} layers, ` +
          `its config ${diffIds.length}`,
      );
    for (const layer of parsed.layers)
      if (this.#blobs.sizeOf(layer.digest) !== layer.size)
        throw new StoreError(
          `Cannot record image ${manifest.digest}: layer ${layer.digest} is missing`,
        );
    const { mediaType, digest, size } = manifest;
    const record: ImageRecord = {
      format: FORMAT,
      manifest: { mediaType, digest, size },
      config: parsed.config,
      layers: parsed.layers,
      diffIds,
      chain: chainIds(diffIds),
      platform: platformOf(config),
      created: config.created,
      added: new Date().toISOString(),
    };
    const path = this.#recordPath(record.config.digest, digest);
    replaceFile(this.#layout.tmp, path, JSON.stringify(record));
    this.hasChanged = true;
    return { id: record.config.digest, record, tags: [], digests: [] };
  }

  /** Gives an image a name, taking it from another image if need be. */
  tag(image: Image, reference: ImageReference): void {
    // A reference with both names the image by its digest; docker keeps no tag then.
    const named = reference.digest === undefined ? reference : withoutTag(reference);
    const full = formatReference(named);
    const { manifest, config } = image.record;
    const name: NameRecord = { reference: full, manifest: manifest.digest, config: config.digest };
    replaceFile(this.#layout.tmp, this.#namePath(full), JSON.stringify(name));
    this.hasChanged = true;
  }

  /** Takes a name away; false when there is none such. */
  untag(reference: ImageReference): boolean {
    const path = this.#namePath(formatReference(reference));
    if (readIfExists(path) === undefined) return false;
    rmSync(path, { force: true });
    this.hasChanged = true;
    return true;
  }

  /**
   * Finds an image by name, digest, ID or the start of an ID, in this order.
   * @throws ImageNotFoundError when none or several answer to it
   */
  get(query: string): Image {
    const image = this.find(query);
    if (image !== undefined) return image;
    throw new ImageNotFoundError(`Cannot find image "${query}" in the store`, {
      hint: "pull it first, or list what is there with images",
    });
  }

  find(query: string): Image | undefined {
    const name = this.#readName(query);
    const record =
      name === undefined
        ? this.#findById(query)
        : this.#readRecord(this.#recordPath(name.config, name.manifest));
    if (record === undefined) return undefined;
    return this.#withNames(record, this.names());
  }

  /** The record behind a full reference, without looking for other names: two file reads. */
  resolve(reference: ImageReference): ImageRecord | undefined {
    const named = reference.digest === undefined ? reference : withoutTag(reference);
    const name = this.#parseName(readIfExists(this.#namePath(formatReference(named))));
    if (name === undefined) return undefined;
    return this.#readRecord(this.#recordPath(name.config, name.manifest));
  }

  /** All images, newest first. */
  list(): Image[] {
    const names = this.names();
    const images = readdirSync(this.#layout.images)
      .filter((file) => file.endsWith(".json"))
      .flatMap((file) => this.#readRecord(join(this.#layout.images, file)) ?? [])
      .map((record) => this.#withNames(record, names));
    return images.sort((a, b) => newestFirst(a.record, b.record));
  }

  names(): NameRecord[] {
    return readdirSync(this.#layout.names)
      .filter((file) => file.endsWith(".json"))
      .flatMap((file) => this.#parseName(readIfExists(join(this.#layout.names, file))) ?? []);
  }

  config(record: ImageRecord): ImageConfig {
    return parseImageConfig(this.#blobs.read(record.config.digest));
  }

  manifest(digest: Digest, mediaType?: string): ImageManifest {
    const manifest = parseManifest(this.#blobs.read(digest), mediaType);
    if (manifest.kind === "image") return manifest;
    throw new StoreError(`Cannot use ${digest} as an image: it is an index of several`, {
      hint: "choose the manifest of one platform",
    });
  }

  /** Removes the record and all its names; blobs and layers are left to the caller. */
  remove(image: Image): void {
    const { config, manifest } = image.record;
    for (const name of this.names())
      if (name.manifest === manifest.digest)
        rmSync(this.#namePath(name.reference), { force: true });
    rmSync(this.#recordPath(config.digest, manifest.digest), { force: true });
    this.hasChanged = true;
  }

  #readName(query: string): NameRecord | undefined {
    let reference: ImageReference;
    try {
      reference = parseReference(query);
    } catch {
      return undefined; // an ID, perhaps
    }
    const named = reference.digest === undefined ? reference : withoutTag(reference);
    return this.#parseName(readIfExists(this.#namePath(formatReference(named))));
  }

  #findById(query: string): ImageRecord | undefined {
    const hex = query.replace(/^sha(256|512):/, "");
    if (!/^[0-9a-f]{1,128}$/.test(hex)) return undefined;
    const files = readdirSync(this.#layout.images).filter((file) => file.endsWith(".json"));
    const start = hex.slice(0, ID_DIGITS);
    // By ID first; a manifest's digest must be complete.
    const byId = files.filter((file) => file.startsWith(start));
    const found = byId.length > 0 ? byId : files.filter((file) => file.includes(`.${hex}.`));
    const ids = new Set(found.map((file) => file.slice(0, ID_DIGITS)));
    if (ids.size > 1)
      throw new ImageNotFoundError(`Cannot choose an image: ${ids.size} have IDs with "${query}"`, {
        hint: "give more digits of the ID",
      });
    const [file] = found;
    return file === undefined ? undefined : this.#readRecord(join(this.#layout.images, file));
  }

  #withNames(record: ImageRecord, names: readonly NameRecord[]): Image {
    const own = names
      .filter((name) => name.manifest === record.manifest.digest)
      .map((name) => parseReference(name.reference));
    const shown = (digest: boolean) =>
      own
        .filter((reference) => (reference.digest !== undefined) === digest)
        .map(familiarReference)
        .sort();
    return { id: record.config.digest, record, tags: shown(false), digests: shown(true) };
  }

  #readRecord(path: string): ImageRecord | undefined {
    const bytes = readIfExists(path);
    if (bytes === undefined) return undefined;
    const record = parseJson<ImageRecord>(bytes);
    if (record?.format === FORMAT && isDigest(record.config.digest)) return record;
    throw new StoreError(`Cannot read image record "${path}": it is damaged`, {
      hint: "remove the file and pull the image again",
    });
  }

  #parseName(bytes: Buffer | undefined): NameRecord | undefined {
    const name = bytes === undefined ? undefined : parseJson<NameRecord>(bytes);
    const valid = name !== undefined && isDigest(name.manifest) && isDigest(name.config);
    return valid ? name : undefined;
  }

  #recordPath(config: Digest, manifest: Digest): string {
    const id = digestHex(config).slice(0, ID_DIGITS);
    return join(this.#layout.images, `${id}.${digestHex(manifest).slice(0, 128)}.json`);
  }

  #namePath(reference: string): string {
    const hash = createHash("sha256").update(reference).digest("hex");
    return join(this.#layout.names, `${hash}.json`);
  }
}

function withoutTag({ domain, repository, digest }: ImageReference): ImageReference {
  return { domain, repository, ...(digest === undefined ? {} : { digest }) };
}

function platformOf(config: ImageConfig): string {
  const { os, architecture, variant } = config;
  return [os, architecture, variant].filter((part) => part !== undefined && part !== "").join("/");
}

function newestFirst(a: ImageRecord, b: ImageRecord): number {
  return (b.created ?? b.added).localeCompare(a.created ?? a.added);
}

function parseJson<T>(bytes: Buffer): T | undefined {
  try {
    return JSON.parse(bytes.toString("utf8")) as T; // SAFE: our own file; callers check fields
  } catch {
    return undefined;
  }
}
