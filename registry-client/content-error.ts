/** Content is not what its descriptor says: too short, too long, or of another digest. */
import type { Digest } from "../oci/index.ts";

export interface ContentFailure {
  readonly digest: Digest;
  readonly expected: string;
  readonly found: string;
}

export class ContentError extends Error {
  override readonly name = "ContentError";
  readonly failure: ContentFailure;
  readonly hint =
    "the registry, a mirror or a proxy on the way sends wrong content; try another, or push the image again";

  constructor(failure: ContentFailure) {
    super(
      `Cannot accept the content of "${failure.digest}": it has ${failure.found}, expected ${failure.expected}`,
    );
    this.failure = failure;
  }
}
