/** Writes an EROFS image from the layers of an image, streaming. */
import { createHash } from "node:crypto";
import type { ByteString } from "../byte-string.ts";
import { LimitError } from "../errors.ts";
import type { TarEntry, TarSink } from "../tar/entry.ts";
import { DataArea } from "./data-area.ts";
import { type DirectoryEntry, directorySize, encodeDirectory } from "./directory-data.ts";
import type { ImageFile } from "./image-file.ts";
import { type Directory, EXTENDED_INODE_BYTES, type Inode } from "./inode.ts";
import {
  BLOCK_BYTES,
  canInline,
  type DataLayout,
  dataLayout,
  encodeSuperblock,
  MAX_BLOCKS,
  SLOT_BYTES,
  writeInode,
} from "./layout.ts";
import { LayerMerger } from "./merge.ts";
import { encodeXattrs } from "./xattrs.ts";

/** The first slots stay empty: some programs take an inode number of 0 for a deleted file. */
const FIRST_INODE_OFFSET = 2 * SLOT_BYTES;
const UUID_BYTES = 16;

export interface ErofsSummary {
  readonly sizeBytes: number;
  readonly inodes: number;
}

interface Placed {
  readonly inode: Inode;
  readonly xattrs: Uint8Array;
  readonly layout: DataLayout;
  /** From the start of the metadata area, in bytes. */
  readonly offset: number;
}

/** Feed it the layers, topmost first: `beginLayer`, then the entries as a tar reader's sink. */
export class ErofsBuilder implements TarSink {
  readonly #file: ImageFile;
  readonly #data: DataArea;
  readonly #merger: LayerMerger;
  readonly #places = new Map<Inode, Placed>();
  readonly #directories = new Map<Inode, readonly DirectoryEntry[]>();

  constructor(file: ImageFile) {
    this.#file = file;
    this.#data = new DataArea(file);
    this.#merger = new LayerMerger(this.#data);
  }

  beginLayer(): void {
    this.#merger.beginLayer();
  }
  entry(entry: TarEntry): void {
    this.#merger.entry(entry);
  }
  data(bytes: Uint8Array, position: number): void {
    this.#merger.data(bytes, position);
  }
  end(): void {
    this.#merger.end();
  }

