/** Images on this machine: content store, layers, snapshots, and what users do with images. */

export { type LoadedImage, type LoadOptions, loadImages } from "./archive/load.ts";
export { planSave, type SaveItem, saveImages } from "./archive/save.ts";
export {
  type BuiltLayer,
  buildImage,
  type ImageRequest,
  layerFromArchive,
  layerFromDirectory,
  layerFromTar,
} from "./build.ts";
export { detectCompression } from "./decoder.ts";
export * from "./errors.ts";
export { unpackFlat } from "./flat.ts";
export { type ImageHistoryEntry, imageHistory, imageSizeBytes, inspectImage } from "./inspect.ts";
export { defaultLayerLimits, type LayerLimits } from "./limits.ts";
export { type PackOptions, packTree, toStream } from "./pack.ts";
export {
  type PruneOptions,
  prune,
  type Removal,
  type RemoveOptions,
  removeImage,
} from "./remove.ts";
export type { Blobs, BlobUsage } from "./store/blobs.ts";
export { chainIds } from "./store/chain.ts";
export type { Image, ImageRecord, Images, NameRecord } from "./store/images.ts";
export type { BlobWriter } from "./store/ingest.ts";
export { mountOverlay, type OverlayMount } from "./store/overlay.ts";
export type { Range } from "./store/ranges.ts";
export type * from "./store/snapshot-types.ts";
export type { Snapshots } from "./store/snapshots.ts";
export { openStore, type Store, type StoreOptions } from "./store/store.ts";
export type { JobProgress } from "./unpack/job.ts";
export { allocatedBytes, type ImageUsage, type StoreUsage, storeUsage } from "./usage.ts";
