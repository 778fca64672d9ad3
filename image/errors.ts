/** What can go wrong with an image, one class per cause a caller can act on. */

/** The bytes of a layer or archive are not what they should be: another copy may be good. */
export class LayerError extends Error {
  override readonly name: string = "LayerError";
}

/** A layer or archive is larger than we agree to handle. */
export class LimitError extends LayerError {
  override readonly name = "LimitError";
  readonly limit: string;
  readonly hint: string;
  constructor(message: string, limit: string) {
    super(message);
    this.limit = limit;
    this.hint = `if you trust the image, raise the limit "${limit}"`;
  }
}

/** The store cannot do what was asked: a full disk, a damaged file, a foreign directory. */
export class StoreError extends Error {
  override readonly name: string = "StoreError";
  readonly hint?: string;
  constructor(message: string, options: { cause?: unknown; hint?: string } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    if (options.hint !== undefined) this.hint = options.hint;
  }
}

/** No image, or more than one, answers to the name. */
export class ImageNotFoundError extends StoreError {
  override readonly name = "ImageNotFoundError";
}

/** The image, layer or blob is still needed by something else. */
export class InUseError extends StoreError {
  override readonly name = "InUseError";
}

/** The blob is not what its digest says. */
export class DigestError extends LayerError {
  override readonly name = "DigestError";
  readonly expected: string;
  readonly actual: string;
  constructor(message: string, facts: { readonly expected: string; readonly actual: string }) {
    super(message);
    this.expected = facts.expected;
    this.actual = facts.actual;
  }
}

export function isDiskFull(error: unknown): boolean {
  const code: unknown = error instanceof Error && "code" in error ? error.code : undefined;
  return code === "ENOSPC" || code === "EDQUOT";
}

export function diskFull(what: string, cause: unknown): StoreError {
  return new StoreError(`${what}: the disk is full`, {
    cause,
    hint: "free space on the store's file system, for example with prune",
  });
}
