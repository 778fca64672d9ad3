/**
 * Taking images away. Names go first, then records, then whatever no record refers to any more;
 * a crash in between leaves only something for the next `prune`.
 */
import { existsSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { type Digest, formatReference, parseReference, repositoryName } from "../oci/index.ts";
import { rootImagePath } from "./erofs/root-image-path.ts";
import { InUseError } from "./errors.ts";
import type { Image } from "./store/images.ts";
import type { Store } from "./store/store.ts";
import { allocatedBytes } from "./usage.ts";

/** What happened, in docker's words. */
export interface Removal {
  /** References that are gone. */
  readonly untagged: readonly string[];
  /** Image IDs and, after them, chain IDs of layers and digests of blobs that are gone. */
  readonly deleted: readonly string[];
  readonly reclaimedBytes: number;
}

export interface RemoveOptions {
  /** Remove the image although it has several names or a container stands on it. */
  readonly force?: boolean;
  readonly signal?: AbortSignal;
}

export interface PruneOptions {
  /** Also images that have names but no container. */
  readonly all?: boolean;
  readonly signal?: AbortSignal;
  /** Keep images that came into the store after this moment, in milliseconds since 1970. */
  readonly until?: number;
}

/**
 * Removes a name, and the image when that was its last, as `docker rmi` does.
 * @throws ImageNotFoundError, InUseError
 */
export async function removeImage(
  store: Store,
  query: string,
  options: RemoveOptions = {},
): Promise<Removal> {
  using _ = await store.exclusive(options.signal ? { signal: options.signal } : {});
  const image = store.images.get(query);
  const reference = referenceOf(image, query);
  const others = image.tags.length + image.digests.length - (reference === undefined ? 0 : 1);
  if (reference !== undefined && others > 0 && hasOtherTags(image, reference)) {
    const untagged = untag(store, image, reference);
    store.writeIndex();
    return { untagged, deleted: [], reclaimedBytes: 0 };
  }
  if (reference === undefined && image.tags.length > 1 && options.force !== true)
    throw new InUseError(
      `Cannot remove image "${query}": it has ${image.tags.length} names: ${image.tags.join(", ")}`,
      { hint: "remove the names one by one, or use --force" },
    );
  const user = containerOf(store, image);
  if (user !== undefined && options.force !== true)
    throw new InUseError(`Cannot remove image "${query}": container "${user}" stands on it`, {
      hint: `remove the container first, or use --force`,
    });
  store.images.remove(image);
  store.writeIndex();
  const garbage = collectGarbage(store);
  return {
    untagged: [...image.tags, ...image.digests],
    deleted: [image.id, ...garbage.deleted],
    reclaimedBytes: garbage.reclaimedBytes,
  };
}

/** Removes images nobody uses, and all that no image and no container refers to. */
export async function prune(store: Store, options: PruneOptions = {}): Promise<Removal> {
  using _ = await store.exclusive(options.signal ? { signal: options.signal } : {});
  const untagged: string[] = [];
  const deleted: string[] = [];
  for (const image of store.images.list()) {
    const isUnused = image.tags.length === 0 || options.all === true;
    const isYoung = Date.parse(image.record.added) > (options.until ?? Number.POSITIVE_INFINITY);
    if (!isUnused || isYoung || containerOf(store, image) !== undefined) continue;
    store.images.remove(image);
    untagged.push(...image.tags, ...image.digests);
    deleted.push(image.id);
  }
  store.writeIndex();
  const leftovers = removeLeftovers(store);
  const garbage = collectGarbage(store);
  store.snapshots.settle();
  return {
    untagged,
    deleted: [...deleted, ...garbage.deleted],
    reclaimedBytes: garbage.reclaimedBytes + leftovers,
  };
}

/** Removes blobs and layers that nothing refers to. The caller holds the lock exclusively. */
function collectGarbage(store: Store): { deleted: string[]; reclaimedBytes: number } {
  const blobs = new Set<Digest>();
  const chains = store.snapshots.inUse();
  // A name with a digest may be that of an index, which is stored beside its image.
  for (const { reference } of store.images.names()) {
    const { digest } = parseReference(reference);
    if (digest !== undefined) blobs.add(digest);
  }
  for (const { record } of store.images.list()) {
    for (const { digest } of [record.manifest, record.config, ...record.layers]) blobs.add(digest);
    for (const chainId of record.chain) chains.add(chainId);
  }
  const deleted: string[] = [];
  let reclaimedBytes = 0;
  for (const { digest, allocatedBytes: bytes } of [...store.blobs.list()]) {
    if (blobs.has(digest)) continue;
    store.blobs.remove(digest);
    deleted.push(digest);
    reclaimedBytes += bytes;
  }
  for (const { chainId } of store.snapshots.layers()) {
    if (chains.has(chainId)) continue;
    reclaimedBytes += allocatedBytes(store.snapshots.layerPath(chainId));
    store.snapshots.removeLayer(chainId);
    deleted.push(chainId);
  }
  return { deleted, reclaimedBytes: reclaimedBytes + removeRootImages(store) };
}

/** Block devices that no image stands behind; a machine that runs keeps its open file. */
function removeRootImages(store: Store): number {
  const directory = join(store.root, "erofs");
  if (!existsSync(directory)) return 0;
  const before = allocatedBytes(directory);
  const kept = new Set(store.images.list().map(({ record }) => rootImagePath(store, record)));
  for (const name of readdirSync(directory)) {
    const path = join(directory, name);
    if (!kept.has(path)) rmSync(path, { force: true });
  }
  return before - allocatedBytes(directory);
}

/** What killed processes left, and locks nobody holds: nobody can hold one while we are alone. */
function removeLeftovers(store: Store): number {
  const { ingest, layers, tmp } = store.layout;
  const before = allocatedBytes(tmp) + allocatedBytes(ingest);
  store.snapshots.sweep();
  for (const name of readdirSync(ingest)) rmSync(join(ingest, name), { force: true });
  for (const name of readdirSync(layers))
    if (name.endsWith(".lock")) rmSync(join(layers, name), { force: true });
  return before - allocatedBytes(tmp) - allocatedBytes(ingest);
}

/** The reference by which `query` named the image; undefined when it was its ID. */
function referenceOf(image: Image, query: string): string | undefined {
  let wanted: string;
  try {
    wanted = formatReference(parseReference(query));
  } catch {
    return undefined;
  }
  return [...image.tags, ...image.digests].find(
    (name) => formatReference(parseReference(name)) === wanted,
  );
}

/** Digests of a repository go with its last tag, so they do not keep an image by themselves. */
function hasOtherTags(image: Image, reference: string): boolean {
  return image.tags.some((tag) => tag !== reference);
}

function untag(store: Store, image: Image, reference: string): string[] {
  const gone = [reference];
  store.images.untag(parseReference(reference));
  const repository = repositoryName(parseReference(reference));
  const left = image.tags.filter((tag) => tag !== reference);
  const sharesRepository = (name: string) => repositoryName(parseReference(name)) === repository;
  if (left.some(sharesRepository)) return gone;
  for (const digest of image.digests.filter(sharesRepository)) {
    store.images.untag(parseReference(digest));
    gone.push(digest);
  }
  return gone;
}

/** A container whose root file system is this image's. */
function containerOf(store: Store, image: Image): string | undefined {
  const top = image.record.chain.at(-1);
  return store.snapshots
    .list()
    .find((id) => store.snapshots.chainOf(id).at(-1) === top && top !== undefined);
}
