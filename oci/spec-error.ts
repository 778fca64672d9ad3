/** What is wrong with a document or text that some specification defines. */
export interface SpecFailure {
  /** What was read: "image manifest", "digest", "image reference". */
  readonly document: string;
  /** Where in the document: "layers[2].digest"; empty when the whole is meant. */
  readonly path: string;
  readonly problem: string;
  /** What the user can do about it. */
  readonly hint?: string;
}

/** Foreign text or JSON that is not what its specification says. */
export class SpecError extends SyntaxError {
  override readonly name: string = "SpecError";
  readonly failure: SpecFailure;
  readonly hint: string | undefined;

  constructor(failure: SpecFailure, options?: ErrorOptions) {
    const where = failure.path === "" ? "" : `"${failure.path}" `;
    super(`Cannot read ${failure.document}: ${where}${failure.problem}`, options);
    this.failure = failure;
    this.hint = failure.hint;
  }
}

const SHOWN_CHARACTERS = 80;

/** Quotes foreign text for a message: control characters escaped, long text cut. */
export function quoteText(text: string): string {
  const cut = text.length > SHOWN_CHARACTERS ? `${text.slice(0, SHOWN_CHARACTERS)}…` : text;
  // C1 controls and bidirectional overrides could rewrite what a terminal shows.
  return JSON.stringify(cut).replace(
    /[\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]/g,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}
