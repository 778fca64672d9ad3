/**
 * Lists that come in pages: tags and referrers.
 * Distribution-spec 1.1, "Listing Tags" and "Listing Referrers".
 */
import {
  type Descriptor,
  type Digest,
  digestAlgorithm,
  digestHex,
  type ImageManifest,
  json,
  MAX_MANIFEST_BYTES,
  mediaTypes,
  parseManifest,
} from "../oci/index.ts";
import { readBody } from "./http/body.ts";
import { nextLink } from "./link-header.ts";
import { fetchManifest, putManifest } from "./manifests.ts";
import { RegistryError, senselessAnswer } from "./registry-error.ts";
import { type Repository, scopeOf } from "./repository.ts";

export interface ListTagsOptions {
  readonly signal: AbortSignal;
  /** How many tags a page shall have; the registry decides when absent. */
  readonly pageSize?: number;
}

export const MAX_PAGES = 10_000;
const MAX_TAGS_PER_PAGE = 100_000;
const MAX_PAGE_BYTES = 16 * 1024 * 1024;

interface TagPage {
  readonly tags?: readonly string[];
}
const { array, object, optional, string } = json;
const tagPageReader = object<TagPage>({ tags: optional(array(string, MAX_TAGS_PER_PAGE)) });

/** All tags of a repository, page by page as they are consumed. */
export async function* listTags(
  repository: Repository,
  { signal, pageSize }: ListTagsOptions,
): AsyncGenerator<string> {
  const action = `list the tags of "${repository.name}"`;
  const query = pageSize === undefined ? "" : `?n=${pageSize}`;
  const first = `${repository.path}/tags/list${query}`;
  for await (const page of readPages(repository, first, {}, action, [200], signal)) {
    const { tags = [] } = json.readJson(page.bytes, "a list of tags", tagPageReader, {
      maxBytes: MAX_PAGE_BYTES,
      maxDepth: 8,
    });
    yield* tags;
  }
}

interface Page {
  readonly status: number;
  readonly bytes: Uint8Array;
  readonly contentType: string | undefined;
}

/** Follows `Link: <…>; rel="next"`, on the same registry only and never in a circle. */
async function* readPages(
  repository: Repository,
  first: string,
  headers: Readonly<Record<string, string>>,
  action: string,
  expected: readonly number[],
  signal: AbortSignal,
): AsyncGenerator<Page> {
  let target: string | URL = first;
  const seen = new Set<string>();
  for (let count = 0; count < MAX_PAGES; count++) {
    const response = await repository.session.send({
      action,
      method: "GET",
      target,
      scopes: [scopeOf(repository.path, "pull")],
      headers,
      expected,
      signal,
    });
    const bytes = await readBody(response.body, "a page of a list", MAX_PAGE_BYTES);
    yield { status: response.status, bytes, contentType: response.headers.get("content-type") };
    const next = nextLink(response.headers.get("link"));
    if (next === undefined) return;
    const fail = (detail: string) => senselessAnswer(action, response, detail);
    if (!URL.canParse(next, response.url.href)) throw fail("its Link header holds no URL");
    const url = new URL(next, response.url);
    // Behind a TLS proxy, registries write http: for themselves.
    if (url.host === response.url.host) url.protocol = response.url.protocol;
    if (url.origin !== response.url.origin) throw fail(`its Link header leads to "${url.host}"`);
    if (seen.has(url.href)) throw fail("its Link headers go in a circle");
    seen.add(url.href);
    target = url;
  }
  throw new Error(`Cannot ${action}: there are more than ${MAX_PAGES} pages`);
}

export interface ReferrersOptions {
  readonly signal: AbortSignal;
  /** Only those of this type. */
  readonly artifactType?: string;
}

/** Manifests whose `subject` is this digest: signatures, SBOMs, attestations. */
export async function listReferrers(
  repository: Repository,
  subject: Digest,
  { signal, artifactType }: ReferrersOptions,
): Promise<readonly Descriptor[]> {
  const action = `list the referrers of "${repository.name}@${subject}"`;
  const query = artifactType === undefined ? "" : `?${new URLSearchParams({ artifactType })}`;
  const first = `${repository.path}/referrers/${subject}${query}`;
  const headers = { accept: mediaTypes.ociIndex };
  const found: Descriptor[] = [];
  for await (const page of readPages(repository, first, headers, action, [200, 404], signal)) {
    // An index is what the API answers with; whatever else comes is a server without it.
    const manifest = page.status === 200 ? readIndex(page) : undefined;
    if (manifest === undefined) {
      found.push(...(await fallbackIndex(repository, subject, signal)));
      break;
    }
    found.push(...manifest);
  }
  // Registries may ignore the filter.
  return artifactType === undefined
    ? found
    : found.filter((each) => each.artifactType === artifactType);
}

function readIndex({ bytes, contentType }: Page): readonly Descriptor[] | undefined {
  if (contentType !== undefined && !contentType.startsWith(mediaTypes.ociIndex)) return undefined;
  const manifest = parseManifest(bytes.subarray(0, MAX_MANIFEST_BYTES + 1), mediaTypes.ociIndex);
  return manifest.kind === "index" ? manifest.manifests : undefined;
}

/** "Referrers Tag Schema": `sha256-…`, where registries lack the API. */
export function referrersTag(subject: Digest): string {
  const MAX_HEX_LENGTH = 64;
  return `${digestAlgorithm(subject)}-${digestHex(subject).slice(0, MAX_HEX_LENGTH)}`;
}

async function fallbackIndex(
  repository: Repository,
  subject: Digest,
  signal: AbortSignal,
): Promise<readonly Descriptor[]> {
  try {
    const { manifest } = await fetchManifest(repository, referrersTag(subject), signal);
    return manifest.kind === "index" ? manifest.manifests : [];
  } catch (error) {
    if (error instanceof RegistryError && error.failure.problem === "not-found") return [];
    throw error;
  }
}

/** What a client must do itself where the registry does not know `subject`. */
export async function addReferrer(
  repository: Repository,
  subject: Digest,
  { descriptor, manifest }: { readonly descriptor: Descriptor; readonly manifest: ImageManifest },
  signal: AbortSignal,
): Promise<void> {
  const before = await fallbackIndex(repository, subject, signal);
  if (before.some(({ digest }) => digest === descriptor.digest)) return;
  const entry: Descriptor = {
    ...descriptor,
    artifactType: manifest.artifactType ?? manifest.config.mediaType,
    ...(manifest.annotations === undefined ? {} : { annotations: manifest.annotations }),
  };
  const mediaType = mediaTypes.ociIndex;
  const index = { schemaVersion: 2, mediaType, manifests: [...before, entry] };
  const bytes = new TextEncoder().encode(JSON.stringify(index));
  await putManifest(repository, bytes, mediaType, referrersTag(subject), signal);
}
