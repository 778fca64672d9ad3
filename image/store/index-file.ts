/**
 * `index.json`: what makes the store an OCI image layout for other tools (image-spec 1.1,
 * image-layout.md), as in `skopeo copy oci:ROOT:docker.io/library/busybox:latest …`. We never read
 * it; names and records are the truth, and it is written anew from them.
 */
import { join } from "node:path";
import { mediaTypes } from "../../oci/index.ts";
import { replaceFile } from "./files.ts";
import type { Images } from "./images.ts";
import type { Layout } from "./layout.ts";

export function writeIndex(layout: Layout, images: Images): void {
  images.hasChanged = false;
  const names = images.names();
  const manifests = images.list().flatMap(({ record }) => {
    const own = names.filter((name) => name.manifest === record.manifest.digest);
    if (own.length === 0) return [record.manifest];
    return own.map(({ reference }) => ({
      ...record.manifest,
      annotations: { "org.opencontainers.image.ref.name": reference },
    }));
  });
  const index = { schemaVersion: 2, mediaType: mediaTypes.ociIndex, manifests };
  const path = join(layout.root, "index.json");
  replaceFile(layout.tmp, path, JSON.stringify(index), { flush: false });
}
