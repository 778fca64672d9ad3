/** From a name to an image that is here and unpacked: by name, by ID, or from the registry. */
import type { ImageRecord } from "../image/index.ts";
import {
  type ImageReference,
  parsePlatform,
  parseReference,
  SpecError,
  samePlatform,
} from "../oci/index.ts";
import { ImageNotFoundError } from "./errors.ts";
import type { PullPolicy } from "./options.ts";
import type { Places } from "./places.ts";
import type { OnProgress } from "./progress.ts";

export interface ResolveOptions {
  readonly pull?: PullPolicy | undefined;
  readonly platform?: string | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: OnProgress | undefined;
  /** False: the layers stay in the content store as they came. */
  readonly unpack?: boolean | undefined;
}

export async function resolveImage(
  places: Places,
  text: string,
  options: ResolveOptions = {},
): Promise<ImageRecord> {
  const { pull = "missing" } = options;
  if (pull !== "always") {
    const record = findLocal(places, text, options.platform);
    if (record !== undefined) {
      if (options.unpack ?? true) await unpackIfNeeded(places, record, options);
      return record;
    }
  }
  if (pull === "never") {
    throw new ImageNotFoundError(text, { hint: "pull it first, or leave out --pull never" });
  }
  parseReference(text); // an ID is not pulled: fail before the network is loaded
  const [{ pullImage }, { openRegistry }] = await Promise.all([
    import("./pull.ts"),
    import("./registry.ts"),
  ]);
  const { onProgress } = options;
  await using client = openRegistry(onProgress);
  if (pull === "missing") {
    onProgress?.({ type: "status", text: `Unable to find image '${text}' locally` });
  }
  const { image } = await pullImage(places.store, client, text, options);
  return image.record;
}

/** Two small file reads when it is a name. */
function findLocal({ store }: Places, text: string, platform?: string): ImageRecord | undefined {
  const record = byName(text, (reference) => store.images.resolve(reference));
  const found = record ?? (looksLikeId(text) ? store.images.find(text)?.record : undefined);
  if (found === undefined || platform === undefined) return found;
  return samePlatform(parsePlatform(found.platform), parsePlatform(platform)) ? found : undefined;
}

function byName<T>(text: string, find: (reference: ImageReference) => T): T | undefined {
  try {
    return find(parseReference(text));
  } catch (error) {
    if (error instanceof SpecError && looksLikeId(text)) return undefined;
    throw error;
  }
}

function looksLikeId(text: string): boolean {
  return /^(sha256:)?[0-9a-f]{1,64}$/.test(text);
}

/** Images that were loaded, or whose layers were pruned, are unpacked at their first run. */
async function unpackIfNeeded(
  { store }: Places,
  record: ImageRecord,
  { signal, onProgress }: ResolveOptions,
): Promise<void> {
  if (store.snapshots.has(record.chain)) return;
  onProgress?.({ type: "status", text: "Unpacking layers" });
  const layers = record.layers.map((descriptor, index) => {
    const diffId = record.diffIds[index];
    if (diffId === undefined) throw new Error(`Cannot unpack ${descriptor.digest}: no diff ID`);
    return { descriptor, diffId };
  });
  await store.snapshots.unpack(layers, { signal });
}
