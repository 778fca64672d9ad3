/**
 * Image manifests and indexes, in OCI's and in Docker's form.
 *
 *   index ──► manifest (one per platform) ──► config
 *                                         └─► layers, lowest first
 *
 * OCI image-spec 1.1, manifest.md and image-index.md; Docker image manifest version 2, schema 2.
 */
import {
  type Annotations,
  annotationsReader,
  type Descriptor,
  descriptorReader,
} from "./descriptor.ts";
import {
  array,
  integer,
  type JsonLimits,
  object,
  optional,
  parseJson,
  type Reader,
  readValue,
  required,
  string,
} from "./json.ts";
import { manifestKind, mediaTypes } from "./media-types.ts";
import { quoteText, SpecError } from "./spec-error.ts";

export interface ImageManifest {
  readonly kind: "image";
  readonly mediaType: string;
  readonly artifactType?: string;
  readonly config: Descriptor;
  /** Lowest layer first. */
  readonly layers: readonly Descriptor[];
  readonly subject?: Descriptor;
  readonly annotations?: Annotations;
}

export interface ImageIndex {
  readonly kind: "index";
  readonly mediaType: string;
  readonly artifactType?: string;
  readonly manifests: readonly Descriptor[];
  readonly subject?: Descriptor;
  readonly annotations?: Annotations;
}

export type Manifest = ImageManifest | ImageIndex;

/** Distribution-spec 1.1, "Pushing manifests": registries should take at least 4 MiB. */
export const MAX_MANIFEST_BYTES = 4 * 1024 * 1024;
export const MAX_LAYERS = 4096;
export const MAX_INDEX_ENTRIES = 16384;
const limits: JsonLimits = { maxBytes: MAX_MANIFEST_BYTES, maxDepth: 32 };

type ManifestFields = Omit<ImageManifest, "kind" | "mediaType"> & SharedFields;
type IndexFields = Omit<ImageIndex, "kind" | "mediaType"> & SharedFields;
interface SharedFields {
  readonly schemaVersion: number;
}

const shared = {
  schemaVersion: required(integer),
  artifactType: optional(string),
  subject: optional(descriptorReader),
  annotations: optional(annotationsReader),
} as const;

const manifestReader: Reader<ManifestFields> = object<ManifestFields>({
  ...shared,
  config: required(descriptorReader),
  layers: required(array(descriptorReader, MAX_LAYERS)),
});

const indexReader: Reader<IndexFields> = object<IndexFields>({
  ...shared,
  manifests: required(array(descriptorReader, MAX_INDEX_ENTRIES)),
});

interface Outline {
  readonly schemaVersion?: unknown;
  readonly mediaType?: string;
  readonly config?: unknown;
  readonly layers?: unknown;
  readonly manifests?: unknown;
  readonly fsLayers?: unknown;
}
const anything: Reader<unknown> = (value) => value;
const outlineReader: Reader<Outline> = object<Outline>({
  schemaVersion: optional(anything),
  mediaType: optional(string),
  config: optional(anything),
  layers: optional(anything),
  manifests: optional(anything),
  fsLayers: optional(anything),
});

/**
 * Parses a manifest or an index.
 * @param mediaType from the descriptor or the Content-Type header; types that name no manifest
 *   (`application/octet-stream` from plain file servers) do not count.
 * @throws SpecError, and UnsupportedManifestError for Docker's schema 1
 */
export function parseManifest(source: Uint8Array | string, mediaType?: string): Manifest {
  const value = parseJson(source, "manifest", limits);
  const outline = readValue(value, "manifest", outlineReader);
  const type = settleMediaType(outline, mediaType);
  if (manifestKind(type) === "index") {
    const { schemaVersion, ...fields } = readValue(value, "image index", indexReader);
    checkVersion(schemaVersion);
    return { kind: "index", mediaType: type, ...fields };
  }
  const { schemaVersion, ...fields } = readValue(value, "image manifest", manifestReader);
  checkVersion(schemaVersion);
  return { kind: "image", mediaType: type, ...fields };
}

/** Decides what the document is; all that speaks for its type must agree. */
function settleMediaType(outline: Outline, outer: string | undefined): string {
  const votes = [outer, outline.mediaType].flatMap((type) => {
    const kind = type === undefined ? undefined : manifestKind(type);
    return type === undefined || kind === undefined ? [] : [{ type, kind }];
  });
  const first = votes[0];
  if (first?.kind === "schema1" || isSchema1(outline)) throw new UnsupportedManifestError();
  const other = votes.find(({ kind }) => kind !== first?.kind);
  if (first !== undefined && other !== undefined) {
    throw ambiguous(
      `it is sent as ${quoteText(first.type)} and calls itself ${quoteText(other.type)}`,
    );
  }
  // GHSA-77vh-xpmg-72qh (CVE-2021-41190): one document must not be read as both.
  const hasImage = outline.layers !== undefined || outline.config !== undefined;
  const hasIndex = outline.manifests !== undefined;
  if (hasImage && hasIndex) throw ambiguous(`it has both "manifests" and "layers" or "config"`);
  // The document's own type wins over the header: both are of one kind here.
  const last = votes.at(-1);
  if (last !== undefined) return last.type;
  if (outline.mediaType !== undefined && outline.mediaType !== "") {
    throw ambiguous(`its "mediaType" is ${quoteText(outline.mediaType)}`);
  }
  if (!hasImage && !hasIndex) throw ambiguous(`it has neither "layers" nor "manifests"`);
  return hasIndex ? mediaTypes.ociIndex : mediaTypes.ociManifest;
}

function isSchema1(outline: Outline): boolean {
  return outline.fsLayers !== undefined || outline.schemaVersion === 1;
}

function checkVersion(schemaVersion: number): void {
  if (schemaVersion === 2) return;
  throw new SpecError({
    document: "manifest",
    path: "schemaVersion",
    problem: `is ${schemaVersion}, expected 2`,
  });
}

function ambiguous(problem: string): SpecError {
  return new SpecError({
    document: "manifest",
    path: "",
    problem: `${problem}, expected an image manifest or an image index`,
  });
}

/** Docker's manifest schema 1: no config, layers by another rule, deprecated since 2017. */
export class UnsupportedManifestError extends SpecError {
  override readonly name = "UnsupportedManifestError";
  constructor() {
    super({
      document: "manifest",
      path: "",
      problem: "it has Docker's schema 1, expected schema 2 or an OCI manifest",
      hint: "pull and push the image again with a current tool, which converts it",
    });
  }
}
