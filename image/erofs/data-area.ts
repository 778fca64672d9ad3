/** File data on their way into the image: blocks are written as they come, tails are kept. */
import type { ImageFile } from "./image-file.ts";
import type { Inode } from "./inode.ts";
import { BLOCK_BYTES, canInline, HOLE } from "./layout.ts";
import { encodeXattrs } from "./xattrs.ts";

/** Entries of a chunk map are 4 bytes; a sparse file gets at most this many. */
const MAX_CHUNKS = 65_536;
/** The largest tail that is kept for the metadata area; a longer one gets a block of its own. */
const MAX_KEPT_TAIL_BYTES = 2048;
const noBytes = new Uint8Array(0);

export interface FileData {
  /** Positions ascend; what is left out is zero. */
  write(bytes: Uint8Array, position: number): void;
  end(): void;
}

export class DataArea {
  readonly #file: ImageFile;
  #nextBlock = 1;

  constructor(file: ImageFile) {
    this.#file = file;
  }

  get nextBlock(): number {
    return this.#nextBlock;
  }

  openFile(inode: Inode, isSparse: boolean): FileData {
    return isSparse && inode.sizeBytes > BLOCK_BYTES
      ? new SparseData(inode, this, this.#file)
      : new PlainData(inode, this, this.#file);
  }

  /** Takes the next blocks; returns the first one's number. */
  reserve(blocks: number): number {
    const first = this.#nextBlock;
    this.#nextBlock += blocks;
    return first;
  }
}

/** All of a file in consecutive blocks, its last bytes apart when they are few. */
class PlainData implements FileData {
  readonly #inode: Inode;
  readonly #file: ImageFile;
  /** Offset in the image of the file's first byte. */
  readonly #start: number;
  /** Bytes of whole blocks; what follows is the tail. */
  readonly #bodyBytes: number;
  readonly #tail: Uint8Array;

  constructor(inode: Inode, area: DataArea, file: ImageFile) {
    this.#inode = inode;
    this.#file = file;
    const tailBytes = inode.sizeBytes % BLOCK_BYTES;
    const keepsTail =
      tailBytes > 0 &&
      tailBytes <= MAX_KEPT_TAIL_BYTES &&
      canInline(tailBytes, encodeXattrs(inode.xattrs).length);
    this.#bodyBytes = keepsTail ? inode.sizeBytes - tailBytes : inode.sizeBytes;
    this.#tail = keepsTail ? new Uint8Array(tailBytes) : noBytes;
    inode.firstBlock = area.reserve(Math.ceil(this.#bodyBytes / BLOCK_BYTES));
    this.#start = inode.firstBlock * BLOCK_BYTES;
  }

  write(bytes: Uint8Array, position: number): void {
    const inBody = Math.max(0, Math.min(bytes.length, this.#bodyBytes - position));
    if (inBody > 0) this.#file.write(bytes.subarray(0, inBody), this.#start + position);
    if (inBody < bytes.length)
      this.#tail.set(bytes.subarray(inBody), position + inBody - this.#bodyBytes);
  }

  end(): void {
    this.#inode.tail = this.#tail;
  }
}

/** A file with holes: chunks that hold data get blocks, the others none. */
class SparseData implements FileData {
  readonly #area: DataArea;
  readonly #file: ImageFile;
  readonly #blocks: Uint32Array;
  readonly #chunkBytes: number;
  readonly #sizeBytes: number;

  constructor(inode: Inode, area: DataArea, file: ImageFile) {
    this.#area = area;
    this.#file = file;
    this.#sizeBytes = inode.sizeBytes;
    let bits = 0;
    while (inode.sizeBytes / (BLOCK_BYTES * 2 ** bits) > MAX_CHUNKS) bits += 1;
    this.#chunkBytes = BLOCK_BYTES * 2 ** bits;
    this.#blocks = new Uint32Array(Math.ceil(inode.sizeBytes / this.#chunkBytes)).fill(HOLE);
    inode.chunks = { bits, blocks: this.#blocks };
  }

  write(bytes: Uint8Array, position: number): void {
    for (let at = 0; at < bytes.length; ) {
      const chunk = Math.floor((position + at) / this.#chunkBytes);
      const offset = position + at - chunk * this.#chunkBytes;
      const count = Math.min(bytes.length - at, this.#chunkBytes - offset);
      const start = this.#blockOf(chunk) * BLOCK_BYTES + offset;
      this.#file.write(bytes.subarray(at, at + count), start);
      at += count;
    }
  }

  end(): void {}

  #blockOf(chunk: number): number {
    const known = this.#blocks[chunk];
    if (known !== undefined && known !== HOLE) return known;
    const bytes = Math.min(this.#chunkBytes, this.#sizeBytes - chunk * this.#chunkBytes);
    const block = this.#area.reserve(Math.ceil(bytes / BLOCK_BYTES));
    this.#blocks[chunk] = block;
    return block;
  }
}
