/**
 * A small encoder for ACPI Machine Language: just the terms that describe our devices.
 *
 * Every function returns the bytes of one term; terms nest by concatenation. ACPI 6.5 chapter 20
 * (grammar) and §6.4 (resource descriptors).
 */
export type Aml = Uint8Array;

/** Local0 to Local7 and Arg0 to Arg6. §20.2.6 */
export const local = (index: number): Aml => Uint8Array.of(0x60 + index);
export const argument = (index: number): Aml => Uint8Array.of(0x68 + index);

/** DefScope := ScopeOp PkgLength NameString TermList. §20.2.5.1 */
export function scope(path: string, ...terms: readonly Aml[]): Aml {
  return concat([0x10], withPkgLength(concat(nameString(path), ...terms)));
}

/** DefDevice := ExtOpPrefix 0x82 PkgLength NameString TermList. §20.2.5.2 */
export function device(path: string, ...terms: readonly Aml[]): Aml {
  return concat([0x5b, 0x82], withPkgLength(concat(nameString(path), ...terms)));
}

/** DefName := NameOp NameString DataRefObject. §20.2.5.1 */
export function name(path: string, value: Aml): Aml {
  return concat([0x08], nameString(path), value);
}

/** DefMethod := MethodOp PkgLength NameString MethodFlags TermList. §20.2.5.2 */
export function method(
  path: string,
  options: { readonly args: number; readonly serialized?: boolean },
  ...terms: readonly Aml[]
): Aml {
  const flags = options.args | (options.serialized === true ? 0x08 : 0);
  return concat([0x14], withPkgLength(concat(nameString(path), [flags], ...terms)));
}

/** DefNotify := NotifyOp NotifyObject NotifyValue. §20.2.5.3 */
export function notify(path: string, value: number): Aml {
  return concat([0x86], nameString(path), integer(value));
}

/** DefIfElse without the else. §20.2.5.3 */
export function ifTrue(predicate: Aml, ...terms: readonly Aml[]): Aml {
  return concat([0xa0], withPkgLength(concat(predicate, ...terms)));
}

/** DefLEqual. §20.2.5.4 */
export function equal(left: Aml, right: Aml): Aml {
  return concat([0x93], left, right);
}

/** The shortest form of an unsigned integer up to 64 bits. §20.2.3 */
export function integer(value: number | bigint): Aml {
  const big = BigInt(value);
  if (big < 0n || big >= 1n << 64n) {
    throw new RangeError(`Cannot encode ${value} in AML: expected an unsigned 64-bit integer`);
  }
  if (big <= 1n) return Uint8Array.of(Number(big));
  if (big < 1n << 8n) return concat([0x0a], littleEndian(big, 1));
  if (big < 1n << 16n) return concat([0x0b], littleEndian(big, 2));
  if (big < 1n << 32n) return concat([0x0c], littleEndian(big, 4));
  return concat([0x0e], littleEndian(big, 8));
}

/** String := StringPrefix AsciiCharList NullChar. §20.2.3 */
export function string(text: string): Aml {
  if (!/^[\x01-\x7f]*$/.test(text)) {
    throw new RangeError(`Cannot encode "${text}" in AML: expected ASCII without NUL`);
  }
  return concat([0x0d], ascii(text), [0]);
}

/** DefPackage := PackageOp PkgLength NumElements PackageElementList. §20.2.5.4 */
export function pack(...elements: readonly Aml[]): Aml {
  if (elements.length > 255) {
    throw new RangeError(
      `Cannot encode ${elements.length} elements in a package: expected 255 at most`,
    );
  }
  return concat([0x12], withPkgLength(concat([elements.length], ...elements)));
}

/** DefBuffer := BufferOp PkgLength BufferSize ByteList. §20.2.5.4 */
export function buffer(bytes: Uint8Array): Aml {
  return concat([0x11], withPkgLength(concat(integer(bytes.length), bytes)));
}

