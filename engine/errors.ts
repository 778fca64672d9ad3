/** Errors of the engine: one class per cause that a caller can act on. */

interface Details {
  readonly hint?: string;
  readonly cause?: unknown;
}

/** The container cannot be made as asked for: a user, device or limit that is not there. */
export class ContainerError extends Error {
  override readonly name = "ContainerError";
  /** docker's exit status for it. */
  readonly status: number;
  readonly hint: string | undefined;
  constructor(message: string, details: Details & { readonly status?: number } = {}) {
    super(message, "cause" in details ? { cause: details.cause } : undefined);
    this.status = details.status ?? 125;
    this.hint = details.hint;
  }
}

/** No such image here, and the pull policy or the registry gives none. */
export class ImageNotFoundError extends Error {
  override readonly name = "ImageNotFoundError";
  readonly reference: string;
  readonly hint: string | undefined;
  constructor(reference: string, details: Details = {}) {
    super(
      `Cannot find image "${reference}" here`,
      "cause" in details ? { cause: details.cause } : undefined,
    );
    this.reference = reference;
    this.hint = details.hint;
  }
}
