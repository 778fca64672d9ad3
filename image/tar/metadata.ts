/**
 * What precedes a header and changes its meaning: PAX records (local and global), GNU long names.
 *
 * POSIX.1-2017 pax: a local record wins over a global one, which wins over the header; an empty
 * value deletes what came before.
 */
import { type ByteString, byteStringToText, bytesToString } from "../byte-string.ts";
import { LayerError, LimitError } from "../errors.ts";
import type { LayerLimits } from "../limits.ts";
import type { EntryType, TarEntry } from "./entry.ts";
import type { TarHeader } from "./header.ts";
import { decodePax, decodePaxInteger, decodePaxTime, type PaxRecord } from "./pax.ts";
import {
  checkExtents,
  decodeOldGnuRealSize,
  decodePaxSparse,
  type Extent,
  type PaxSparse,
} from "./sparse.ts";

const XATTR_PREFIX = "SCHILY.xattr.";
const LIBARCHIVE_XATTR_PREFIX = "LIBARCHIVE.xattr.";
const NO_XATTRS: ReadonlyMap<ByteString, Uint8Array> = new Map();

const entryTypes: Readonly<Record<string, EntryType>> = {
  "\0": "file",
  "0": "file",
  "7": "file", // contiguous file
  S: "file",
  "1": "hardlink",
  "2": "symlink",
  "3": "character",
  "4": "block",
  "5": "directory",
  D: "directory", // GNU incremental: the body lists names
  "6": "fifo",
};

interface EntryParts {
  readonly header: TarHeader;
  readonly headerBlock: Uint8Array;
  readonly bodyBytes: number;
  readonly extents: readonly Extent[] | undefined;
  readonly offset: number;
  readonly where: string;
}

export class Metadata {
  readonly #limits: LayerLimits;
  #global: readonly PaxRecord[] = [];
  #local: readonly PaxRecord[] = [];
  #records: readonly PaxRecord[] = [];
  #byKey: Map<string, Uint8Array> | undefined;
  #longName: ByteString | undefined;
  #longLink: ByteString | undefined;
  #bytes = 0;
  #sparse: PaxSparse | undefined;
  #pending = false;

  constructor(limits: LayerLimits) {
    this.#limits = limits;
  }

  /** True when no extended header waits for its entry. */
  get isEmpty(): boolean {
    return !this.#pending;
  }

  get mapInBody(): boolean {
    return this.#sparse?.mapInBody ?? false;
  }

