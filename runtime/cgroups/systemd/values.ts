/**
 * D-Bus values as bytes: D-Bus specification 0.42, "Type System" and "Marshaling".
 *
 * ```
 * y b n q i u x t d   numbers, aligned to their size (b is a u32)
 * s o                 u32 length, UTF-8, NUL          g: u8 length, ASCII, NUL
 * aT                  u32 size in bytes, padding to T's alignment, elements
 * (…) {KV}            fields, from a multiple of 8    v: signature, then the value
 * ```
 * Little-endian only: both ends are on this machine.
 */

export interface Variant {
  readonly signature: string;
  readonly value: Value;
}

/** x and t are bigint, "ay" is bytes, structs, arrays and dictionary entries are arrays. */
export type Value = number | bigint | boolean | string | Uint8Array | Variant | readonly Value[];

/** Bytes or signatures that the D-Bus specification does not allow, or beyond our limits. */
export class ProtocolError extends Error {
  override readonly name = "ProtocolError";
}

/** "Valid Signatures": at most 255 bytes; arrays and structs 32 deep each. */
const signatureLimit = 255;
const depthLimit = 64;
/** The specification allows 64 MiB; systemd never sends us a thousandth of it. */
export const arrayLimit = 1024 * 1024;

// biome-ignore format: table
const alignments: Readonly<Record<string, number>> = {
  y: 1, b: 4, n: 2, q: 2, i: 4, u: 4, x: 8, t: 8, d: 8, s: 4, o: 4, g: 1, a: 4, "(": 8, "{": 8, v: 1,
};

function alignmentOf(type: string): number {
  const alignment = alignments[type[0] ?? ""];
  if (alignment === undefined) throw new ProtocolError(`Unknown D-Bus type "${type}"`);
  return alignment;
}

/** "sa(sv)u" → "s", "a(sv)", "u": one complete type each. */
export function splitSignature(signature: string): readonly string[] {
  if (signature.length > signatureLimit)
    throw new ProtocolError(`Expected a signature of at most ${signatureLimit} bytes`);
  const types: string[] = [];
  for (let at = 0; at < signature.length; ) {
    const end = endOfType(signature, at, 0);
    types.push(signature.slice(at, end));
    at = end;
  }
  return types;
}

function endOfType(signature: string, at: number, depth: number): number {
  const bad = () => new ProtocolError(`Invalid D-Bus signature "${signature}"`);
  const code = signature[at] ?? "";
  if (depth > depthLimit) throw bad();
  if (code === "a") {
    if (signature[at + 1] !== "{") return endOfType(signature, at + 1, depth + 1);
    const key = signature[at + 2] ?? "";
    if (!"ybnqiuxtdsog".includes(key) || key === "") throw bad();
    const end = endOfType(signature, at + 3, depth + 2);
    if (signature[end] !== "}") throw bad();
    return end + 1;
  }
  if (code === "(") {
    let end = at + 1;
    while (signature[end] !== ")") end = endOfType(signature, end, depth + 1);
    if (end === at + 1) throw bad();
    return end + 1;
  }
  if (code === "" || !"ybnqiuxtdsogv".includes(code)) throw bad();
  return at + 1;
}

/** What is inside of "(…)" or "{…}". */
function fieldsOf(type: string): readonly string[] {
  return type[0] === "{" ? [type[1] ?? "", type.slice(2, -1)] : splitSignature(type.slice(1, -1));
}

const firstCapacity = 1024;

export class ValueWriter {
  #bytes = new Uint8Array(firstCapacity);
  #view = new DataView(this.#bytes.buffer);
  #length = 0;

  bytes(): Uint8Array {
    return this.#bytes.slice(0, this.#length);
  }

  align(to: number): void {
    this.#reserve((to - (this.#length % to)) % to);
  }

  /** Throws ProtocolError for a value that is not of the type. */
  write(type: string, value: Value): void {
    this.align(alignmentOf(type));
    if (type === "ay" && value instanceof Uint8Array) {
      this.#view.setUint32(this.#reserve(4), value.length, true);
      const at = this.#reserve(value.length); // which may move the bytes elsewhere
      this.#bytes.set(value, at);
    } else if (type[0] === "a") this.#writeArray(type.slice(1), value);
    else if (type[0] === "(" || type[0] === "{") this.#writeFields(type, value);
    else if (type === "v") this.#writeVariant(value);
    else if (type === "s" || type === "o" || type === "g") this.#writeText(type, value);
    else this.#writeNumber(type, value);
  }

