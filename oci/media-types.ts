/**
 * Media types of manifests, configs and layers.
 * OCI image-spec 1.1, media-types.md; Docker: distribution "Image Manifest Version 2, Schema 2".
 */

export const mediaTypes = {
  ociManifest: "application/vnd.oci.image.manifest.v1+json",
  ociIndex: "application/vnd.oci.image.index.v1+json",
  ociConfig: "application/vnd.oci.image.config.v1+json",
  ociLayer: "application/vnd.oci.image.layer.v1.tar",
  ociLayerGzip: "application/vnd.oci.image.layer.v1.tar+gzip",
  ociLayerZstd: "application/vnd.oci.image.layer.v1.tar+zstd",
  /** The two-byte blob `{}`, config of artifacts that have none (image-spec 1.1, manifest.md). */
  ociEmpty: "application/vnd.oci.empty.v1+json",
  dockerManifest: "application/vnd.docker.distribution.manifest.v2+json",
  dockerManifestList: "application/vnd.docker.distribution.manifest.list.v2+json",
  dockerConfig: "application/vnd.docker.container.image.v1+json",
  dockerLayer: "application/vnd.docker.image.rootfs.diff.tar",
  dockerLayerGzip: "application/vnd.docker.image.rootfs.diff.tar.gzip",
  dockerForeignLayerGzip: "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
  dockerSchema1: "application/vnd.docker.distribution.manifest.v1+json",
  dockerSchema1Signed: "application/vnd.docker.distribution.manifest.v1+prettyjws",
} as const;

export type ManifestKind = "image" | "index" | "schema1";

const manifestKinds: Readonly<Record<string, ManifestKind>> = {
  [mediaTypes.ociManifest]: "image",
  [mediaTypes.dockerManifest]: "image",
  [mediaTypes.ociIndex]: "index",
  [mediaTypes.dockerManifestList]: "index",
  [mediaTypes.dockerSchema1]: "schema1",
  [mediaTypes.dockerSchema1Signed]: "schema1",
};

/** What to send as `Accept` for a manifest. */
export const manifestAccept: readonly string[] = [
  mediaTypes.ociIndex,
  mediaTypes.dockerManifestList,
  mediaTypes.ociManifest,
  mediaTypes.dockerManifest,
];

/** Which manifest a media type stands for; undefined when it is none of them. */
export function manifestKind(mediaType: string): ManifestKind | undefined {
  const bare = bareMediaType(mediaType);
  return Object.hasOwn(manifestKinds, bare) ? manifestKinds[bare] : undefined;
}

/** A media type without parameters and in lower case: `a/B; charset=x` → `a/b`. */
export function bareMediaType(mediaType: string): string {
  return (mediaType.split(";", 1)[0] ?? "").trim().toLowerCase();
}

export type Compression = "none" | "gzip" | "zstd";

/** `tar+gzip`, `tar.gzip` (Docker), `tar+zstd`, `tar.zstd`; foreign and nondistributable too. */
const layerPattern =
  /^application\/vnd\.(?:oci\.image\.layer(?:\.nondistributable)?\.v1|docker\.image\.rootfs(?:\.foreign)?\.diff)\.tar(?:[+.](gzip|zstd))?$/;

/**
 * How a layer of this media type is compressed, or undefined when it is no layer of a root file
 * system. Producers err: the magic bytes of the blob decide in the end.
 */
export function layerCompression(mediaType: string): Compression | undefined {
  const match = layerPattern.exec(bareMediaType(mediaType));
  if (match === null) return undefined;
  return match[1] === "gzip" || match[1] === "zstd" ? match[1] : "none";
}

/** Layers that registries may leave out and that are fetched from `urls` instead. */
export function isForeignLayer(mediaType: string): boolean {
  return /\.(?:nondistributable\.v1|foreign\.diff)\.tar/.test(bareMediaType(mediaType));
}

export function isImageConfig(mediaType: string): boolean {
  const bare = bareMediaType(mediaType);
  return bare === mediaTypes.ociConfig || bare === mediaTypes.dockerConfig;
}
