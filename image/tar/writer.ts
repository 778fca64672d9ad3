/**
 * Tar writer: ustar headers, with PAX records for whatever they cannot hold.
 *
 * Ours because tar-stream writes PAX values as UTF-8 text, which destroys binary extended
 * attributes. The result is deterministic: same entries, same bytes.
 */
import { type ByteString, byteStringToText } from "../byte-string.ts";
import type { EntryType } from "./entry.ts";
import { BLOCK_BYTES } from "./header.ts";

/** An entry to write; what is left out is 0, empty or the type's usual mode. */
export interface TarRecord {
  readonly type: EntryType;
  readonly path: ByteString;
  readonly linkPath?: ByteString;
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  readonly sizeBytes?: number;
  readonly mtimeSeconds?: number;
  readonly mtimeNanoseconds?: number;
  readonly devMajor?: number;
  readonly devMinor?: number;
  readonly xattrs?: ReadonlyMap<ByteString, Uint8Array>;
}

const typeFlags: Readonly<Record<EntryType, string>> = {
  file: "0",
  hardlink: "1",
  symlink: "2",
  character: "3",
  block: "4",
  directory: "5",
  fifo: "6",
};

const MAX_OCTAL_11 = 0o77777777777;
const MAX_OCTAL_7 = 0o7777777;

/** Two zero blocks (POSIX.1-2017 pax, "ustar Interchange Format"). */
export const endOfArchive: Uint8Array = new Uint8Array(2 * BLOCK_BYTES);

/** The header of an entry, PAX header included; its body and `padding` follow. */
export function encodeEntry(record: TarRecord): Uint8Array {
  const path = record.type === "directory" ? withSlash(record.path) : record.path;
  const records = paxRecords(record, path);
  const header = encodeHeader(record, path, typeFlags[record.type], record.sizeBytes ?? 0);
  if (records.length === 0) return header;
  const body = Buffer.concat(records);
  const name = `PaxHeaders/${path.split("/").findLast((part) => part !== "") ?? ""}` as ByteString;
  const extended = encodeHeader({ type: "file", path: name }, name, "x", body.length);
  return Buffer.concat([extended, body, padding(body.length), header]);
}

/** Zeros that fill a body up to a whole block. */
export function padding(sizeBytes: number): Uint8Array {
  return endOfArchive.subarray(0, (BLOCK_BYTES - (sizeBytes % BLOCK_BYTES)) % BLOCK_BYTES);
}

function encodeHeader(
  record: TarRecord,
  path: ByteString,
  typeFlag: string,
  sizeBytes: number,
): Buffer {
  const block = Buffer.alloc(BLOCK_BYTES);
  const seconds = Math.floor(record.mtimeSeconds ?? 0);
  const split = splitPath(path);
  block.write(split?.name ?? path.slice(0, 100), 0, 100, "latin1");
  octal(block, 100, 8, record.mode ?? (record.type === "directory" ? 0o755 : 0o644));
  octal(block, 108, 8, Math.min(record.uid ?? 0, MAX_OCTAL_7));
  octal(block, 116, 8, Math.min(record.gid ?? 0, MAX_OCTAL_7));
  octal(block, 124, 12, Math.min(sizeBytes, MAX_OCTAL_11));
  octal(block, 136, 12, Math.min(Math.max(0, seconds), MAX_OCTAL_11));
  block.write(typeFlag, 156, 1, "latin1");
  block.write(record.linkPath ?? "", 157, 100, "latin1");
  block.write("ustar\x0000", 257, 8, "latin1");
  octal(block, 329, 8, Math.min(record.devMajor ?? 0, MAX_OCTAL_7));
  octal(block, 337, 8, Math.min(record.devMinor ?? 0, MAX_OCTAL_7));
  block.write(split?.prefix ?? "", 345, 155, "latin1");
  block.fill(0x20, 148, 156);
  let sum = 0;
  for (const byte of block) sum += byte;
  octal(block, 148, 7, sum);
  return block;
}

/** What the header cannot hold, as PAX records in a fixed order. */
function paxRecords(record: TarRecord, path: ByteString): Buffer[] {
  const records: Buffer[] = [];
  const add = (key: string, value: string | Uint8Array) => records.push(encodePax(key, value));
  const { linkPath = "", uid = 0, gid = 0, sizeBytes = 0 } = record;
  const { mtimeSeconds = 0, mtimeNanoseconds = 0 } = record;
  const { devMajor = 0, devMinor = 0 } = record;
  if (splitPath(path) === undefined || !isAscii(path)) add("path", path);
  if (linkPath.length > 100 || !isAscii(linkPath)) add("linkpath", linkPath);
  if (uid > MAX_OCTAL_7) add("uid", String(uid));
  if (gid > MAX_OCTAL_7) add("gid", String(gid));
  if (sizeBytes > MAX_OCTAL_11) add("size", String(sizeBytes));
  if (mtimeNanoseconds !== 0 || mtimeSeconds < 0 || mtimeSeconds > MAX_OCTAL_11)
    add("mtime", formatTime(mtimeSeconds, mtimeNanoseconds));
  if (devMajor > MAX_OCTAL_7 || devMinor > MAX_OCTAL_7)
    throw new RangeError(
      `Cannot write "${byteStringToText(path)}" to a tar: device ${devMajor}:${devMinor} ` +
        `is too large, expected at most ${MAX_OCTAL_7}`,
    );
  for (const [name, value] of [...(record.xattrs ?? [])].sort(byName))
    add(`SCHILY.xattr.${name}`, value);
  return records;
}

function encodePax(key: string, value: string | Uint8Array): Buffer {
  const bytes = typeof value === "string" ? Buffer.from(value, "latin1") : value;
  const rest = key.length + bytes.length + 3; // space, equals sign, newline
  let length = rest + String(rest).length;
  if (length !== rest + String(length).length) length = rest + String(length).length;
  return Buffer.concat([
    Buffer.from(`${length} ${key}=`, "latin1"),
    bytes,
    Buffer.from("\n", "latin1"),
  ]);
}

function formatTime(seconds: number, nanoseconds: number): string {
  if (seconds >= 0 || nanoseconds === 0) return `${seconds}${fraction(nanoseconds)}`;
  const whole = -seconds - 1; // -2 s + 500000000 ns is -1.5
  return `-${whole}${fraction(1e9 - nanoseconds)}`;
}

function fraction(nanoseconds: number): string {
  if (nanoseconds === 0) return "";
  return `.${String(nanoseconds).padStart(9, "0").replace(/0+$/, "")}`;
}

/** Splits a path at a slash into ustar's name (100) and prefix (155), if it can be. */
function splitPath(path: ByteString): { name: string; prefix: string } | undefined {
  if (path.length <= 100) return { name: path, prefix: "" };
  const slash = path.indexOf("/", path.length - 101);
  if (slash < 1 || slash > 155 || slash === path.length - 1) return undefined;
  return { name: path.slice(slash + 1), prefix: path.slice(0, slash) };
}

function octal(block: Buffer, offset: number, length: number, value: number): void {
  block.write(value.toString(8).padStart(length - 1, "0"), offset, length - 1, "latin1");
}

function withSlash(path: ByteString): ByteString {
  return path.endsWith("/") ? path : (`${path}/` as ByteString); // SAFE: a slash is a byte
}

function isAscii(text: string): boolean {
  return /^[\x00-\x7f]*$/.test(text);
}

function byName(a: readonly [string, unknown], b: readonly [string, unknown]): number {
  return a[0] < b[0] ? -1 : a[0] > b[0] ? 1 : 0;
}
