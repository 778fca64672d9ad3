/**
 * The 512-byte tar header (POSIX.1-2017 pax "ustar Interchange Format"; GNU tar manual, "Basic Tar
 * Format").
 *
 *   0 name 100 | 100 mode 8 | 108 uid 8 | 116 gid 8 | 124 size 12 | 136 mtime 12 | 148 checksum 8
 * 156 type 1 | 157 linkname 100 | 257 magic 6 version 2 | 265 uname 32 | 297 gname 32
 * 329 devmajor 8 | 337 devminor 8 | 345 prefix 155 (ustar)
 * 345 atime 12 | 357 ctime 12 | 386 sparse 4×24 | 482 extended 1 | 483 real size 12 (GNU)
 */
import { type ByteString, bytesToString } from "../byte-string.ts";
import { LayerError } from "../errors.ts";

export const BLOCK_BYTES = 512;

export type TarFormat = "v7" | "ustar" | "star" | "gnu";

export interface TarHeader {
  readonly format: TarFormat;
  readonly type: string;
  readonly path: ByteString;
  readonly linkPath: ByteString;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly sizeBytes: number;
  readonly mtimeSeconds: number;
  readonly devMajor: number;
  readonly devMinor: number;
}

/** Decodes a header block; `where` names the place for error messages. */
export function decodeHeader(block: Uint8Array, where: string): TarHeader {
  verifyChecksum(block, where);
  const format = formatOf(block);
  const name = text(block, 0, 100);
  const prefixBytes = format === "ustar" ? 155 : format === "star" ? 131 : 0;
  const prefix = prefixBytes === 0 ? "" : text(block, 345, 345 + prefixBytes);
  const path = prefix === "" ? name : (`${prefix}/${name}` as ByteString); // SAFE: both are bytes
  const hasDevice = format !== "v7";
  return {
    format,
    type: String.fromCharCode(block[156] ?? 0),
    path,
    linkPath: text(block, 157, 257),
    mode: decodeNumber(block, 100, 8, "mode", where),
    uid: decodeNumber(block, 108, 8, "uid", where),
    gid: decodeNumber(block, 116, 8, "gid", where),
    sizeBytes: decodeNumber(block, 124, 12, "size", where),
    mtimeSeconds: decodeNumber(block, 136, 12, "mtime", where),
    devMajor: hasDevice ? decodeNumber(block, 329, 8, "devmajor", where) : 0,
    devMinor: hasDevice ? decodeNumber(block, 337, 8, "devminor", where) : 0,
  };
}

export function isZeroBlock(block: Uint8Array): boolean {
  for (let i = 0; i < BLOCK_BYTES; i++) if (block[i] !== 0) return false;
  return true;
}

/** An octal or, when its first bit is set, a base-256 number (GNU and star). */
export function decodeNumber(
  block: Uint8Array,
  offset: number,
  length: number,
  field: string,
  where: string,
): number {
  const first = block[offset] ?? 0;
  if ((first & 0x80) !== 0) return decodeBase256(block, offset, length, field, where);
  let i = offset;
  const end = offset + length;
  while (i < end && (block[i] === 0x20 || block[i] === 0)) i++;
  let value = 0;
  for (; i < end; i++) {
    const digit = (block[i] ?? 0) - 0x30;
    if (digit < 0 || digit > 7) break;
    value = value * 8 + digit; // 12 octal digits fit in 36 bits
  }
  if (i < end && block[i] !== 0 && block[i] !== 0x20)
    throw new LayerError(`Cannot read ${where}: its ${field} is no octal number`);
  return value;
}

function decodeBase256(
  block: Uint8Array,
  offset: number,
  length: number,
  field: string,
  where: string,
): number {
  const first = block[offset] ?? 0;
  const negative = (first & 0x40) !== 0;
  let value = negative ? (first & 0x7f) - 0x80 : first & 0x7f;
  for (let i = 1; i < length; i++) value = value * 256 + (block[offset + i] ?? 0);
  if (!Number.isSafeInteger(value))
    throw new LayerError(`Cannot read ${where}: its ${field} does not fit in 53 bits`);
  return value;
}

/** Historic tars summed signed bytes; both sums are accepted, as GNU tar does. */
function verifyChecksum(block: Uint8Array, where: string): void {
  let unsigned = 8 * 0x20;
  let signed = unsigned;
  for (let i = 0; i < BLOCK_BYTES; i++) {
    if (i === 148) i = 156; // the checksum field itself counts as spaces
    const byte = block[i] ?? 0;
    unsigned += byte;
    signed += byte < 0x80 ? byte : byte - 0x100;
  }
  const stored = decodeNumber(block, 148, 8, "checksum", where);
  if (stored !== unsigned && stored !== signed)
    throw new LayerError(
      `Cannot read ${where}: header checksum is ${stored}, expected ${unsigned}: no tar, or damaged`,
    );
}

function formatOf(block: Uint8Array): TarFormat {
  const magic = bytesToString(block, 257, 265);
  if (magic === "ustar  \0") return "gnu";
  if (!magic.startsWith("ustar\0")) return "v7";
  return bytesToString(block, 508, 512) === "tar\0" ? "star" : "ustar";
}

/** Bytes up to the first NUL. */
function text(block: Uint8Array, start: number, end: number): ByteString {
  let stop = start;
  while (stop < end && block[stop] !== 0) stop++;
  return bytesToString(block, start, stop);
}
