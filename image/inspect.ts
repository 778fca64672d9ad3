/** What users ask about an image, in docker's words. */
import { digestHex, type HistoryEntry } from "../oci/index.ts";
import type { Image } from "./store/images.ts";
import type { Store } from "./store/store.ts";

export interface ImageHistoryEntry extends HistoryEntry {
  /** ID of the image for the newest entry; docker cannot tell the others', and neither can we. */
  readonly id: string | undefined;
  /** Bytes of the layer's files, or of its blob as long as it is not unpacked. */
  readonly sizeBytes: number;
}

/** Newest first, as `docker history` shows it. */
export function imageHistory(store: Store, image: Image): ImageHistoryEntry[] {
  const { record } = image;
  const config = store.images.config(record);
  const layers = record.layers.map((layer, i) => layerBytes(store, image, i) ?? layer.size);
  // Images may have no history at all; each layer is an entry then.
  const entries: readonly HistoryEntry[] = config.history ?? layers.map(() => ({}));
  let next = 0;
  const sized = entries.map((entry) => ({
    ...entry,
    sizeBytes: entry.empty_layer === true ? 0 : (layers[next++] ?? 0),
  }));
  return sized
    .reverse()
    .map((entry, i) => ({ ...entry, id: i === 0 ? digestHex(image.id) : undefined }));
}

/** Bytes of all layers' files, as docker's SIZE column has it. */
export function imageSizeBytes(store: Store, image: Image): number {
  return image.record.layers.reduce(
    (sum, layer, i) => sum + (layerBytes(store, image, i) ?? layer.size),
    0,
  );
}

/** The object that `docker image inspect` prints. */
export function inspectImage(store: Store, image: Image): Readonly<Record<string, unknown>> {
  const { record } = image;
  const config = store.images.config(record);
  const lower = record.chain.map((chainId) => store.snapshots.layerPath(chainId)).reverse();
  return {
    Id: image.id,
    RepoTags: image.tags,
    RepoDigests: image.digests,
    Parent: "",
    Comment: config.history?.at(-1)?.comment ?? "",
    Created: config.created ?? "",
    DockerVersion: config.docker_version ?? "",
    Author: config.author ?? "",
    Config: config.config ?? null,
    Architecture: config.architecture,
    ...(config.variant === undefined ? {} : { Variant: config.variant }),
    Os: config.os,
    Size: imageSizeBytes(store, image),
    GraphDriver: {
      Name: "overlay2",
      Data: { LowerDir: lower.slice(1).join(":"), UpperDir: lower[0] ?? "" },
    },
    RootFS: { Type: "layers", Layers: record.diffIds },
    Metadata: { LastTagTime: record.added },
    Descriptor: record.manifest,
  };
}

function layerBytes(store: Store, { record }: Image, index: number): number | undefined {
  const chainId = record.chain[index];
  return chainId === undefined ? undefined : store.snapshots.layer(chainId)?.expandedBytes;
}
