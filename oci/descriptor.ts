/** Descriptors: what a blob is, how long, and its digest. OCI image-spec 1.1, descriptor.md. */
import { type Digest, parseDigest } from "./digest.ts";
import {
  array,
  object,
  optional,
  parsed,
  type Reader,
  record,
  required,
  size,
  string,
} from "./json.ts";
import { type Platform, platformReader } from "./platform.ts";

export interface Descriptor {
  readonly mediaType: string;
  readonly digest: Digest;
  /** Length of the blob in bytes. */
  readonly size: number;
  readonly urls?: readonly string[];
  readonly annotations?: Annotations;
  /** The blob itself in base64, when small; verify it before use. */
  readonly data?: string;
  readonly artifactType?: string;
  readonly platform?: Platform;
}

export type Annotations = Readonly<Record<string, string>>;

export const MAX_ANNOTATIONS = 4096;
const MAX_URLS = 64;

export const annotationsReader: Reader<Annotations> = record(string, MAX_ANNOTATIONS);

export const descriptorReader: Reader<Descriptor> = object<Descriptor>({
  mediaType: required(string),
  digest: required(parsed(parseDigest)),
  size: required(size),
  urls: optional(array(string, MAX_URLS)),
  annotations: optional(annotationsReader),
  data: optional(string),
  artifactType: optional(string),
  platform: optional(platformReader),
});
