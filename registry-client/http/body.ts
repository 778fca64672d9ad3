/** Small response bodies: read whole within a limit, or thrown away. */
import type { ByteSource } from "./byte-source.ts";

/** More bytes came than this kind of answer may have. */
export class BodyTooLargeError extends Error {
  override readonly name = "BodyTooLargeError";
  readonly maxBytes: number;
  constructor(what: string, maxBytes: number) {
    super(`Cannot read ${what}: it is longer than ${maxBytes} bytes`);
    this.maxBytes = maxBytes;
  }
}

/** Reads a body whole; cancels it and throws BodyTooLargeError beyond `maxBytes`. */
export async function readBody(
  body: ByteSource,
  what: string,
  maxBytes: number,
): Promise<Uint8Array> {
  const chunks: Uint8Array[] = [];
  let length = 0;
  for (;;) {
    const chunk = await body.read();
    if (chunk === undefined) return concatenate(chunks, length);
    length += chunk.length;
    if (length > maxBytes) {
      await body.cancel();
      throw new BodyTooLargeError(what, maxBytes);
    }
    chunks.push(chunk);
  }
}

export function concatenate(chunks: readonly Uint8Array[], length: number): Uint8Array {
  const [first] = chunks;
  if (first !== undefined && chunks.length === 1) return first;
  const bytes = new Uint8Array(length);
  let position = 0;
  for (const chunk of chunks) {
    bytes.set(chunk, position);
    position += chunk.length;
  }
  return bytes;
}

const MAX_DISCARDED_BYTES = 64 * 1024;

/** Reads on to the end so that the connection can serve again, or closes it when that is long. */
export async function discardBody(body: ByteSource): Promise<void> {
  await readBody(body, "the rest of an answer", MAX_DISCARDED_BYTES).catch(() => {});
}
