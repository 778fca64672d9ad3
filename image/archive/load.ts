/**
 * Images out of an archive: OCI image layouts and both forms of `docker save`, the old one with a
 * directory per layer included. What each blob is called in the archive is never believed: its
 * digest is computed, and the diff IDs are checked when layers are unpacked.
 */
import { closeSync, openSync } from "node:fs";
import {
  choosePlatform,
  type Descriptor,
  type Digest,
  digestAlgorithm,
  digestHex,
  hostPlatform,
  type ImageManifest,
  json,
  mediaTypes,
  type Platform,
  parseImageConfig,
  parseManifest,
  parseReference,
} from "../../oci/index.ts";
import { inspectLayer, layerTypes } from "../build.ts";
import { LayerError } from "../errors.ts";
import type { Image } from "../store/images.ts";
import type { Store } from "../store/store.ts";
import { WorkDirectory } from "../store/work-directory.ts";
import { type ExtractedArchive, type ExtractedFile, extractArchive } from "./extract.ts";

const MAX_JSON_BYTES = 8 * 1024 * 1024;
const MAX_ITEMS = 4096;
const MAX_INDEX_DEPTH = 4;

export interface LoadedImage {
  readonly image: Image;
  /** Complete references that the archive gave it. */
  readonly references: readonly string[];
}

export interface LoadOptions {
  /** Which image of an index to take; the host's by default. */
  readonly platform?: Platform;
  /** Name for an image that the archive gives none, as `podman load IMAGE` has it. */
  readonly reference?: string;
}

interface Found {
  readonly manifest: Descriptor;
  readonly references: readonly string[];
}

/** Stores the archive's images and names. @throws LayerError, LimitError, SpecError, StoreError */
export async function loadImages(
  store: Store,
  stream: ReadableStream<Uint8Array>,
  options: LoadOptions = {},
): Promise<LoadedImage[]> {
  using _ = await store.lease();
  using work = new WorkDirectory(store.layout);
  const { limits } = store;
  const archive = await extractArchive(stream, work.path, {
    ...limits,
    maxTrailerBytes: limits.maxExpandedBytes,
  });
  const found =
    archive.get("manifest.json") === undefined
      ? await loadLayout(store, archive, options)
      : await loadDocker(store, archive);
  if (found.length === 0) throw new LayerError("Cannot load the archive: it holds no image");
  const loaded = found.map(({ manifest, references }) => {
    const image = store.images.put(manifest);
    const { reference } = options;
    const names = references.length > 0 || reference === undefined ? references : [reference];
    for (const name of names) store.images.tag(image, parseReference(name));
    return { image: store.images.get(image.id), references: names };
  });
  store.writeIndex();
  return loaded;
}

interface DockerItem {
  readonly Config: string;
  readonly RepoTags?: readonly string[];
  /** null for an image FROM scratch. */
  readonly Layers?: readonly string[];
}

const dockerItems = json.array(
  json.object<DockerItem>({
    Config: json.required(json.string),
    RepoTags: json.optional(json.array(json.string, MAX_ITEMS)),
    Layers: json.optional(json.array(json.string, MAX_ITEMS)),
  }),
  MAX_ITEMS,
);

/** `manifest.json` of `docker save`. */
async function loadDocker(store: Store, archive: ExtractedArchive): Promise<Found[]> {
  const text = archive.read("manifest.json", MAX_JSON_BYTES);
  const items = json.readJson(text, "manifest.json", dockerItems, {
    maxBytes: MAX_JSON_BYTES,
    maxDepth: 16,
  });
  const original = originalManifests(archive);
  const found: Found[] = [];
  for (const item of items) {
    const configBytes = archive.read(item.Config, MAX_JSON_BYTES);
    const config = archive.get(item.Config);
    if (config === undefined) continue;
    const layers = (item.Layers ?? []).map((path) => fileOf(archive, path));
    const manifest = original.get(config.digest);
    const references = item.RepoTags ?? [];
    // The archive's own manifest keeps the image's digest; an old archive has none.
    const descriptor =
      manifest !== undefined && hasLayers(archive, manifest.parsed)
        ? await adoptManifest(store, archive, manifest.descriptor, manifest.parsed)
        : await makeManifest(store, configBytes, config, layers);
    found.push({ manifest: descriptor, references });
  }
  return found;
}

/** Manifests of the OCI layout that newer archives hold as well, by their config's digest. */
function originalManifests(archive: ExtractedArchive) {
  const manifests = new Map<Digest, { descriptor: Descriptor; parsed: ImageManifest }>();
  if (archive.get("index.json") === undefined) return manifests;
  const index = parseManifest(archive.read("index.json", MAX_JSON_BYTES), mediaTypes.ociIndex);
  for (const descriptor of index.kind === "index" ? index.manifests : []) {
    if (archive.get(blobName(descriptor.digest)) === undefined) continue;
    const parsed = parseManifest(
      archive.read(blobName(descriptor.digest), MAX_JSON_BYTES),
      descriptor.mediaType,
    );
    if (parsed.kind === "image") manifests.set(parsed.config.digest, { descriptor, parsed });
  }
  return manifests;
}

