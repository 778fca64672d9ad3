/** What goes into `Snapshots` and what comes out. */
import type { Descriptor, Digest } from "../../oci/index.ts";
import type { JobProgress } from "../unpack/job.ts";
import type { OverlayMount } from "./overlay.ts";

export interface LayerRecord {
  readonly chainId: Digest;
  readonly diffId: Digest;
  readonly parent: Digest | undefined;
  readonly entries: number;
  readonly expandedBytes: number;
  readonly warnings: readonly string[];
}

/** One layer of an image on its way to disk. */
export interface LayerSource {
  readonly descriptor: Descriptor;
  readonly diffId: Digest;
  /**
   * A download to follow, called when the layer must really be unpacked. Without it, or when it
   * returns nothing, the blob is in the store.
   */
  readonly follow?: () => { readonly path: string; readonly progress: JobProgress } | undefined;
}

export interface UnpackProgress {
  readonly digest: Digest;
  /** Compressed bytes that have been unpacked. */
  readonly unpackedBytes: number;
  readonly totalBytes: number;
}

export interface UnpackImageOptions {
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: ((progress: UnpackProgress) => void) | undefined;
}

export interface Snapshot {
  readonly id: string;
  /** Directory of the container inside the store; `upper`, `work` and `merged` lie in it. */
  readonly directory: string;
  readonly upper: string;
  readonly work: string;
  /** Empty directory, meant as the mount's target. */
  readonly merged: string;
  /** Layers, uppermost first. */
  readonly lower: readonly string[];
  readonly mount: OverlayMount;
}

export interface SnapshotOptions {
  /** Do not wait for the disk, ever: for containers that are removed when they end. */
  readonly volatile?: boolean;
}

export interface SnapshotRights {
  /** Keep owners, make devices; needs root. */
  readonly chown: boolean;
  /** Overlay marks in `user.*`, for mounts inside a user namespace. */
  readonly userXattr: boolean;
}
