/** Small images for tests, and a registry in memory that serves them. */
import { createHash } from "node:crypto";
import { type Descriptor, type Digest, mediaTypes, parseDigest } from "../../oci/index.ts";
import type { Answer, SeenRequest } from "./server.ts";

export function sha256(bytes: Uint8Array | string): Digest {
  return parseDigest(`sha256:${createHash("sha256").update(bytes).digest("hex")}`);
}

export interface TestBlob {
  readonly bytes: Uint8Array;
  readonly descriptor: Descriptor;
}

export function blobOf(
  bytes: Uint8Array | string,
  mediaType: string = mediaTypes.ociLayer,
): TestBlob {
  const data = typeof bytes === "string" ? Buffer.from(bytes) : bytes;
  return { bytes: data, descriptor: { mediaType, digest: sha256(data), size: data.length } };
}

/** Bytes that differ everywhere, so that a misplaced range is noticed. */
export function patternBytes(length: number): Uint8Array {
  const words = new Uint32Array(Math.ceil(length / 4));
  for (let index = 0; index < words.length; index++) words[index] = Math.imul(index, 0x9e3779b1);
  return new Uint8Array(words.buffer, 0, length);
}

export interface TestImage {
  readonly config: TestBlob;
  readonly layers: readonly TestBlob[];
  readonly manifest: TestBlob;
}

export function imageOf(
  text = "layer",
  platform = { os: "linux", architecture: "amd64" },
): TestImage {
  const layers = [blobOf(text)];
  const diffIds = layers.map(({ descriptor }) => descriptor.digest);
  const config = blobOf(
    JSON.stringify({ ...platform, rootfs: { type: "layers", diff_ids: diffIds } }),
    mediaTypes.ociConfig,
  );
  const manifest = blobOf(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: mediaTypes.ociManifest,
      config: config.descriptor,
      layers: layers.map(({ descriptor }) => descriptor),
    }),
    mediaTypes.ociManifest,
  );
  return { config, layers, manifest };
}

export function indexOf(
  entries: readonly { readonly manifest: TestBlob; readonly platform?: object }[],
  mediaType: string = mediaTypes.ociIndex,
): TestBlob {
  const manifests = entries.map(({ manifest, platform }) => ({
    ...manifest.descriptor,
    ...(platform === undefined ? {} : { platform }),
  }));
  return blobOf(JSON.stringify({ schemaVersion: 2, mediaType, manifests }), mediaType);
}

export function manifestAnswer({ bytes, descriptor }: TestBlob): Answer {
  return {
    headers: { "content-type": descriptor.mediaType, "docker-content-digest": descriptor.digest },
    body: bytes,
  };
}

/** Serves blobs with ranges, as RFC 9110 §14 says. */
export function blobAnswer({ headers }: SeenRequest, bytes: Uint8Array): Answer {
  const range = /^bytes=(\d+)-(\d*)$/.exec(headers.range ?? "");
  if (range === null) return { body: bytes };
  const start = Number(range[1]);
  const end = range[2] === "" ? bytes.length : Math.min(bytes.length, Number(range[2]) + 1);
  if (start >= bytes.length) return { status: 416 };
  return {
    status: 206,
    headers: { "content-range": `bytes ${start}-${end - 1}/${bytes.length}` },
    body: bytes.subarray(start, end),
  };
}

export const notFound: Answer = {
  status: 404,
  body: JSON.stringify({ errors: [{ code: "NAME_UNKNOWN", message: "nothing here" }] }),
};

/** A registry that holds one image under `a/b` with tag `1`, read-only, open to all. */
export function imageAnswer(request: SeenRequest, image: TestImage): Answer {
  const { path } = request;
  if (path === "/v2/") return { body: "{}" };
  const { manifest, config, layers } = image;
  if (
    path === "/v2/a/b/manifests/1" ||
    path === `/v2/a/b/manifests/${manifest.descriptor.digest}`
  ) {
    return manifestAnswer(manifest);
  }
  const blob = [config, ...layers].find(({ descriptor }) =>
    path.endsWith(`/blobs/${descriptor.digest}`),
  );
  return blob === undefined ? notFound : blobAnswer(request, blob.bytes);
}
