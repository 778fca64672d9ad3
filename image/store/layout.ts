/**
 * Where things lie below the store's root.
 *
 *   oci-layout, index.json        the store is an OCI image layout: other tools read it as oci:ROOT
 *   blobs/sha256/HEX, sha512/HEX  verified content, never changed
 *   ingest/ALGORITHM-HEX.part     a blob on its way; .state says which ranges are there
 *   images/CONFIG.MANIFEST.json   an image; CONFIG is the ID that docker shows
 *   names/HASH.json               a name and the manifest it stands for
 *   layers/CHAIN/fs               an unpacked layer, CHAIN the first 20 digits of its chain ID
 *   layers/boot                   the boot during which the layers were looked through
 *   erofs/CHAIN.erofs             an image's root file system as a block device, for machines
 *   containers/ID/…               upper and work directories, snapshot.json
 *   tmp/                          what is being made; renamed into place when complete
 *   lock                          shared by users, exclusive for those who delete
 */
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { type Digest, digestAlgorithm, digestHex } from "../../oci/index.ts";

export interface Layout {
  readonly root: string;
  readonly blobs: string;
  readonly ingest: string;
  readonly images: string;
  readonly names: string;
  readonly layers: string;
  readonly containers: string;
  readonly tmp: string;
  readonly lock: string;
}

export function layoutOf(root: string): Layout {
  return {
    root,
    blobs: join(root, "blobs"),
    ingest: join(root, "ingest"),
    images: join(root, "images"),
    names: join(root, "names"),
    layers: join(root, "layers"),
    containers: join(root, "containers"),
    tmp: join(root, "tmp"),
    lock: join(root, "lock"),
  };
}

/** Only the owner may look inside: layers hold setuid programs and other users' files. */
const PRIVATE_MODE = 0o700;
const ROOT_MODE = 0o711;

export function makeDirectories(layout: Layout): void {
  mkdirSync(layout.root, { recursive: true, mode: ROOT_MODE });
  for (const algorithm of ["sha256", "sha512"])
    mkdirSync(join(layout.blobs, algorithm), { recursive: true });
  const { ingest, images, names, layers, containers, tmp } = layout;
  for (const directory of [ingest, images, names, layers, containers, tmp])
    mkdirSync(directory, { recursive: true, mode: PRIVATE_MODE });
}

export function blobPath(layout: Layout, digest: Digest): string {
  return join(layout.blobs, digestAlgorithm(digest), digestHex(digest));
}
