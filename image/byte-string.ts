/**
 * File names as bytes.
 *
 * Linux names are bytes, not text; decoding them as UTF-8 and back loses some of them. Inside
 * `image` a name is a *byte string*: a JavaScript string whose every character is one byte
 * (ISO 8859-1). It keeps all bytes, compares and hashes like any string, and costs one byte a
 * character in both engines.
 */

export type ByteString = string & { readonly __brand: "ByteString" };

/** Bytes of a Buffer-backed region as a byte string. */
export function bytesToString(bytes: Uint8Array, start = 0, end = bytes.length): ByteString {
  const view = Buffer.from(bytes.buffer, bytes.byteOffset + start, end - start);
  return view.toString("latin1") as ByteString; // SAFE: latin1 yields only 0…255
}

/** Text (UTF-8 on disk) as a byte string. */
export function textToByteString(text: string): ByteString {
  if (/^[\x00-\x7f]*$/.test(text)) return text as ByteString; // SAFE: ASCII is the same in both
  return bytesToString(Buffer.from(text, "utf8"));
}

export function byteStringToBytes(name: ByteString): Uint8Array {
  return Buffer.from(name, "latin1");
}

/** For messages: UTF-8 where it is valid, `\xNN` for bytes that are not. */
export function byteStringToText(name: ByteString): string {
  if (/^[\x20-\x7e]*$/.test(name)) return name;
  const bytes = Buffer.from(name, "latin1");
  const text = bytes.toString("utf8");
  const valid = Buffer.from(text, "utf8").equals(bytes);
  return (valid ? text : name).replace(/[\x00-\x1f\x7f-\x9f]|[\x80-\xff]/g, (character) => {
    const code = character.charCodeAt(0);
    if (valid && code >= 0xa0) return character;
    return `\\x${code.toString(16).padStart(2, "0")}`;
  });
}
