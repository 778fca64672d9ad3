/**
 * Checks bytes against a descriptor while they flow.
 *
 * The last chunk is handed on only after the digest was found right: a reader never has the whole
 * of wrong content. Too many bytes are an error at once, before the excess is handed on.
 */
import { createHash } from "node:crypto";
import {
  type Descriptor,
  type Digest,
  type DigestAlgorithm,
  digestAlgorithm,
  formatDigest,
} from "../oci/index.ts";
import { ContentError } from "./content-error.ts";
import type { ByteSource } from "./http/byte-source.ts";

/** A running hash, as node:crypto's and Bun's are. */
export interface Hasher {
  update(bytes: Uint8Array): unknown;
  digest(encoding: "hex"): string;
}

export function createHasher(algorithm: DigestAlgorithm): Hasher {
  return createHash(algorithm);
}

export function digestOf(bytes: Uint8Array, algorithm: DigestAlgorithm = "sha256"): Digest {
  return formatDigest(algorithm, createHash(algorithm).update(bytes).digest("hex"));
}

export interface VerifyOptions {
  /** Bytes that the reader has already. */
  readonly offset: number;
  /** A hash that was fed those bytes; without it, only the size of a resumed blob is checked. */
  readonly hasher: Hasher | undefined;
}

export function verifySource(
  source: ByteSource,
  descriptor: Pick<Descriptor, "digest" | "size">,
  { offset, hasher }: VerifyOptions,
): ByteSource {
  let position = offset;
  let isChecked = false;
  const finish = () => {
    if (!isChecked) checkDigest(descriptor.digest, hasher);
    isChecked = true;
  };
  return {
    read: async () => {
      const chunk = await source.read();
      if (chunk === undefined) {
        if (position !== descriptor.size) throw sizeError(descriptor, position);
        finish();
        return undefined;
      }
      position += chunk.length;
      if (position > descriptor.size) {
        await source.cancel();
        throw sizeError(descriptor, position, "at least ");
      }
      hasher?.update(chunk);
      if (position === descriptor.size) finish();
      return chunk;
    },
    cancel: source.cancel,
  };
}

/** Checks content that is in memory as a whole. */
export function verifyBytes(
  bytes: Uint8Array,
  descriptor: Pick<Descriptor, "digest" | "size">,
): void {
  if (bytes.length !== descriptor.size) throw sizeError(descriptor, bytes.length);
  verifyDigest(bytes, descriptor.digest);
}

export function verifyDigest(bytes: Uint8Array, digest: Digest): void {
  const hasher = createHasher(digestAlgorithm(digest));
  hasher.update(bytes);
  checkDigest(digest, hasher);
}

function checkDigest(digest: Digest, hasher: Hasher | undefined): void {
  if (hasher === undefined) return;
  const found = formatDigest(digestAlgorithm(digest), hasher.digest("hex"));
  if (found === digest) return;
  throw new ContentError({ digest, expected: "that digest", found: `the digest "${found}"` });
}

export function sizeError(
  { digest, size }: Pick<Descriptor, "digest" | "size">,
  found: number,
  prefix = "",
): ContentError {
  return new ContentError({ digest, expected: `${size}`, found: `${prefix}${found} bytes` });
}