  #writeNumber(type: string, value: Value): void {
    if (type === "b") {
      if (typeof value !== "boolean") throw mismatch(type, value);
      this.#view.setUint32(this.#reserve(4), value ? 1 : 0, true);
    } else if (type === "x" || type === "t") {
      if (typeof value !== "bigint") throw mismatch(type, value);
      this.#view.setBigUint64(this.#reserve(8), BigInt.asUintN(64, value), true);
    } else if (typeof value !== "number") throw mismatch(type, value);
    else if (type === "y") this.#view.setUint8(this.#reserve(1), value);
    else if (type === "n" || type === "q") this.#view.setUint16(this.#reserve(2), value, true);
    else if (type === "i" || type === "u") this.#view.setUint32(this.#reserve(4), value, true);
    else this.#view.setFloat64(this.#reserve(8), value, true);
  }

  #writeText(type: string, value: Value): void {
    if (typeof value !== "string" || value.includes("\0")) throw mismatch(type, value);
    const text = new TextEncoder().encode(value);
    if (type === "g") {
      splitSignature(value);
      this.#view.setUint8(this.#reserve(1), text.length);
    } else this.#view.setUint32(this.#reserve(4), text.length, true);
    const at = this.#reserve(text.length + 1);
    this.#bytes.set(text, at);
  }

  #writeArray(element: string, value: Value): void {
    if (!Array.isArray(value)) throw mismatch(`a${element}`, value);
    const size = this.#reserve(4);
    this.align(alignmentOf(element));
    const start = this.#length;
    for (const one of value) this.write(element, one);
    this.#view.setUint32(size, this.#length - start, true);
  }

  #writeFields(type: string, value: Value): void {
    const fields = fieldsOf(type);
    if (!Array.isArray(value) || value.length !== fields.length) throw mismatch(type, value);
    fields.forEach((field, index) => {
      this.write(field, value[index]);
    });
  }

  #writeVariant(value: Value): void {
    if (!isVariant(value)) throw mismatch("v", value);
    this.write("g", value.signature);
    this.write(oneType(value.signature), value.value);
  }

  /** Makes room of zeros at the end; returns where it begins. */
  #reserve(size: number): number {
    const at = this.#length;
    this.#length += size;
    if (this.#length > this.#bytes.length) {
      const larger = new Uint8Array(2 * this.#length);
      larger.set(this.#bytes);
      this.#bytes = larger;
      this.#view = new DataView(larger.buffer);
    }
    return at;
  }
}

function isVariant(value: Value): value is Variant {
  return typeof value === "object" && "signature" in value;
}

function oneType(signature: string): string {
  const [type, ...more] = splitSignature(signature);
  if (type === undefined || more.length > 0)
    throw new ProtocolError(`Expected one complete type, got "${signature}"`);
  return type;
}

function mismatch(type: string, value: Value): ProtocolError {
  return new ProtocolError(`Expected a value of D-Bus type "${type}", got ${typeof value}`);
}

/** Reads values from bytes; throws ProtocolError rather than read beyond their end. */
export class ValueReader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  get position(): number {
    return this.#at;
  }

  align(to: number): void {
    this.#take((to - (this.#at % to)) % to);
  }

  read(type: string, depth = 0): Value {
    if (depth > depthLimit) throw new ProtocolError(`D-Bus values more than ${depthLimit} deep`);
    this.align(alignmentOf(type));
    switch (type[0]) {
      case "a":
        return this.#readArray(type.slice(1), depth);
      case "(":
      case "{":
        return fieldsOf(type).map((field) => this.read(field, depth + 1));
      case "v": {
        const signature = this.#readText(1);
        return { signature, value: this.read(oneType(signature), depth + 1) };
      }
      case "s":
      case "o":
        return this.#readText(4);
      case "g":
        return this.#readText(1);
      default:
        return this.#readNumber(type);
    }
  }

  #readNumber(type: string): Value {
    switch (type) {
      case "y":
        return this.#view.getUint8(this.#take(1));
      case "b":
        return this.#view.getUint32(this.#take(4), true) !== 0;
      case "n":
        return this.#view.getInt16(this.#take(2), true);
      case "q":
        return this.#view.getUint16(this.#take(2), true);
      case "i":
        return this.#view.getInt32(this.#take(4), true);
      case "u":
        return this.#view.getUint32(this.#take(4), true);
      case "x":
        return this.#view.getBigInt64(this.#take(8), true);
      case "t":
        return this.#view.getBigUint64(this.#take(8), true);
      default:
        return this.#view.getFloat64(this.#take(8), true);
    }
  }

  #readText(lengthBytes: 1 | 4): string {
    const length =
      lengthBytes === 1
        ? this.#view.getUint8(this.#take(1))
        : this.#view.getUint32(this.#take(4), true);
    const start = this.#take(length + 1);
    return new TextDecoder().decode(this.#bytes.subarray(start, start + length));
  }

  #readArray(element: string, depth: number): Value {
    const size = this.#view.getUint32(this.#take(4), true);
    if (size > arrayLimit)
      throw new ProtocolError(`A D-Bus array of ${size} bytes, expected at most ${arrayLimit}`);
    this.align(alignmentOf(element));
    const end = this.#at + size;
    if (element === "y") return this.#bytes.slice(this.#take(size), end);
    const values: Value[] = [];
    while (this.#at < end) values.push(this.read(element, depth + 1));
    if (this.#at !== end) throw new ProtocolError("The elements of a D-Bus array pass its end");
    return values;
  }

  #take(size: number): number {
    const at = this.#at;
    if (size > this.#bytes.length - at)
      throw new ProtocolError(`A D-Bus message ends after ${this.#bytes.length} bytes: too early`);
    this.#at += size;
    return at;
  }
}
