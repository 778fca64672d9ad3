/**
 * EROFS on disk. All fields little endian. Source: fs/erofs/erofs_fs.h of Linux 6.1 and
 * https://docs.kernel.org/filesystems/erofs.html.
 *
 * ```
 * block 0   superblock at +1024
 * block 1…  file data, as the layers delivered it
 *      …    directory data
 * meta …    inodes of 64 bytes, each followed by its xattrs and the tail of its data;
 *           an inode's number (nid) is its offset from here, divided by 32
 * ```
 */
import { makeDevice } from "../../linux/index.ts";
import { EXTENDED_INODE_BYTES, type Inode, typeBits } from "./inode.ts";

export const BLOCK_BITS = 12;
export const BLOCK_BYTES = 1 << BLOCK_BITS;
/** Inodes are numbered in units of this many bytes. */
export const SLOT_BYTES = 32;
export const DIRENT_BYTES = 12;
/** A block number that says "hole" in a chunk map. */
export const HOLE = 0xffff_ffff;
/** Blocks are numbered with 32 bits. */
export const MAX_BLOCKS = 0xffff_ffff;

const MAGIC = 0xe0f5_e1e2;
const SUPERBLOCK_OFFSET = 1024;
const FEATURE_COMPAT_CHECKSUM = 0x1;
const FEATURE_INCOMPAT_CHUNKED_FILE = 0x4;

/** i_format: bit 0 says "extended", bits 1 to 3 where the data are. */
export const dataLayout = { plain: 0, inline: 2, chunk: 4 } as const;
export type DataLayout = (typeof dataLayout)[keyof typeof dataLayout];
const EXTENDED = 1;

export interface Superblock {
  readonly rootNid: number;
  readonly inodes: number;
  readonly blocks: number;
  readonly metaBlock: number;
  readonly hasChunkedFiles: boolean;
  /** 16 bytes. */
  readonly uuid: Uint8Array;
}

/** Block 0, checksum included. */
export function encodeSuperblock(superblock: Superblock): Uint8Array {
  const block = new Uint8Array(BLOCK_BYTES);
  const view = new DataView(block.buffer, SUPERBLOCK_OFFSET);
  view.setUint32(0, MAGIC, true);
  view.setUint32(8, FEATURE_COMPAT_CHECKSUM, true);
  view.setUint8(12, BLOCK_BITS);
  view.setUint16(14, superblock.rootNid, true);
  view.setBigUint64(16, BigInt(superblock.inodes), true);
  // Build time stays 0: the same layers give the same image, byte for byte.
  view.setUint32(36, superblock.blocks, true);
  view.setUint32(40, superblock.metaBlock, true);
  block.set(superblock.uuid, SUPERBLOCK_OFFSET + 48);
  view.setUint32(80, superblock.hasChunkedFiles ? FEATURE_INCOMPAT_CHUNKED_FILE : 0, true);
  view.setUint32(4, crc32c(block.subarray(SUPERBLOCK_OFFSET)), true);
  return block;
}

/** Where an inode's data are, once decided: a block number, or the format of a chunk map. */
export interface InodePlace {
  readonly layout: DataLayout;
  readonly block: number;
  /** Number that stat(2) shows; ours is the nid. */
  readonly number: number;
  readonly xattrBytes: number;
}

/** Whether inode, attributes and the tail of the data fit into one block together. */
export function canInline(tailBytes: number, xattrBytes: number): boolean {
  return EXTENDED_INODE_BYTES + xattrBytes + tailBytes <= BLOCK_BYTES;
}

/** Writes the 64 bytes of an inode at `offset`. */
export function writeInode(
  target: Uint8Array,
  offset: number,
  inode: Inode,
  place: InodePlace,
): void {
  const view = new DataView(target.buffer, target.byteOffset + offset, EXTENDED_INODE_BYTES);
  view.setUint16(0, EXTENDED | (place.layout << 1), true);
  view.setUint16(2, place.xattrBytes === 0 ? 0 : (place.xattrBytes - 12) / 4 + 1, true);
  view.setUint16(4, typeBits[inode.type] | inode.mode, true);
  view.setBigUint64(8, BigInt(inode.sizeBytes), true);
  const isDevice = inode.type === "character" || inode.type === "block";
  view.setUint32(16, isDevice ? makeDevice(inode.devMajor, inode.devMinor) : place.block, true);
  view.setUint32(20, place.number, true);
  view.setUint32(24, inode.uid, true);
  view.setUint32(28, inode.gid, true);
  view.setBigInt64(32, BigInt(inode.mtimeSeconds), true);
  view.setUint32(40, inode.mtimeNanoseconds, true);
  view.setUint32(44, inode.links, true);
}

/** Reflected polynomial of CRC-32C (Castagnoli). */
const POLYNOMIAL = 0x82f6_3b78;

/** CRC-32C as the kernel's crc32c(~0, …) has it: without the final inversion. */
export function crc32c(bytes: Uint8Array): number {
  let crc = 0xffff_ffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc >>> 1) ^ (crc & 1 ? POLYNOMIAL : 0);
  }
  return crc >>> 0;
}
