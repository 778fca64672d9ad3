/**
 * Manifests: from a tag or digest to the image that suits a platform.
 * Distribution-spec 1.1, "Pulling manifests" and "Pushing Manifests".
 */
import {
  choosePlatform,
  type Descriptor,
  type Digest,
  type DigestAlgorithm,
  formatPlatform,
  type ImageIndex,
  type ImageManifest,
  isDigest,
  MAX_MANIFEST_BYTES,
  type Manifest,
  manifestAccept,
  type Platform,
  parseManifest,
} from "../oci/index.ts";
import { discardBody, readBody } from "./http/body.ts";
import { pullFromEach, type Repository, scopeOf } from "./repository.ts";
import { digestOf, verifyBytes, verifyDigest } from "./verify.ts";

export interface FetchedManifest {
  readonly descriptor: Descriptor;
  readonly manifest: Manifest;
  /** As the registry sent it; the digest is over these. */
  readonly bytes: Uint8Array;
}

export interface ResolvedImage {
  readonly descriptor: Descriptor;
  readonly manifest: ImageManifest;
  readonly manifestBytes: Uint8Array;
  /** The index that the reference names, when it names one. */
  readonly index?: { readonly descriptor: Descriptor; readonly bytes: Uint8Array };
}

/** Indexes may hold indexes (image-spec 1.1, image-index.md). */
const MAX_INDEX_DEPTH = 4;

/** No image in an index suits the platform. */
export class PlatformError extends Error {
  override readonly name = "PlatformError";
  readonly wanted: Platform;
  readonly available: readonly Platform[];
  readonly hint: string | undefined;
  constructor(name: string, wanted: Platform, available: readonly Platform[]) {
    const names = [...new Set(available.map(formatPlatform))];
    super(
      `Cannot find an image for "${formatPlatform(wanted)}" in "${name}": there is ` +
        (names.length === 0 ? "none at all" : names.map((each) => `"${each}"`).join(", ")),
    );
    this.wanted = wanted;
    this.available = available;
    this.hint = names.length === 0 ? undefined : `choose one with --platform, as ${names[0]}`;
  }
}

/** Fetches what a tag or digest names: an image manifest or an index. */
export async function fetchManifest(
  repository: Repository,
  tagOrDigest: string,
  signal: AbortSignal,
): Promise<FetchedManifest> {
  return pullFromEach(repository, signal, (place, isMirror) =>
    fetchFromPlace(place, tagOrDigest, !isMirror, signal),
  );
}

async function fetchFromPlace(
  repository: Repository,
  tagOrDigest: string,
  retries: boolean,
  signal: AbortSignal,
): Promise<FetchedManifest> {
  const response = await repository.session.send({
    action: `fetch the manifest of "${shown(repository, tagOrDigest)}"`,
    method: "GET",
    target: `${repository.path}/manifests/${tagOrDigest}`,
    scopes: [scopeOf(repository.path, "pull")],
    headers: { accept: manifestAccept.join(", ") },
    expected: [200],
    retries,
    signal,
  });
  const what = `the manifest of "${shown(repository, tagOrDigest)}"`;
  const bytes = await readBody(response.body, what, MAX_MANIFEST_BYTES);
  const digest = checkManifestDigest(
    bytes,
    tagOrDigest,
    response.headers.get("docker-content-digest"),
  );
  const manifest = parseManifest(bytes, response.headers.get("content-type"));
  return {
    descriptor: { mediaType: manifest.mediaType, digest, size: bytes.length },
    manifest,
    bytes,
  };
}

/** The digest asked for decides; for a tag, what the registry says must be true at least. */
function checkManifestDigest(
  bytes: Uint8Array,
  tagOrDigest: string,
  header: string | undefined,
): Digest {
  if (isDigest(tagOrDigest)) {
    verifyDigest(bytes, tagOrDigest);
    return tagOrDigest;
  }
  if (header !== undefined && isDigest(header)) {
    verifyDigest(bytes, header);
    return header;
  }
  return digestOf(bytes);
}

/**
 * What a tag or digest names at the moment, without fetching it: Docker Hub does not count this
 * as a pull. undefined where the registry does not tell the digest.
 */