  /** Takes the body of a `x`, `g`, `L` or `K` header. */
  add(type: string, body: Uint8Array, where: string): void {
    this.#bytes += body.length;
    if (this.#bytes > this.#limits.maxMetadataBytes)
      throw new LimitError(
        `Cannot read ${where}: its extended headers have more than ` +
          `${this.#limits.maxMetadataBytes} bytes`,
        "maxMetadataBytes",
      );
    this.#pending = type !== "g" || this.#pending;
    if (type === "L") this.#longName = untilNul(body);
    else if (type === "K") this.#longLink = untilNul(body);
    else if (type === "g") this.#addGlobal(decodePax(body, where));
    else this.#local = [...this.#local, ...decodePax(body, where)];
  }

  /** How many bytes follow the header; also settles which records hold. */
  bodyBytes(header: TarHeader, where: string): number {
    const plain = this.#global.length === 0 && this.#local.length === 0;
    this.#records = plain ? [] : [...this.#global, ...this.#local];
    this.#byKey = plain ? undefined : indexRecords(this.#records);
    this.#sparse = plain ? undefined : decodePaxSparse(this.#local, this.#limits, where);
    const hasBody = entryTypes[header.type] === "file" || header.type === "D";
    if (!hasBody) return 0; // whatever the size says, as Go's and GNU's readers do
    const stated = this.#integer("size", where) ?? header.sizeBytes;
    if (stated < 0) throw new LayerError(`Cannot read ${where}: its size is negative`);
    return stated;
  }

  complete(parts: EntryParts): TarEntry {
    const { header, where } = parts;
    const type = entryTypes[header.type];
    if (type === undefined)
      throw new LayerError(
        `Cannot read ${where}: its type is ${quoteType(header.type)}, expected a file, link, ` +
          "directory, device or fifo",
      );
    const path = this.#path(header, where);
    // v7 had no directories but a slash at the end of the name.
    const isDirectory = type === "directory" || (header.type === "\0" && path.endsWith("/"));
    const { sizeBytes, extents } = this.#size(parts, isDirectory ? "directory" : type);
    const time = this.#value("mtime");
    const mtime =
      time === undefined
        ? { seconds: header.mtimeSeconds, nanoseconds: 0 }
        : decodePaxTime(time, where);
    const isDevice = type === "character" || type === "block";
    return {
      type: isDirectory ? "directory" : type,
      path: trimSlashes(path),
      linkPath: this.#linkPath(header, type, where),
      mode: header.mode & 0o7777,
      uid: this.#id("uid", header.uid, where),
      gid: this.#id("gid", header.gid, where),
      sizeBytes,
      mtimeSeconds: mtime.seconds,
      mtimeNanoseconds: mtime.nanoseconds,
      devMajor: isDevice ? deviceNumber(header.devMajor, where) : 0,
      devMinor: isDevice ? deviceNumber(header.devMinor, where) : 0,
      xattrs: this.#xattrs(where),
      extents,
      offset: parts.offset,
    };
  }

  /** Forgets what belonged to the entry just completed. */
  reset(): void {
    this.#local = [];
    this.#longName = undefined;
    this.#longLink = undefined;
    this.#bytes = 0;
    this.#pending = false;
  }

  /** Names the entry that the next header describes, as far as it is known. */
  where(header: TarHeader | undefined, offset: number): string {
    const pax = this.#local.findLast((record) => record.key === "path")?.value;
    const path = this.#longName ?? (pax && bytesToString(pax)) ?? header?.path;
    if (path === undefined) return `the tar header at byte ${offset}`;
    const shown = byteStringToText(path);
    return `tar entry ${JSON.stringify(shown.length > 200 ? `${shown.slice(0, 200)}…` : shown)} at byte ${offset}`;
  }

  #addGlobal(records: readonly PaxRecord[]): void {
    const merged = new Map(this.#global.map((record) => [record.key, record]));
    let bytes = 0;
    for (const record of records) {
      if (record.value.length === 0) merged.delete(record.key);
      else merged.set(record.key, record);
    }
    for (const record of merged.values()) bytes += record.key.length + record.value.length;
    if (bytes > this.#limits.maxMetadataBytes)
      throw new LimitError(
        `Cannot keep more than ${this.#limits.maxMetadataBytes} bytes of global PAX records`,
        "maxMetadataBytes",
      );
    this.#global = [...merged.values()];
  }

  #path(header: TarHeader, where: string): ByteString {
    const pax = this.#value("GNU.sparse.name") ?? this.#value("path");
    const path = pax === undefined ? (this.#longName ?? header.path) : bytesToString(pax);
    if (path === "") throw new LayerError(`Cannot read ${where}: its name is empty`);
    this.#checkPath(path, "name", where);
    return path;
  }

  #linkPath(header: TarHeader, type: EntryType, where: string): ByteString {
    if (type !== "hardlink" && type !== "symlink") return "" as ByteString; // SAFE: no bytes
    const pax = this.#value("linkpath");
    const path = pax === undefined ? (this.#longLink ?? header.linkPath) : bytesToString(pax);
    if (path === "") throw new LayerError(`Cannot read ${where}: its link target is empty`);
    this.#checkPath(path, "link target", where);
    return path;
  }

  #checkPath(path: ByteString, what: string, where: string): void {
    if (path.length > this.#limits.maxPathBytes)
      throw new LimitError(
        `Cannot read ${where}: its ${what} has ${path.length} bytes, ` +
          `the limit is ${this.#limits.maxPathBytes}`,
        "maxPathBytes",
      );
    if (path.includes("\0")) throw new LayerError(`Cannot read ${where}: its ${what} holds a NUL`);
  }

  #size(
    parts: EntryParts,
    type: EntryType,
  ): { readonly sizeBytes: number; readonly extents: readonly Extent[] | undefined } {
    const { header, headerBlock, bodyBytes, where } = parts;
    if (type !== "file") return { sizeBytes: 0, extents: undefined };
    if (header.type !== "S" && this.#sparse === undefined)
      return { sizeBytes: bodyBytes, extents: undefined };
    const real =
      this.#sparse === undefined
        ? decodeOldGnuRealSize(headerBlock, where)
        : (this.#sparse.realSizeBytes ?? bodyBytes);
    if (real < 0 || real > this.#limits.maxFileBytes)
      throw new LimitError(
        `Cannot read ${where}: as a sparse file it has ${real} bytes, ` +
          `the limit is ${this.#limits.maxFileBytes}`,
        "maxFileBytes",
      );
    const extents = parts.extents ?? this.#sparse?.extents ?? [];
    return { sizeBytes: real, extents: checkExtents(extents, real, bodyBytes, where) };
  }

  #xattrs(where: string): ReadonlyMap<ByteString, Uint8Array> {
    if (this.#byKey === undefined) return NO_XATTRS;
    let xattrs: Map<ByteString, Uint8Array> | undefined;
    for (const { key, value } of this.#records) {
      const pair = decodeXattr(key, value, where);
      if (pair === undefined) continue;
      xattrs ??= new Map();
      xattrs.set(pair.name, pair.value);
    }
    return xattrs ?? NO_XATTRS;
  }

  #value(key: string): Uint8Array | undefined {
    const value = this.#byKey?.get(key);
    return value === undefined || value.length === 0 ? undefined : value;
  }

  #integer(key: string, where: string): number | undefined {
    const value = this.#value(key);
    return value === undefined ? undefined : decodePaxInteger(value, key, where);
  }

  /** chown(2) takes 32 bits, and the highest value means "leave as it is". */
  #id(key: "uid" | "gid", inHeader: number, where: string): number {
    const id = this.#integer(key, where) ?? inHeader;
    if (id >= 0 && id < 0xffff_ffff) return id;
    throw new LayerError(`Cannot read ${where}: its ${key} is ${id}, expected 0 to 4294967294`);
  }
}

function indexRecords(records: readonly PaxRecord[]): Map<string, Uint8Array> {
  return new Map(records.map((record) => [record.key, record.value]));
}

/**
 * star's `SCHILY.xattr.NAME` holds the bytes as they are; libarchive's `LIBARCHIVE.xattr.NAME`
 * percent-encodes the name and base64-encodes the value (libarchive, archive_write_set_format_pax).
 */
function decodeXattr(
  key: string,
  value: Uint8Array,
  where: string,
): { readonly name: ByteString; readonly value: Uint8Array } | undefined {
  if (key.startsWith(XATTR_PREFIX)) {
    const name = key.slice(XATTR_PREFIX.length);
    if (name === "") throw new LayerError(`Cannot read ${where}: an xattr has no name`);
    return { name: name as ByteString, value }; // SAFE: keys are byte strings
  }
  if (!key.startsWith(LIBARCHIVE_XATTR_PREFIX)) return undefined;
  const encoded = key.slice(LIBARCHIVE_XATTR_PREFIX.length);
  const name = encoded.replace(/%([0-9A-Fa-f]{2})/g, (_, hex: string) =>
    String.fromCharCode(Number.parseInt(hex, 16)),
  );
  if (name === "") throw new LayerError(`Cannot read ${where}: an xattr has no name`);
  const decoded = Buffer.from(bytesToString(value), "base64");
  return { name: name as ByteString, value: decoded }; // SAFE: escapes yield single bytes
}

function deviceNumber(number: number, where: string): number {
  if (number >= 0 && number <= 0xffff_ffff) return number;
  throw new LayerError(`Cannot read ${where}: its device number is ${number}`);
}

function trimSlashes(path: ByteString): ByteString {
  let end = path.length;
  while (end > 1 && path.charCodeAt(end - 1) === 0x2f) end--;
  return end === path.length ? path : (path.slice(0, end) as ByteString); // SAFE: a part of bytes
}

function untilNul(bytes: Uint8Array): ByteString {
  const nul = bytes.indexOf(0);
  return bytesToString(bytes, 0, nul < 0 ? bytes.length : nul);
}

function quoteType(type: string): string {
  return /^[\x21-\x7e]$/.test(type) ? `"${type}"` : `0x${type.charCodeAt(0).toString(16)}`;
}
