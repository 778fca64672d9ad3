/**
 * How much disk the store takes: allocated blocks, each inode once, as du(1) counts, so that the
 * parts add up to what `du -s -x` says of the store's directory.
 */
import { type Fd, S_IFDIR, S_IFMT } from "../linux/index.ts";
import { type ByteString, textToByteString } from "./byte-string.ts";
import { listDirectory, openChildDirectory, openDirectory, statAt, statFd } from "./directory.ts";
import type { Image } from "./store/images.ts";
import type { Store } from "./store/store.ts";

const STAT_BLOCK_BYTES = 512;

/** Bytes on disk, by what they are for. */
export interface StoreUsage {
  readonly blobs: number;
  readonly layers: number;
  readonly containers: number;
  /** Snapshots of booted machines (engine/vm/snapshots.ts). */
  readonly machines: number;
  /** Unfinished downloads and unpacks. */
  readonly unfinished: number;
  /** Records, names, locks and the store's own directories. */
  readonly records: number;
  /** The sum of the others. */
  readonly total: number;
  readonly images: readonly ImageUsage[];
  readonly containersById: Readonly<Record<string, number>>;
}

export interface ImageUsage {
  readonly image: Image;
  /** Blobs and layers that this image needs. */
  readonly sizeBytes: number;
  /** Of these, what no other image needs. */
  readonly uniqueBytes: number;
  readonly sharedBytes: number;
  readonly containers: number;
}

/** What is counted by itself; everything else in the store's directory is a record. */
const folders = ["blobs", "layers", "containers", "vm-snapshots", "ingest", "tmp"];

/** Inodes that have been counted, by device and number. */
type Seen = Set<string>;

/** Allocated bytes of a tree and its own directory; 0 when it does not exist. */
export function allocatedBytes(path: string, seen: Seen = new Set()): number {
  let root: Fd;
  try {
    root = openDirectory(path);
  } catch {
    return 0;
  }
  using _ = root;
  const { dev, blocks } = statFd(root);
  return blocks * STAT_BLOCK_BYTES + sumDirectory(root, dev, seen);
}

export function storeUsage(store: Store): StoreUsage {
  const seen: Seen = new Set();
  const sizes = new Map<string, number>();
  using root = openDirectory(store.root);
  const status = statFd(root);
  let records = status.blocks * STAT_BLOCK_BYTES;
  for (const name of listDirectory(root)) {
    const size = sumEntry(root, name, status.dev, seen);
    sizes.set(name, size);
    if (!folders.includes(name)) records += size;
  }
  const [blobs = 0, layers = 0, containers = 0, machines = 0, ingest = 0, tmp = 0] = folders.map(
    (name) => sizes.get(name) ?? 0,
  );
  const unfinished = ingest + tmp;
  return {
    blobs,
    layers,
    containers,
    machines,
    unfinished,
    records,
    total: blobs + layers + containers + machines + unfinished + records,
    images: imageUsage(store),
    containersById: Object.fromEntries(
      store.snapshots.list().map((id) => [id, containerBytes(store, id)]),
    ),
  };
}

function imageUsage(store: Store): ImageUsage[] {
  const images = store.images.list();
  const sizes = new Map<string, number>();
  for (const blob of store.blobs.list()) sizes.set(blob.digest, blob.allocatedBytes);
  for (const { chainId } of store.snapshots.layers())
    sizes.set(`layer ${chainId}`, allocatedBytes(store.snapshots.layerPath(chainId)));
  const users = new Map<string, number>();
  const parts = images.map((image) => new Set(partsOf(image)));
  for (const keys of parts) for (const key of keys) users.set(key, (users.get(key) ?? 0) + 1);
  return images.map((image, i) => {
    let sizeBytes = 0;
    let uniqueBytes = 0;
    for (const key of parts[i] ?? []) {
      const size = sizes.get(key) ?? 0;
      sizeBytes += size;
      if (users.get(key) === 1) uniqueBytes += size;
    }
    const top = image.record.chain.at(-1);
    const containers = store.snapshots
      .list()
      .filter((id) => store.snapshots.chainOf(id).at(-1) === top);
    const sharedBytes = sizeBytes - uniqueBytes;
    return { image, sizeBytes, uniqueBytes, sharedBytes, containers: containers.length };
  });
}

function partsOf({ record }: Image): string[] {
  const blobs = [record.manifest, record.config, ...record.layers].map(({ digest }) => digest);
  return [...blobs, ...record.chain.map((chainId) => `layer ${chainId}`)];
}

function containerBytes(store: Store, id: string): number {
  using directory = openDirectory(store.layout.containers);
  return sumEntry(directory, textToByteString(id), statFd(directory).dev, new Set());
}

function sumEntry(directory: Fd, name: ByteString, device: number, seen: Seen): number {
  const status = statAt(directory, name);
  // Another file system is mounted there: its blocks are not the store's.
  if (status === undefined || status.dev !== device) return 0;
  if (status.links > 1 && (status.mode & S_IFMT) !== S_IFDIR) {
    const key = `${status.dev}:${status.ino}`;
    if (seen.has(key)) return 0;
    seen.add(key);
  }
  const own = status.blocks * STAT_BLOCK_BYTES;
  if ((status.mode & S_IFMT) !== S_IFDIR) return own;
  using child = openChildDirectory(directory, name);
  return child === undefined ? own : own + sumDirectory(child, device, seen);
}

function sumDirectory(directory: Fd, device: number, seen: Seen): number {
  let sum = 0;
  for (const name of listDirectory(directory)) sum += sumEntry(directory, name, device, seen);
  return sum;
}