export async function lookUpManifest(
  repository: Repository,
  tagOrDigest: string,
  signal: AbortSignal,
): Promise<Descriptor | undefined> {
  const { headers, body } = await repository.session.send({
    action: `look up "${shown(repository, tagOrDigest)}"`,
    method: "HEAD",
    target: `${repository.path}/manifests/${tagOrDigest}`,
    scopes: [scopeOf(repository.path, "pull")],
    headers: { accept: manifestAccept.join(", ") },
    expected: [200],
    signal,
  });
  await discardBody(body);
  const digest = headers.get("docker-content-digest") ?? tagOrDigest;
  const size = headers.get("content-length") ?? "";
  if (!isDigest(digest) || !/^\d{1,9}$/.test(size)) return undefined;
  return { mediaType: headers.get("content-type") ?? "", digest, size: Number(size) };
}

/** Follows indexes down to the image for `platform`. */
export async function resolveImage(
  repository: Repository,
  tagOrDigest: string,
  platform: Platform,
  signal: AbortSignal,
): Promise<ResolvedImage> {
  const first = await fetchManifest(repository, tagOrDigest, signal);
  let current = first;
  const offered: Platform[] = [];
  for (let depth = 0; current.manifest.kind === "index"; depth++) {
    const chosen = chooseManifest(current.manifest, platform, offered);
    if (chosen === undefined || depth === MAX_INDEX_DEPTH) {
      throw new PlatformError(shown(repository, tagOrDigest), platform, offered);
    }
    current = await fetchChild(repository, chosen, signal);
  }
  return {
    descriptor: current.descriptor,
    manifest: current.manifest,
    manifestBytes: current.bytes,
    ...(first === current ? {} : { index: { descriptor: first.descriptor, bytes: first.bytes } }),
  };
}

function chooseManifest(
  { manifests }: ImageIndex,
  platform: Platform,
  offered: Platform[],
): Descriptor | undefined {
  for (const each of manifests) {
    // BuildKit's attestations call themselves unknown/unknown.
    if (each.platform !== undefined && each.platform.os !== "unknown") offered.push(each.platform);
  }
  return choosePlatform(manifests, platform);
}

async function fetchChild(
  repository: Repository,
  descriptor: Descriptor,
  signal: AbortSignal,
): Promise<FetchedManifest> {
  const child = await fetchManifest(repository, descriptor.digest, signal);
  verifyBytes(child.bytes, descriptor);
  const { platform } = descriptor;
  return {
    ...child,
    descriptor: { ...child.descriptor, ...(platform === undefined ? {} : { platform }) },
  };
}

/** Stores a manifest under a tag or under its digest; says whether the registry knows `subject`. */
export async function putManifest(
  repository: Repository,
  bytes: Uint8Array,
  mediaType: string,
  tag: string | undefined,
  signal: AbortSignal,
  algorithm: DigestAlgorithm = "sha256",
): Promise<{ readonly digest: Digest; readonly handlesSubject: boolean }> {
  const digest = digestOf(bytes, algorithm);
  const name = tag ?? digest;
  const response = await repository.session.send({
    action: `push the manifest of "${shown(repository, name)}"`,
    method: "PUT",
    target: `${repository.path}/manifests/${name}`,
    scopes: [scopeOf(repository.path, "pull,push")],
    headers: { "content-type": mediaType },
    body: () => bytes,
    expected: [201, 200, 202],
    signal,
  });
  await discardBody(response.body);
  const stored = response.headers.get("docker-content-digest");
  if (stored !== undefined && isDigest(stored)) verifyDigest(bytes, stored);
  // Distribution-spec 1.1, "Pushing Manifests with Subject".
  return { digest, handlesSubject: response.headers.has("oci-subject") };
}

/** Deletes a tag, or a manifest by digest. */
export async function deleteManifest(
  repository: Repository,
  tagOrDigest: string,
  signal: AbortSignal,
): Promise<void> {
  const response = await repository.session.send({
    action: `delete "${shown(repository, tagOrDigest)}"`,
    method: "DELETE",
    target: `${repository.path}/manifests/${tagOrDigest}`,
    scopes: [scopeOf(repository.path, "delete")],
    expected: [202, 200, 204],
    signal,
  });
  await discardBody(response.body);
}

function shown({ name }: Repository, tagOrDigest: string): string {
  return `${name}${isDigest(tagOrDigest) ? "@" : ":"}${tagOrDigest}`;
}
