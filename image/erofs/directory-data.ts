/**
 * Content of a directory: blocks that each hold their entries first, then the names.
 *
 * Entries are sorted by name, bytewise, across the whole directory: the kernel searches the blocks
 * and then the entries in halves (fs/erofs/namei.c).
 */
import { type ByteString, byteStringToBytes } from "../byte-string.ts";
import type { InodeType } from "./inode.ts";
import { direntTypes } from "./inode.ts";
import { BLOCK_BYTES, DIRENT_BYTES } from "./layout.ts";

export interface DirectoryEntry {
  readonly name: ByteString;
  readonly type: InodeType;
  /** Known when all inodes have their places. */
  readonly nid: () => number;
}

/** Bytes the entries take, so that places can be given before the numbers are known. */
export function directorySize(entries: readonly DirectoryEntry[]): number {
  const blocks = blocksOf(entries);
  const last = blocks.at(-1) ?? [];
  return (blocks.length - 1) * BLOCK_BYTES + usedBytes(last);
}

export function encodeDirectory(entries: readonly DirectoryEntry[]): Uint8Array {
  const target = new Uint8Array(directorySize(entries));
  blocksOf(entries).forEach((block, index) => {
    writeBlock(target.subarray(index * BLOCK_BYTES), block);
  });
  return target;
}

function writeBlock(target: Uint8Array, entries: readonly DirectoryEntry[]): void {
  const view = new DataView(target.buffer, target.byteOffset, target.byteLength);
  let nameOffset = entries.length * DIRENT_BYTES;
  entries.forEach((entry, index) => {
    const at = index * DIRENT_BYTES;
    view.setBigUint64(at, BigInt(entry.nid()), true);
    view.setUint16(at + 8, nameOffset, true);
    view.setUint8(at + 10, direntTypes[entry.type]);
    target.set(byteStringToBytes(entry.name), nameOffset);
    nameOffset += entry.name.length;
  });
}

function blocksOf(entries: readonly DirectoryEntry[]): readonly (readonly DirectoryEntry[])[] {
  const blocks: DirectoryEntry[][] = [];
  let room = 0;
  for (const entry of [...entries].sort((a, b) => (a.name < b.name ? -1 : 1))) {
    const needed = DIRENT_BYTES + entry.name.length;
    if (needed > room) {
      blocks.push([]);
      room = BLOCK_BYTES;
    }
    blocks.at(-1)?.push(entry);
    room -= needed;
  }
  return blocks;
}

function usedBytes(entries: readonly DirectoryEntry[]): number {
  return entries.reduce((sum, entry) => sum + DIRENT_BYTES + entry.name.length, 0);
}
