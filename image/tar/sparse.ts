/**
 * Sparse files, as GNU tar writes them (GNU tar manual, "Storing Sparse Files"):
 *
 * - old GNU, type `S`: four extents in the header, 21 in each extension block that follows;
 * - PAX 0.0: repeated `GNU.sparse.offset` and `GNU.sparse.numbytes`;
 * - PAX 0.1: `GNU.sparse.map`, comma-separated;
 * - PAX 1.0: the map opens the body, one decimal number a line, padded to a block.
 */
import { bytesToString } from "../byte-string.ts";
import { LayerError, LimitError } from "../errors.ts";
import type { LayerLimits } from "../limits.ts";
import { BLOCK_BYTES, decodeNumber } from "./header.ts";
import { decodePaxInteger, type PaxRecord } from "./pax.ts";

/** A run of data inside a file; all between runs is a hole. */
export interface Extent {
  readonly offset: number;
  readonly length: number;
}

const HEADER_EXTENTS = 386;
const EXTENT_BYTES = 24;

/** Extents in a type `S` header or in one of its extension blocks, and whether another follows. */
export function decodeOldGnuExtents(
  block: Uint8Array,
  kind: "header" | "extension",
  where: string,
): { readonly extents: Extent[]; readonly more: boolean } {
  const start = kind === "header" ? HEADER_EXTENTS : 0;
  const count = kind === "header" ? 4 : 21;
  const extents: Extent[] = [];
  for (let i = 0; i < count; i++) {
    const at = start + i * EXTENT_BYTES;
    if (block[at] === 0) break; // an unused slot is all NUL
    extents.push({
      offset: decodeNumber(block, at, 12, "sparse offset", where),
      length: decodeNumber(block, at + 12, 12, "sparse length", where),
    });
  }
  return { extents, more: block[start + count * EXTENT_BYTES] !== 0 };
}

/** Size of the whole file in a type `S` header. */
export function decodeOldGnuRealSize(block: Uint8Array, where: string): number {
  return decodeNumber(block, 483, 12, "real size", where);
}

export interface PaxSparse {
  /** True for format 1.0, whose extents open the body. */
  readonly mapInBody: boolean;
  readonly extents: Extent[];
  readonly realSizeBytes?: number;
}

/** What PAX records say about sparseness; undefined when they say nothing. */
export function decodePaxSparse(
  records: readonly PaxRecord[],
  limits: LayerLimits,
  where: string,
): PaxSparse | undefined {
  let major = 0;
  let realSizeBytes: number | undefined;
  let mapped = false;
  const numbers: number[] = [];
  for (const { key, value } of records) {
    if (!key.startsWith("GNU.sparse.")) continue;
    const integer = () => decodePaxInteger(value, key, where);
    if (key === "GNU.sparse.major") major = integer();
    else if (key === "GNU.sparse.size" || key === "GNU.sparse.realsize") realSizeBytes = integer();
    else if (key === "GNU.sparse.map") mapped = decodeMap(value, numbers, limits, where);
    else if (key === "GNU.sparse.numblocks") mapped = true;
    else if (key === "GNU.sparse.offset" || key === "GNU.sparse.numbytes") {
      const wantsOffset = numbers.length % 2 === 0;
      if (wantsOffset !== (key === "GNU.sparse.offset"))
        throw new LayerError(`Cannot read ${where}: its sparse offsets and lengths do not pair up`);
      numbers.push(integer());
    }
    if (numbers.length > 2 * limits.maxSparseExtents) throw tooManyExtents(limits, where);
  }
  if (major > 1)
    throw new LayerError(
      `Cannot read ${where}: sparse format ${major} is unknown, expected 0 or 1`,
    );
  if (major === 0 && !mapped) return undefined;
  const extents = pairUp(numbers, where);
  const size = realSizeBytes === undefined ? {} : { realSizeBytes };
  return { mapInBody: major === 1, extents, ...size };
}

/**
 * Collects the map that opens a format 1.0 body; give it blocks until `done`.
 * The map's own blocks count towards the body's size.
 */
export class BodyMapDecoder {
  readonly #limits: LayerLimits;
  readonly #where: string;
  readonly #numbers: number[] = [];
  #expected = -1;
  #partial = "";
  done = false;

  constructor(limits: LayerLimits, where: string) {
    this.#limits = limits;
    this.#where = where;
  }

  push(block: Uint8Array): void {
    const lines = (this.#partial + bytesToString(block, 0, BLOCK_BYTES)).split("\n");
    this.#partial = lines.pop() ?? "";
    for (const line of lines) {
      if (!/^\d{1,15}$/.test(line)) throw this.#damaged();
      if (this.#expected < 0) this.#expected = 2 * Number(line);
      else this.#numbers.push(Number(line));
      if (this.#expected > 2 * this.#limits.maxSparseExtents)
        throw tooManyExtents(this.#limits, this.#where);
      if (this.#numbers.length === this.#expected) {
        this.done = true;
        return;
      }
    }
    if (this.#partial.length > 20) throw this.#damaged();
  }

  extents(): Extent[] {
    return pairUp(this.#numbers, this.#where);
  }

  #damaged(): LayerError {
    return new LayerError(`Cannot read ${this.#where}: its sparse map holds no decimal numbers`);
  }
}

/** Refuses extents that overlap, run backwards or leave the file. Drops empty ones. */
export function checkExtents(
  extents: readonly Extent[],
  realSizeBytes: number,
  dataBytes: number,
  where: string,
): Extent[] {
  let end = 0;
  let total = 0;
  for (const extent of extents) {
    if (extent.offset < end || extent.offset + extent.length > realSizeBytes)
      throw new LayerError(
        `Cannot read ${where}: sparse extent at ${extent.offset} overlaps another or leaves the file`,
      );
    end = extent.offset + extent.length;
    total += extent.length;
  }
  if (total !== dataBytes)
    throw new LayerError(
      `Cannot read ${where}: sparse extents hold ${total} bytes, its body ${dataBytes}`,
    );
  return extents.filter((extent) => extent.length > 0);
}

export function tooManyExtents(limits: LayerLimits, where: string): LimitError {
  return new LimitError(
    `Cannot read ${where}: more than ${limits.maxSparseExtents} sparse extents`,
    "maxSparseExtents",
  );
}

function decodeMap(
  value: Uint8Array,
  numbers: number[],
  limits: LayerLimits,
  where: string,
): boolean {
  if (value.length === 0) return true;
  for (const part of bytesToString(value).split(",")) {
    if (!/^\d{1,15}$/.test(part))
      throw new LayerError(`Cannot read ${where}: its sparse map holds no decimal numbers`);
    numbers.push(Number(part));
    if (numbers.length > 2 * limits.maxSparseExtents) throw tooManyExtents(limits, where);
  }
  return true;
}

function pairUp(numbers: readonly number[], where: string): Extent[] {
  if (numbers.length % 2 !== 0)
    throw new LayerError(`Cannot read ${where}: its sparse offsets and lengths do not pair up`);
  const extents: Extent[] = [];
  for (let i = 0; i < numbers.length; i += 2)
    extents.push({ offset: numbers[i] ?? 0, length: numbers[i + 1] ?? 0 });
  return extents;
}
