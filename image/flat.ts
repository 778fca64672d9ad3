/** An image's layers one over the other in a plain directory: a root file system for a bundle. */
import { readdirSync } from "node:fs";
import { StoreError } from "./errors.ts";
import type { ImageRecord } from "./store/images.ts";
import { detectRights, type Store } from "./store/store.ts";
import { JobProgress, type UnpackResult } from "./unpack/job.ts";
import { UnpackPool } from "./unpack/pool.ts";

/** Unpacks into an empty directory; on failure what has been made stays for the caller to remove. */
export async function unpackFlat(
  store: Store,
  record: ImageRecord,
  directory: string,
  { signal }: { readonly signal?: AbortSignal } = {},
): Promise<readonly UnpackResult[]> {
  if (readdirSync(directory).length > 0)
    throw new StoreError(`Cannot unpack into "${directory}": expected an empty directory`);
  using _ = await store.lease();
  using pool = new UnpackPool(1);
  const results: UnpackResult[] = [];
  for (const [i, layer] of record.layers.entries()) {
    const progress = new JobProgress();
    progress.complete(layer.size);
    const job = {
      blobPath: store.blobs.path(layer.digest),
      blobBytes: layer.size,
      mediaType: layer.mediaType,
      diffId: record.diffIds[i],
      directory,
      form: "flat",
      chown: detectRights().chown,
      userXattr: false,
      limits: store.limits,
      shared: progress.shared,
    } as const;
    results.push(await pool.run(job, { signal }));
  }
  return results;
}
