/** Verbs on whole images and on the disk: save, load, import, export, rmi, prune, df. */
import {
  buildImage,
  layerFromArchive,
  loadImages,
  mountOverlay,
  packTree,
  prune,
  type Removal,
  removeImage,
  type StoreUsage,
  saveImages,
  storeUsage,
  toStream,
} from "../image/index.ts";
import {
  AT_FDCWD,
  Fd,
  MNT_DETACH,
  O_CLOEXEC,
  O_DIRECTORY,
  O_PATH,
  syscall,
} from "../linux/index.ts";
import {
  type ContainerConfig,
  familiarReference,
  parsePlatform,
  parseReference,
} from "../oci/index.ts";
import { readContainer } from "../runtime/index.ts";
import { isRunning } from "./containers/list.ts";
import { openPlaces, type Places } from "./places.ts";
import { discard } from "./prepare.ts";
import { sweep } from "./sweep.ts";
import { removeSnapshots } from "./vm/snapshots.ts";

export type { Removal, StoreUsage } from "../image/index.ts";

type Bytes = ReadableStream<Uint8Array>;
type Root = string | undefined;

/** A docker-archive that is an OCI layout as well. */
export function save(root: Root, names: readonly string[]): Bytes {
  return saveImages(openPlaces(root).store, names);
}

export interface Loaded {
  readonly id: string;
  /** Familiar names; none when the archive gave none. */
  readonly names: readonly string[];
}

export async function load(root: Root, archive: Bytes): Promise<Loaded[]> {
  using store = openPlaces(root).store;
  const loaded = await loadImages(store, archive);
  return loaded.map(({ image, references }) => ({
    id: image.id,
    names: references.map((text) => familiarReference(parseReference(text))),
  }));
}

export interface ImportRequest {
  readonly archive: Bytes;
  readonly config: ContainerConfig;
  readonly reference?: string | undefined;
  readonly message?: string | undefined;
  readonly platform?: string | undefined;
}

/** @returns the new image's ID */
export async function importRootfs(root: Root, request: ImportRequest): Promise<string> {
  const { archive, config, reference, message, platform } = request;
  using store = openPlaces(root).store;
  const layer = await layerFromArchive(store, archive);
  const created = new Date().toISOString();
  const image = await buildImage(store, {
    layers: [layer],
    config,
    created,
    history: [{ created, comment: message ?? "Imported from a tar archive" }],
    ...(reference !== undefined && { references: [parseReference(reference)] }),
    ...(platform !== undefined && { platform: parsePlatform(platform) }),
  });
  return image.id;
}

/** A container's whole root file system as a tar. */
export function exportContainer(root: Root, name: string): Bytes {
  const places = openPlaces(root);
  sweep(places);
  const { id } = places.containers.find(name);
  const tree = isRunning(places, id) ? runningRoot(places, id) : stoppedRoot(places, id);
  return toStream(packOpened(tree));
}

function* packOpened(directory: Fd): Generator<Uint8Array> {
  using tree = directory;
  yield* packTree(`/proc/self/fd/${tree.number}/.`);
}

const directoryFlags = O_PATH | O_DIRECTORY | O_CLOEXEC;

function runningRoot({ runRoot }: Places, id: string): Fd {
  const { pid } = readContainer(runRoot, id);
  return Fd.from("openat", AT_FDCWD, `/proc/${pid}/root/.`, directoryFlags);
}

/** Mounted, opened, and taken out of sight at once: it goes for good when the last file is closed. */
function stoppedRoot({ store }: Places, id: string): Fd {
  const { mount, merged } = store.snapshots.get(id);
  mountOverlay(mount);
  try {
    return Fd.from("openat", AT_FDCWD, merged, directoryFlags);
  } finally {
    syscall("umount2", merged, MNT_DETACH);
  }
}

export async function remove(
  root: Root,
  name: string,
  options: { readonly force: boolean },
): Promise<Removal> {
  const places = openPlaces(root);
  using store = places.store;
  sweep(places);
  return removeImage(store, name, options);
}

export interface Pruned extends Removal {
  /** IDs of the containers that had ended. */
  readonly containers: readonly string[];
  /** How many snapshots of machines went. */
  readonly snapshots: number;
}

export interface PruneRequest {
  /** Also images with names that no container uses. */
  readonly all: boolean;
  /** Also containers that have ended, and snapshots of machines. */
  readonly containers: boolean;
}

/** Removes what nothing refers to. */
export async function pruneAll(root: Root, { all, containers }: PruneRequest): Promise<Pruned> {
  const places = openPlaces(root);
  using store = places.store;
  sweep(places);
  const ended = containers
    ? places.containers.list().filter(({ id }) => !isRunning(places, id))
    : [];
  for (const record of ended) discard(places, record, undefined);
  places.containers.dropStaleNames();
  const removal = await prune(store, { all });
  const snapshots = containers ? removeSnapshots(places.snapshots) : { count: 0, sizeBytes: 0 };
  return {
    ...removal,
    reclaimedBytes: removal.reclaimedBytes + snapshots.sizeBytes,
    containers: ended.map(({ id }) => id),
    snapshots: snapshots.count,
  };
}

export interface DiskUsage extends StoreUsage {
  readonly runningContainers: number;
}

export function diskUsage(root: Root): DiskUsage {
  const places = openPlaces(root);
  using store = places.store;
  sweep(places);
  return { ...storeUsage(store), runningContainers: places.containers.running().length };
}