/** `index.json` of an OCI image layout. */
async function loadLayout(
  store: Store,
  archive: ExtractedArchive,
  options: LoadOptions,
): Promise<Found[]> {
  if (archive.get("index.json") === undefined)
    throw new LayerError(
      'Cannot load the archive: it has neither "manifest.json" nor "index.json", expected what ' +
        '"docker save" or an OCI image layout holds',
    );
  const bytes = archive.read("index.json", MAX_JSON_BYTES);
  const index = parseManifest(bytes, mediaTypes.ociIndex);
  const found: Found[] = [];
  for (const descriptor of index.kind === "index" ? index.manifests : []) {
    const chosen = chooseManifest(archive, descriptor, options.platform ?? hostPlatform());
    if (chosen === undefined) continue;
    const manifest = await adoptManifest(store, archive, chosen.descriptor, chosen.parsed);
    found.push({ manifest, references: namesOf(descriptor) });
  }
  return found;
}

function chooseManifest(
  archive: ExtractedArchive,
  descriptor: Descriptor,
  platform: Platform,
  depth = 0,
): { descriptor: Descriptor; parsed: ImageManifest } | undefined {
  const file = archive.get(blobName(descriptor.digest));
  if (file === undefined || depth > MAX_INDEX_DEPTH) return undefined;
  const parsed = parseManifest(
    archive.read(blobName(descriptor.digest), MAX_JSON_BYTES),
    descriptor.mediaType,
  );
  if (parsed.kind === "image") return { descriptor, parsed };
  // `docker save` of one platform leaves the others' manifests out but named.
  const present = parsed.manifests.filter((entry) => archive.get(blobName(entry.digest)));
  const entry = choosePlatform(present, platform);
  return entry && chooseManifest(archive, entry, platform, depth + 1);
}

/** containerd writes the whole reference, others only a tag or something of their own. */
function namesOf({ annotations = {} }: Descriptor): string[] {
  const full = annotations["io.containerd.image.name"];
  const short = annotations["org.opencontainers.image.ref.name"];
  if (full !== undefined) return [full];
  // A lone tag names no repository.
  return short !== undefined && /[/:]/.test(short) ? [short] : [];
}

function hasLayers(archive: ExtractedArchive, manifest: ImageManifest): boolean {
  return manifest.layers.every((layer) => archive.get(blobName(layer.digest)) !== undefined);
}

async function adoptManifest(
  store: Store,
  archive: ExtractedArchive,
  descriptor: Descriptor,
  manifest: ImageManifest,
): Promise<Descriptor> {
  for (const blob of [...manifest.layers, manifest.config, descriptor])
    await adoptBlob(store, fileOf(archive, blobName(blob.digest)), blob);
  return descriptor;
}

async function makeManifest(
  store: Store,
  configBytes: Buffer,
  configFile: ExtractedFile,
  layerFiles: readonly ExtractedFile[],
): Promise<Descriptor> {
  const { rootfs } = parseImageConfig(configBytes);
  const layers: Descriptor[] = [];
  for (const [i, file] of layerFiles.entries()) {
    const descriptor = await describeLayer(store, file, rootfs.diff_ids[i]);
    await adoptBlob(store, file, descriptor);
    layers.push(descriptor);
  }
  const { digest, sizeBytes: size } = configFile;
  const config = { mediaType: mediaTypes.ociConfig, digest, size };
  await adoptBlob(store, configFile, config);
  const manifest = { schemaVersion: 2, mediaType: mediaTypes.ociManifest, config, layers };
  return store.blobs.put(mediaTypes.ociManifest, Buffer.from(JSON.stringify(manifest)));
}

async function describeLayer(
  store: Store,
  file: ExtractedFile,
  diffId: Digest | undefined,
): Promise<Descriptor> {
  const { digest, sizeBytes: size } = file;
  // An uncompressed layer is its own diff ID, and then it has been verified already.
  if (digest === diffId) return { mediaType: mediaTypes.ociLayer, digest, size };
  // The same file may have become a blob already, as another image's layer.
  const fd = openSync(store.blobs.has(digest) ? store.blobs.path(digest) : file.path, "r");
  try {
    const layer = await inspectLayer(fd, size, store);
    if (layer.diffId !== diffId)
      throw new LayerError(
        `Cannot load the archive: a layer has the diff ID ${layer.diffId}, its config says ${diffId}`,
      );
    return { mediaType: layerTypes[layer.compression], digest, size };
  } finally {
    closeSync(fd);
  }
}

async function adoptBlob(store: Store, file: ExtractedFile, wanted: Descriptor): Promise<void> {
  if (store.blobs.has(wanted.digest)) return;
  if (digestAlgorithm(wanted.digest) === "sha256" && file.digest !== wanted.digest)
    throw new LayerError(
      `Cannot load the archive: blob ${wanted.digest} has the digest ${file.digest}`,
    );
  if (digestAlgorithm(wanted.digest) === "sha256") {
    await store.blobs.adopt(file.path, wanted.digest);
    return;
  }
  // Another algorithm: the ordinary way verifies it.
  using writer = await store.blobs.ingest(wanted);
  if (writer === undefined) return;
  const { createReadStream } = await import("node:fs");
  for await (const chunk of createReadStream(file.path)) writer.write(writer.offset, chunk);
  await writer.commit();
}

function fileOf(archive: ExtractedArchive, path: string): ExtractedFile {
  const file = archive.get(path);
  if (file !== undefined) return file;
  throw new LayerError(`Cannot load the archive: it lacks the file "${path}"`);
}

function blobName(digest: Digest): string {
  return `blobs/${digestAlgorithm(digest)}/${digestHex(digest)}`;
}
