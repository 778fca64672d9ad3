/**
 * Digests: `algorithm:hex`, the name of every blob.
 * OCI image-spec 1.1, descriptor.md, "Digests"; sha256 must be known, sha512 may be.
 */
import type { Brand } from "./brand.ts";
import { quoteText, SpecError } from "./spec-error.ts";

export type Digest = Brand<string, "Digest">;
export type DigestAlgorithm = "sha256" | "sha512";

/** Length of the hexadecimal part. */
export const digestHexLength: Readonly<Record<DigestAlgorithm, number>> = {
  sha256: 64,
  sha512: 128,
};

const pattern = /^(?:sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128})$/;

export function parseDigest(text: string): Digest {
  if (isDigest(text)) return text;
  throw new SpecError({
    document: "digest",
    path: "",
    problem: `is ${quoteText(text)}, ${expectation(text)}`,
  });
}

export function isDigest(text: string): text is Digest {
  return pattern.test(text);
}

export function digestAlgorithm(digest: Digest): DigestAlgorithm {
  return digest.startsWith("sha256:") ? "sha256" : "sha512";
}

/** The part after the colon; safe as a file name. */
export function digestHex(digest: Digest): string {
  return digest.slice(digest.indexOf(":") + 1);
}

/** Makes a digest from what a hash function returned as hexadecimal. */
export function formatDigest(algorithm: DigestAlgorithm, hex: string): Digest {
  return parseDigest(`${algorithm}:${hex}`);
}

function expectation(text: string): string {
  const algorithm = text.slice(0, Math.max(0, text.indexOf(":")));
  if (algorithm !== "sha256" && algorithm !== "sha512") {
    return `expected "sha256:" or "sha512:" and lowercase hexadecimal digits`;
  }
  return `expected ${digestHexLength[algorithm]} lowercase hexadecimal digits after "${algorithm}:"`;
}
