/** The tree that an EROFS image is made of, before it has places on disk. */
import type { ByteString } from "../byte-string.ts";
import type { TarEntry } from "../tar/entry.ts";

export const EXTENDED_INODE_BYTES = 64;

export type InodeType = Exclude<TarEntry["type"], "hardlink">;

/** Upper four bits of st_mode; inode(7). */
export const typeBits: Readonly<Record<InodeType, number>> = {
  fifo: 0o010000,
  character: 0o020000,
  directory: 0o040000,
  block: 0o060000,
  file: 0o100000,
  symlink: 0o120000,
};

/** file_type of a directory entry; erofs_fs.h takes them from linux/fs_types.h. */
export const direntTypes: Readonly<Record<InodeType, number>> = {
  file: 1,
  directory: 2,
  character: 3,
  block: 4,
  fifo: 5,
  symlink: 7,
};

export interface Inode {
  readonly type: InodeType;
  /** Permission bits; the type is not among them. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly mtimeSeconds: number;
  readonly mtimeNanoseconds: number;
  readonly devMajor: number;
  readonly devMinor: number;
  readonly xattrs: ReadonlyMap<ByteString, Uint8Array>;
  sizeBytes: number;
  /** Names that lead here; filled in when the tree is complete. */
  links: number;
  /** First block of the data; of a sparse file, none. */
  firstBlock: number;
  /** What does not fill a block, or everything of a symlink. */
  tail: Uint8Array;
  /** Of a sparse file: blocks of each chunk's start. */
  chunks: ChunkMap | undefined;
}

export interface ChunkMap {
  /** A chunk is 2 to this power blocks. */
  readonly bits: number;
  readonly blocks: Uint32Array;
}

/** A directory, with what the layers have said about names in it so far. */
export interface Directory {
  inode: Inode;
  /** Made because a layer named something below it, not because a layer described it. */
  implicit: boolean;
  readonly children: Map<ByteString, Node>;
  /** Names that a layer removed: the layer's index. Layers further down cannot bring them back. */
  readonly whiteouts: Map<ByteString, number>;
  /** The layer that made the directory opaque. */
  opaqueSince: number | undefined;
  readonly parent: Directory | undefined;
}

/** What a name leads to, and which layer (0 is the topmost) put it there. */
export interface Node {
  readonly layer: number;
  readonly inode: Inode;
  readonly directory: Directory | undefined;
}

const implicitMode = 0o755;
const noBytes = new Uint8Array(0);
const noXattrs: ReadonlyMap<ByteString, Uint8Array> = new Map();

export function inodeOf(entry: TarEntry, type: InodeType): Inode {
  return {
    type,
    mode: entry.mode,
    uid: entry.uid,
    gid: entry.gid,
    mtimeSeconds: entry.mtimeSeconds,
    mtimeNanoseconds: entry.mtimeNanoseconds,
    devMajor: entry.devMajor,
    devMinor: entry.devMinor,
    xattrs: entry.xattrs,
    sizeBytes: entry.sizeBytes,
    links: 0,
    firstBlock: 0,
    tail: noBytes,
    chunks: undefined,
  };
}

/** Owned by root, as every unpacker makes a directory that the archive does not describe. */
export function implicitDirectory(parent: Directory | undefined): Directory {
  const inode: Inode = {
    type: "directory",
    mode: implicitMode,
    uid: 0,
    gid: 0,
    mtimeSeconds: 0,
    mtimeNanoseconds: 0,
    devMajor: 0,
    devMinor: 0,
    xattrs: noXattrs,
    sizeBytes: 0,
    links: 0,
    firstBlock: 0,
    tail: noBytes,
    chunks: undefined,
  };
  return {
    inode,
    implicit: true,
    children: new Map(),
    whiteouts: new Map(),
    opaqueSince: undefined,
    parent,
  };
}