  /** Writes directories, inodes and superblock. `seed` decides the image's UUID. */
  finish(seed: string): ErofsSummary {
    this.#merger.finish();
    this.#listDirectories(this.#merger.root, this.#merger.root);
    for (const [inode, entries] of this.#directories) this.#reserveDirectory(inode, entries);
    const metaBytes = this.#placeInodes();
    const metaBlock = this.#data.reserve(Math.ceil(metaBytes / BLOCK_BYTES));
    const blocks = this.#data.nextBlock;
    if (blocks > MAX_BLOCKS)
      throw new LimitError(
        `The image needs ${blocks} blocks, EROFS has ${MAX_BLOCKS}`,
        "MAX_BLOCKS",
      );
    for (const [inode, entries] of this.#directories) this.#writeDirectory(inode, entries);
    for (const placed of this.#places.values()) this.#writeInode(placed, metaBlock * BLOCK_BYTES);
    const inodes = [...this.#places.keys()];
    const superblock = {
      rootNid: this.#nid(this.#merger.root.inode),
      inodes: inodes.length,
      blocks,
      metaBlock,
      hasChunkedFiles: inodes.some((inode) => inode.chunks !== undefined),
      uuid: createHash("sha256").update(seed).digest().subarray(0, UUID_BYTES),
    };
    this.#file.write(encodeSuperblock(superblock), 0);
    this.#file.finish(blocks * BLOCK_BYTES);
    return { sizeBytes: blocks * BLOCK_BYTES, inodes: inodes.length };
  }

  /** Depth first, so that the inodes of a directory lie close together. Counts links on the way. */
  #listDirectories(directory: Directory, parent: Directory): void {
    const { inode } = directory;
    const entries: DirectoryEntry[] = [
      // SAFE: ASCII names are byte strings.
      { name: "." as ByteString, type: "directory", nid: () => this.#nid(inode) },
      { name: ".." as ByteString, type: "directory", nid: () => this.#nid(parent.inode) },
    ];
    inode.links += 2; // its name and "."; the root's ".." counts for its name
    if (parent !== directory) parent.inode.links += 1;
    this.#directories.set(inode, entries);
    for (const [name, child] of directory.children) {
      // The directory knows better: a lower layer may have described it after the node was made.
      const target = child.directory?.inode ?? child.inode;
      entries.push({ name, type: target.type, nid: () => this.#nid(target) });
      if (child.directory === undefined) target.links += 1;
    }
    for (const child of directory.children.values())
      if (child.directory !== undefined) this.#listDirectories(child.directory, directory);
  }

  #reserveDirectory(inode: Inode, entries: readonly DirectoryEntry[]): void {
    inode.sizeBytes = directorySize(entries);
    const tailBytes = inode.sizeBytes % BLOCK_BYTES;
    const inlined = canInline(tailBytes, encodeXattrs(inode.xattrs).length);
    inode.tail = new Uint8Array(inlined ? tailBytes : 0); // filled in when the numbers are known
    const blocks = Math.ceil((inode.sizeBytes - inode.tail.length) / BLOCK_BYTES);
    inode.firstBlock = this.#data.reserve(blocks);
  }

  #writeDirectory(inode: Inode, entries: readonly DirectoryEntry[]): void {
    const content = encodeDirectory(entries);
    const bodyBytes = content.length - inode.tail.length;
    if (bodyBytes > 0)
      this.#file.write(content.subarray(0, bodyBytes), inode.firstBlock * BLOCK_BYTES);
    inode.tail = content.subarray(bodyBytes);
  }

  /** Gives every inode its place; returns the bytes of the metadata area. */
  #placeInodes(): number {
    let end = this.#placeInode(this.#merger.root.inode, FIRST_INODE_OFFSET);
    const visit = (directory: Directory) => {
      for (const child of directory.children.values()) {
        const inode = child.directory?.inode ?? child.inode;
        if (!this.#places.has(inode)) end = this.#placeInode(inode, end);
      }
      for (const child of directory.children.values())
        if (child.directory !== undefined) visit(child.directory);
    };
    visit(this.#merger.root);
    return end;
  }

  /** Returns where the next inode may start. */
  #placeInode(inode: Inode, start: number): number {
    const xattrs = encodeXattrs(inode.xattrs);
    const fixedBytes = EXTENDED_INODE_BYTES + xattrs.length;
    let offset = Math.ceil(start / SLOT_BYTES) * SLOT_BYTES;
    if (inode.tail.length > 0 && !canInline(inode.tail.length, xattrs.length))
      this.#moveTailToBlock(inode);
    const layout =
      inode.chunks !== undefined
        ? dataLayout.chunk
        : inode.tail.length > 0
          ? dataLayout.inline
          : dataLayout.plain;
    const behind = inode.chunks === undefined ? inode.tail.length : inode.chunks.blocks.length * 4;
    // The kernel reads a tail from the block it starts in.
    const crosses =
      Math.floor(offset / BLOCK_BYTES) !==
      Math.floor((offset + fixedBytes + behind - 1) / BLOCK_BYTES);
    if (layout === dataLayout.inline && crosses)
      offset = Math.ceil(offset / BLOCK_BYTES) * BLOCK_BYTES;
    this.#places.set(inode, { inode, xattrs, layout, offset });
    return offset + fixedBytes + behind;
  }

  /** A symlink whose attributes leave no room beside it; files and directories see to it before. */
  #moveTailToBlock(inode: Inode): void {
    inode.firstBlock = this.#data.reserve(1);
    this.#file.write(inode.tail, inode.firstBlock * BLOCK_BYTES);
    inode.tail = new Uint8Array(0);
  }

  #writeInode({ inode, xattrs, layout, offset }: Placed, metaStart: number): void {
    const behind = inode.chunks === undefined ? inode.tail : chunkMapBytes(inode.chunks.blocks);
    const bytes = new Uint8Array(EXTENDED_INODE_BYTES + xattrs.length + behind.length);
    const block = inode.chunks === undefined ? inode.firstBlock : inode.chunks.bits;
    const number = offset / SLOT_BYTES;
    writeInode(bytes, 0, inode, { layout, block, number, xattrBytes: xattrs.length });
    bytes.set(xattrs, EXTENDED_INODE_BYTES);
    bytes.set(behind, EXTENDED_INODE_BYTES + xattrs.length);
    this.#file.write(bytes, metaStart + offset);
  }

  #nid(inode: Inode): number {
    const placed = this.#places.get(inode);
    if (placed === undefined) throw new Error("An inode of the tree has no place in the image");
    return placed.offset / SLOT_BYTES;
  }
}

function chunkMapBytes(blocks: Uint32Array): Uint8Array {
  return new Uint8Array(blocks.buffer, blocks.byteOffset, blocks.byteLength);
}