/** "PNP0501" as the 32-bit integer that _HID wants. §19.3.4 */
export function eisaId(text: string): Aml {
  const parts = /^([A-Z]{3})([0-9A-F]{4})$/.exec(text);
  if (parts === null) {
    throw new RangeError(
      `Cannot encode "${text}" as an EISA id: expected three capitals and four hex digits`,
    );
  }
  const [letters = "", digits = ""] = parts.slice(1);
  const vendor = [...letters].reduce(
    (sum, letter) => (sum << 5) | (letter.charCodeAt(0) - 0x40),
    0,
  );
  const product = Number.parseInt(digits, 16);
  // Big endian in the compressed form, little endian as an integer.
  return concat([0x0c], [vendor >> 8, vendor & 0xff, product >> 8, product & 0xff]);
}

/** Resource descriptors in a buffer, end tag and checksum added. §6.4.2.9 */
export function resources(...descriptors: readonly Uint8Array[]): Aml {
  // A checksum of 0 means "treat as correct".
  return buffer(concat(...descriptors, [0x79, 0x00]));
}

/** 32-Bit Fixed Memory Range Descriptor, read-write. §6.4.3.4 */
export function memory32Fixed(base: number, sizeBytes: number): Uint8Array {
  return concat([0x86, 9, 0, 1], littleEndian(base, 4), littleEndian(sizeBytes, 4));
}

/** Extended Interrupt Descriptor: consumer, edge, active high, exclusive. §6.4.3.6 */
export function interrupt(gsi: number): Uint8Array {
  const consumerEdgeHigh = 0b0_0011;
  return concat([0x89, 6, 0, consumerEdgeHigh, 1], littleEndian(gsi, 4));
}

/** I/O Port Descriptor, 16-bit decode. §6.4.2.5 */
export function ioPorts(base: number, length: number): Uint8Array {
  return concat([0x47, 1], littleEndian(base, 2), littleEndian(base, 2), [1, length]);
}

/** NameString: root and path, each segment padded to four characters. §20.2.2 */
export function nameString(path: string): Aml {
  const rooted = path.startsWith("\\");
  const segments = (rooted ? path.slice(1) : path).split(".");
  for (const segment of segments) {
    if (!/^[A-Z_][A-Z0-9_]{0,3}$/.test(segment)) {
      throw new RangeError(
        `Cannot encode "${path}" as an ACPI name: expected segments of 1 to 4 of A-Z, 0-9 and _`,
      );
    }
  }
  const text = segments.map((segment) => segment.padEnd(4, "_")).join("");
  const prefix =
    segments.length === 1 ? [] : segments.length === 2 ? [0x2e] : [0x2f, segments.length];
  return concat(rooted ? [0x5c] : [], prefix, ascii(text));
}

/** PkgLength counts itself: 1 byte up to 63, else 4 bits and up to three bytes more. §20.2.4 */
function withPkgLength(body: Uint8Array): Uint8Array {
  if (body.length + 1 <= 0x3f) return concat([body.length + 1], body);
  for (const extra of [1, 2, 3]) {
    const total = body.length + 1 + extra;
    if (total < 2 ** (4 + 8 * extra)) {
      return concat([(extra << 6) | (total & 0xf)], littleEndian(total >> 4, extra), body);
    }
  }
  throw new RangeError(
    `Cannot encode an AML package of ${body.length} bytes: expected less than 256 MiB`,
  );
}

export function littleEndian(value: number | bigint, sizeBytes: number): Uint8Array {
  const bytes = new Uint8Array(sizeBytes);
  for (let i = 0, left = BigInt(value); i < sizeBytes; i++, left >>= 8n)
    bytes[i] = Number(left & 0xffn);
  return bytes;
}

export function ascii(text: string): Uint8Array {
  return Uint8Array.from(text, (character) => character.charCodeAt(0));
}

export function concat(...parts: readonly ArrayLike<number>[]): Uint8Array {
  const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    bytes.set(part, at);
    at += part.length;
  }
  return bytes;
}
