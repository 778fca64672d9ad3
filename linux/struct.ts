/**
 * Kernel structs as tables: field → type and offset, little endian, sizes from the header and
 * checked when a struct is first used.
 */

export type FieldType =
  | { readonly kind: "uint" | "int"; readonly sizeBytes: 1 | 2 | 4 | 8 }
  | { readonly kind: "bytes"; readonly sizeBytes: number };

export const u8 = { kind: "uint", sizeBytes: 1 } as const;
export const u16 = { kind: "uint", sizeBytes: 2 } as const;
export const u32 = { kind: "uint", sizeBytes: 4 } as const;
export const u64 = { kind: "uint", sizeBytes: 8 } as const;
export const i16 = { kind: "int", sizeBytes: 2 } as const;
export const i32 = { kind: "int", sizeBytes: 4 } as const;
export const i64 = { kind: "int", sizeBytes: 8 } as const;
/** An opaque run of bytes: padding, a string, an embedded array. */
export function bytes(sizeBytes: number) {
  return { kind: "bytes", sizeBytes } as const;
}

type Fields = Readonly<Record<string, FieldType>>;
type ValueOf<T extends FieldType> = T["kind"] extends "bytes" ? Uint8Array : number | bigint;
type DecodedOf<T extends FieldType> = T["kind"] extends "bytes"
  ? Uint8Array
  : T["sizeBytes"] extends 8
    ? bigint
    : number;

export interface Struct<F extends Fields> {
  readonly sizeBytes: number;
  readonly offsets: { readonly [K in keyof F]: number };
  /** A new buffer of the struct's size; fields left out are zero. */
  encode(values: { readonly [K in keyof F]?: ValueOf<F[K]> }): Uint8Array;
  /** Reads the struct at `offset`; 64-bit fields are bigint. Byte fields are views, not copies. */
  decode(source: Uint8Array, offset?: number): { readonly [K in keyof F]: DecodedOf<F[K]> };
}

/**
 * Fields in order, each aligned to its size as the C compiler does; trailing padding to
 * `sizeBytes`. Laid out and checked when it is first used: a start uses few of all structs.
 */
export function struct<const F extends Fields>(sizeBytes: number, fields: F): Struct<F> {
  return new Layout(sizeBytes, fields);
}

class Layout<F extends Fields> implements Struct<F> {
  readonly sizeBytes: number;
  readonly #fields: F;
  #offsets: Readonly<Record<string, number>> | undefined;

  constructor(sizeBytes: number, fields: F) {
    this.sizeBytes = sizeBytes;
    this.#fields = fields;
  }

  get offsets(): { readonly [K in keyof F]: number } {
    this.#offsets ??= layOut(this.sizeBytes, this.#fields);
    // SAFE: layOut makes one offset for each key of the fields.
    return this.#offsets as { readonly [K in keyof F]: number };
  }

  encode(values: { readonly [K in keyof F]?: ValueOf<F[K]> }): Uint8Array {
    const target = new Uint8Array(this.sizeBytes);
    const offsets: Readonly<Record<string, number>> = this.offsets;
    for (const name of Object.keys(values)) {
      const value = values[name];
      const type = this.#fields[name];
      if (value !== undefined && type !== undefined)
        writeField(target, offsets[name] ?? 0, type, value, name);
    }
    return target;
  }

  decode(source: Uint8Array, offset = 0): { readonly [K in keyof F]: DecodedOf<F[K]> } {
    const view = new DataView(source.buffer, source.byteOffset + offset, this.sizeBytes);
    const offsets: Readonly<Record<string, number>> = this.offsets;
    const entries = Object.entries(this.#fields).map(([name, type]) => [
      name,
      readField(view, offsets[name] ?? 0, type),
    ]);
    // SAFE: one entry for each key of the fields, of the type that its row says.
    return Object.fromEntries(entries) as { readonly [K in keyof F]: DecodedOf<F[K]> };
  }
}

function layOut(sizeBytes: number, fields: Fields): Readonly<Record<string, number>> {
  const offsets: Record<string, number> = {};
  let end = 0;
  for (const [name, type] of Object.entries(fields)) {
    const alignment = type.kind === "bytes" ? 1 : type.sizeBytes;
    offsets[name] = Math.ceil(end / alignment) * alignment;
    end = offsets[name] + type.sizeBytes;
  }
  if (end > sizeBytes || sizeBytes - end >= 8)
    throw new Error(`Fields take ${end} bytes, but the struct has ${sizeBytes}`);
  return offsets;
}

function writeField(
  target: Uint8Array,
  offset: number,
  type: FieldType,
  value: number | bigint | Uint8Array,
  name: string,
): void {
  if (value instanceof Uint8Array) {
    if (type.kind !== "bytes" || value.length > type.sizeBytes)
      throw new RangeError(`Field "${name}" takes at most ${type.sizeBytes} bytes`);
    target.set(value, offset);
    return;
  }
  const view = new DataView(target.buffer);
  if (type.sizeBytes === 8) view.setBigUint64(offset, BigInt.asUintN(64, BigInt(value)), true);
  else if (type.sizeBytes === 4) view.setUint32(offset, Number(value), true);
  else if (type.sizeBytes === 2) view.setUint16(offset, Number(value), true);
  else view.setUint8(offset, Number(value));
}

function readField(view: DataView, offset: number, type: FieldType): number | bigint | Uint8Array {
  if (type.kind === "bytes")
    return new Uint8Array(view.buffer, view.byteOffset + offset, type.sizeBytes);
  const signed = type.kind === "int";
  switch (type.sizeBytes) {
    case 1:
      return signed ? view.getInt8(offset) : view.getUint8(offset);
    case 2:
      return signed ? view.getInt16(offset, true) : view.getUint16(offset, true);
    case 4:
      return signed ? view.getInt32(offset, true) : view.getUint32(offset, true);
    case 8:
      return signed ? view.getBigInt64(offset, true) : view.getBigUint64(offset, true);
  }
}
