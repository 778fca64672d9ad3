/** The store: everything about images that is on this machine. */
import { existsSync, readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { StoreError } from "../errors.ts";
import { defaultLayerLimits, type LayerLimits } from "../limits.ts";
import { Blobs } from "./blobs.ts";
import { readIfExists, replaceFile } from "./files.ts";
import { Images } from "./images.ts";
import { writeIndex } from "./index-file.ts";
import { type Layout, layoutOf, makeDirectories } from "./layout.ts";
import { lock } from "./lock.ts";
import { dropUnsettledLayers } from "./settle.ts";
import type { SnapshotRights } from "./snapshot-types.ts";
import { Snapshots } from "./snapshots.ts";

const LAYOUT_FILE = "oci-layout";
const LAYOUT_VERSION = "1.0.0";

export interface StoreOptions {
  readonly limits?: Partial<LayerLimits>;
  /** What unpacking may do; found out when left out. */
  readonly rights?: SnapshotRights;
}

export interface Store extends Disposable {
  readonly root: string;
  readonly layout: Layout;
  readonly limits: LayerLimits;
  readonly blobs: Blobs;
  readonly images: Images;
  readonly snapshots: Snapshots;
  /**
   * Brings `index.json`, which only other tools read, up to date. Happens by itself when a lease
   * ends or the store is closed after names have changed.
   */
  writeIndex(): void;
  /**
   * Keeps `prune` and `remove` of other processes away while something is being built up, such as
   * a pull between its first blob and its name. Waits while one of them runs.
   */
  lease(options?: { readonly signal?: AbortSignal }): Promise<Disposable>;
  /** For those who delete: waits until no lease is held. */
  exclusive(options?: { readonly signal?: AbortSignal }): Promise<Disposable>;
}

/** Opens a store, and makes it where there is none. */
export function openStore(root: string, options: StoreOptions = {}): Store {
  const layout = layoutOf(resolve(root));
  prepareDirectories(layout);
  dropUnsettledLayers(layout);
  const limits = { ...defaultLayerLimits, ...options.limits };
  const blobs = new Blobs(layout);
  const images = new Images(layout, blobs);
  const rights = options.rights ?? detectRights();
  const snapshots = new Snapshots(layout, blobs, rights, limits);
  const take = async (mode: "shared" | "exclusive", signal: AbortSignal | undefined) => {
    const held = await lock(layout.lock, mode, { signal });
    if (held === undefined) throw new Error("A lock without deadline was not taken");
    return held;
  };
  const refreshIndex = () => {
    try {
      if (images.hasChanged) writeIndex(layout, images);
    } catch {
      // Only other tools miss it, and the next change writes it again.
    }
  };
  const leaseOf = (held: Disposable): Disposable => ({
    [Symbol.dispose]() {
      using _ = held;
      refreshIndex();
    },
  });
  return {
    root: layout.root,
    layout,
    limits,
    blobs,
    images,
    snapshots,
    writeIndex: () => writeIndex(layout, images),
    lease: async ({ signal } = {}) => leaseOf(await take("shared", signal)),
    exclusive: ({ signal } = {}) => take("exclusive", signal),
    [Symbol.dispose]() {
      snapshots[Symbol.dispose]();
      refreshIndex();
    },
  };
}

function prepareDirectories(layout: Layout): void {
  const path = join(layout.root, LAYOUT_FILE);
  try {
    const text = readIfExists(path);
    if (text === undefined) {
      // The file comes last: where it is, the directories are.
      makeDirectories(layout);
      replaceFile(layout.tmp, path, JSON.stringify({ imageLayoutVersion: LAYOUT_VERSION }));
      return;
    }
    const version = (JSON.parse(text.toString("utf8")) as { imageLayoutVersion?: string })
      .imageLayoutVersion;
    if (version === LAYOUT_VERSION) {
      if (!existsSync(layout.tmp)) makeDirectories(layout); // a layout that another tool made
      return;
    }
    throw new StoreError(
      `Cannot use "${layout.root}" as a store: its layout version is "${version}", ` +
        `expected "${LAYOUT_VERSION}"`,
    );
  } catch (error) {
    if (error instanceof StoreError) throw error;
    throw new StoreError(`Cannot open the store "${layout.root}"`, {
      cause: error,
      hint: "give another directory with --root, or make this one writable",
    });
  }
}

/** Root outside of any user namespace may give files away and set trusted attributes. */
export function detectRights(): SnapshotRights {
  const isRoot = process.geteuid?.() === 0;
  return { chown: isRoot, userXattr: !isRoot || !isInitialUserNamespace() };
}

function isInitialUserNamespace(): boolean {
  try {
    return /^\s*0\s+0\s+4294967295\s*$/.test(readFileSync("/proc/self/uid_map", "latin1"));
  } catch {
    return true; // no user namespaces in this kernel
  }
}
