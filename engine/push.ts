/** Push: blobs that the registry lacks, several at once, then the manifest. */
import type { Store } from "../image/index.ts";
import { type Descriptor, digestHex, familiarReference, parseReference } from "../oci/index.ts";
import type { RegistryClient } from "../registry-client/index.ts";
import { ImageNotFoundError } from "./errors.ts";
import type { OnProgress } from "./progress.ts";

export interface PushOptions {
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: OnProgress | undefined;
}

const UPLOADS_AT_ONCE = 5; // docker's number

/** @returns the digest under which the registry now has the image */
export async function pushImage(
  store: Store,
  client: RegistryClient,
  text: string,
  options: PushOptions = {},
): Promise<string> {
  const { signal = new AbortController().signal, onProgress = () => undefined } = options;
  const reference = parseReference(text);
  const record = store.images.resolve(reference);
  if (record === undefined) {
    throw new ImageNotFoundError(familiarReference(reference), {
      hint: `give an image this name first: manyworlds tag IMAGE ${text}`,
    });
  }
  using _ = await store.lease({ signal });
  onProgress({ type: "status", text: `Pushing ${familiarReference(reference)}` });
  const tell = (
    { digest, size }: Descriptor,
    phase: "waiting" | "uploading" | "exists" | "done",
    currentBytes?: number,
  ): void => {
    const id = digestHex(digest).slice(0, 12);
    const current = currentBytes === undefined ? {} : { currentBytes };
    onProgress({ type: "item", id, phase, totalBytes: size, ...current });
  };
  const queue = [
    ...new Map([...record.layers, record.config].map((each) => [each.digest, each])).values(),
  ];
  for (const descriptor of queue) tell(descriptor, "waiting");
  const work = async (): Promise<void> => {
    for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
      const descriptor = next;
      const open = (): ReadableStream<Uint8Array> => {
        const counted = countBytes((sent) => tell(descriptor, "uploading", sent));
        return store.blobs.open(descriptor.digest).pipeThrough(counted);
      };
      const outcome = await client.pushBlob(reference, descriptor, open, { signal });
      tell(descriptor, outcome === "uploaded" ? "done" : "exists");
    }
  };
  await Promise.all(Array.from({ length: UPLOADS_AT_ONCE }, work));
  const bytes = store.blobs.read(record.manifest.digest);
  const { tag } = reference;
  return client.pushManifest(reference, bytes, record.manifest.mediaType, {
    signal,
    ...(tag !== undefined && { tag }),
  });
}

function countBytes(report: (total: number) => void): TransformStream<Uint8Array, Uint8Array> {
  let total = 0;
  return new TransformStream({
    transform(chunk, controller) {
      total += chunk.length;
      report(total);
      controller.enqueue(chunk);
    },
  });
}
