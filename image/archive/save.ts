/**
 * Images as one tar that everybody reads: an OCI image layout (image-spec 1.1, image-layout.md)
 * with the `manifest.json` of `docker save` beside it, both pointing to the same blobs, compressed
 * as they were pulled. `docker load`, `podman load` and `skopeo` (docker-archive: and oci-archive:)
 * take it.
 */
import { closeSync, openSync, readSync } from "node:fs";
import {
  type Descriptor,
  type Digest,
  digestAlgorithm,
  digestHex,
  formatReference,
  mediaTypes,
  parseReference,
} from "../../oci/index.ts";
import { textToByteString } from "../byte-string.ts";
import { StoreError } from "../errors.ts";
import { toStream } from "../pack.ts";
import type { Image } from "../store/images.ts";
import type { Store } from "../store/store.ts";
import { encodeEntry, endOfArchive, padding } from "../tar/writer.ts";

const CHUNK_BYTES = 256 * 1024;

/** An image and the references under which it was asked for; none when it was asked for by ID. */
export interface SaveItem {
  readonly image: Image;
  readonly references: readonly string[];
}

/** Finds what `queries` name; a repository's or tag's own name is kept in the archive. */
export function planSave(store: Store, queries: readonly string[]): SaveItem[] {
  const items = new Map<string, { image: Image; references: Set<string> }>();
  for (const query of queries) {
    const image = store.images.get(query);
    const key = image.record.manifest.digest;
    const item = items.get(key) ?? { image, references: new Set<string>() };
    if (!image.id.replace(/^sha\d+:/, "").startsWith(query.replace(/^sha\d+:/, "")))
      item.references.add(formatReference(parseReference(query)));
    items.set(key, item);
  }
  return [...items.values()].map(({ image, references }) => ({
    image,
    references: [...references],
  }));
}

/** The archive as a stream. @throws ImageNotFoundError before the first byte */
export function saveImages(store: Store, queries: readonly string[]): ReadableStream<Uint8Array> {
  return toStream(packImages(store, planSave(store, queries)));
}

function* packImages(store: Store, items: readonly SaveItem[]): Generator<Uint8Array> {
  yield* packText("oci-layout", JSON.stringify({ imageLayoutVersion: "1.0.0" }));
  const written = new Set<Digest>();
  for (const { image } of items) {
    const { manifest, config, layers } = image.record;
    for (const descriptor of [...layers, config, manifest]) {
      if (written.has(descriptor.digest)) continue;
      written.add(descriptor.digest);
      yield* packBlob(store, descriptor);
    }
  }
  yield* packText("index.json", JSON.stringify(indexOf(items)));
  yield* packText("manifest.json", JSON.stringify(items.map(dockerItem)));
  yield endOfArchive.slice();
}

function indexOf(items: readonly SaveItem[]) {
  const manifests = items.flatMap(({ image, references }) => {
    const { mediaType, digest, size } = image.record.manifest;
    const entry = { mediaType, digest, size };
    if (references.length === 0) return [entry];
    return references.map((reference) => ({
      ...entry,
      annotations: {
        "io.containerd.image.name": reference,
        "org.opencontainers.image.ref.name": parseReference(reference).tag ?? reference,
      },
    }));
  });
  return { schemaVersion: 2, mediaType: mediaTypes.ociIndex, manifests };
}

/** An item of `manifest.json`; Docker Image Specification v1.2, "Combined Image JSON". */
function dockerItem({ image, references }: SaveItem) {
  const tags = references.filter((reference) => !reference.includes("@"));
  return {
    Config: blobName(image.record.config.digest),
    RepoTags: tags.length === 0 ? null : tags.map(dockerTag),
    Layers: image.record.layers.map((layer) => blobName(layer.digest)),
  };
}

/** docker writes its own hub's names short. */
function dockerTag(reference: string): string {
  return reference.replace(/^docker\.io\/(library\/)?/, "");
}

function* packBlob(store: Store, { digest, size }: Descriptor): Generator<Uint8Array> {
  const stored = store.blobs.sizeOf(digest);
  if (stored !== size)
    throw new StoreError(
      `Cannot save blob ${digest}: the store has ${stored ?? "no"} bytes of it`,
      {
        hint: "pull the image again",
      },
    );
  yield header(blobName(digest), size);
  const fd = openSync(store.blobs.path(digest), "r");
  try {
    for (let at = 0; at < size; ) {
      const chunk = Buffer.allocUnsafeSlow(Math.min(CHUNK_BYTES, size - at));
      const length = readSync(fd, chunk, 0, chunk.length, at);
      if (length === 0) throw new StoreError(`Cannot save blob ${digest}: its file is cut`);
      at += length;
      yield chunk.subarray(0, length);
    }
  } finally {
    closeSync(fd);
  }
  yield padding(size).slice();
}

function* packText(name: string, text: string): Generator<Uint8Array> {
  const bytes = Buffer.from(text);
  yield Buffer.concat([header(name, bytes.length), bytes, padding(bytes.length)]);
}

function header(name: string, sizeBytes: number): Uint8Array {
  return encodeEntry({ type: "file", path: textToByteString(name), sizeBytes });
}

function blobName(digest: Digest): string {
  return `blobs/${digestAlgorithm(digest)}/${digestHex(digest)}`;
}
