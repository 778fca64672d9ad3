/** Text as bytes. Node's Buffer can do this too, but in Bun its first use costs 0.3 ms. */

const encoder = new TextEncoder();

export function encodeUtf8(text: string): Uint8Array {
  return encoder.encode(text);
}

/** Bytes that the text takes. */
export function utf8Length(text: string): number {
  return encoder.encode(text).length;
}
