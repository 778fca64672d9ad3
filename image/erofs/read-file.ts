/**
 * Reads small files out of an EROFS image, as an engine must that wants /etc/passwd before the
 * image is mounted. Symbolic links are followed as if the image were "/".
 *
 * Images come from our own cache, but their bytes are as foreign as the layers': every number is
 * checked against the file, and loops are bounded.
 */
import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { BLOCK_BYTES, DIRENT_BYTES, dataLayout, HOLE, SLOT_BYTES } from "./layout.ts";

const SUPERBLOCK_OFFSET = 1024;
const MAGIC = 0xe0f5_e1e2;
const INODE_BYTES = 64;
const MAX_LINKS = 40;
const MAX_LINK_BYTES = 4096;
const MAX_DIRECTORY_BYTES = 64 * 1024 * 1024;
const typeMask = 0o170000;
const [isDirectory, isFile, isLink] = [0o040000, 0o100000, 0o120000];

interface FoundInode {
  readonly type: number;
  readonly sizeBytes: number;
  readonly layout: number;
  /** First block, or the format of the chunk map. */
  readonly block: number;
  /** Where what follows inode and attributes lies in the file. */
  readonly behind: number;
}

export class ErofsReader implements Disposable {
  readonly #fd: number;
  readonly #sizeBytes: number;
  readonly #metaStart: number;
  readonly #rootNid: number;

  constructor(path: string) {
    this.#fd = openSync(path, "r");
    this.#sizeBytes = fstatSync(this.#fd).size;
    try {
      const block = this.#read(SUPERBLOCK_OFFSET, 128);
      if (block.readUInt32LE(0) !== MAGIC)
        throw new Error(`Cannot read "${path}": expected an EROFS image`);
      this.#rootNid = block.readUInt16LE(14);
      this.#metaStart = block.readUInt32LE(40) * BLOCK_BYTES;
    } catch (error) {
      closeSync(this.#fd);
      throw error;
    }
  }

  /** At most `maxBytes` of a regular file; undefined when there is none. */
  readFile(path: string, maxBytes: number): Buffer | undefined {
    const inode = this.#resolve(path);
    return inode === undefined || inode.type !== isFile
      ? undefined
      : this.#content(inode, Math.min(inode.sizeBytes, maxBytes));
  }

  /** Where a path leads, links followed; undefined when to nothing. */
  locate(path: string): string | undefined {
    const names: string[] = [];
    return this.#resolve(path, names) === undefined ? undefined : `/${names.join("/")}`;
  }

  #resolve(path: string, names: string[] = []): FoundInode | undefined {
    const todo = path.split("/").filter((part) => part !== "" && part !== ".");
    const trail = [this.#inode(this.#rootNid)];
    for (let links = 0; todo.length > 0; ) {
      const name = todo.shift() ?? "";
      const directory = trail.at(-1);
      if (directory === undefined || directory.type !== isDirectory) return undefined;
      if (name === "..") {
        if (trail.length > 1) trail.pop();
        names.pop();
        continue;
      }
      const nid = this.#find(directory, name);
      if (nid === undefined) return undefined;
      const inode = this.#inode(nid);
      if (inode.type !== isLink) {
        trail.push(inode);
        names.push(name);
        continue;
      }
      if (++links > MAX_LINKS) return undefined;
      const target = this.#content(inode, Math.min(inode.sizeBytes, MAX_LINK_BYTES)).toString();
      todo.unshift(...target.split("/").filter((part) => part !== "" && part !== "."));
      if (!target.startsWith("/")) continue;
      trail.length = 1;
      names.length = 0;
    }
    return trail.at(-1);
  }

  #find(directory: FoundInode, wanted: string): number | undefined {
    const content = this.#content(directory, Math.min(directory.sizeBytes, MAX_DIRECTORY_BYTES));
    const name = Buffer.from(wanted);
    for (let start = 0; start < content.length; start += BLOCK_BYTES) {
      const block = content.subarray(start, start + BLOCK_BYTES);
      if (block.length < DIRENT_BYTES) break;
      const count = Math.floor(block.readUInt16LE(8) / DIRENT_BYTES);
      for (let i = 0; i < count && (i + 1) * DIRENT_BYTES <= block.length; i++) {
        const from = block.readUInt16LE(i * DIRENT_BYTES + 8);
        const isLast = i + 1 >= count || (i + 2) * DIRENT_BYTES > block.length;
        const to = isLast ? block.length : block.readUInt16LE((i + 1) * DIRENT_BYTES + 8);
        const found = trimZeros(block.subarray(from, to));
        if (found.equals(name)) return Number(block.readBigUInt64LE(i * DIRENT_BYTES));
      }
    }
    return undefined;
  }

  #inode(nid: number): FoundInode {
    const at = this.#metaStart + nid * SLOT_BYTES;
    const bytes = this.#read(at, INODE_BYTES);
    const xattrs = bytes.readUInt16LE(2);
    return {
      type: bytes.readUInt16LE(4) & typeMask,
      layout: (bytes.readUInt16LE(0) >> 1) & 7,
      sizeBytes: Number(bytes.readBigUInt64LE(8)),
      block: bytes.readUInt32LE(16),
      behind: at + INODE_BYTES + (xattrs === 0 ? 0 : 12 + (xattrs - 1) * 4),
    };
  }

  #content(inode: FoundInode, length: number): Buffer {
    const { layout, block, behind, sizeBytes } = inode;
    if (layout === dataLayout.chunk) return this.#chunks(inode, length);
    if (layout !== dataLayout.inline) return this.#read(block * BLOCK_BYTES, length);
    const body = Math.floor(sizeBytes / BLOCK_BYTES) * BLOCK_BYTES;
    const whole = Math.min(body, length);
    const head = whole === 0 ? Buffer.alloc(0) : this.#read(block * BLOCK_BYTES, whole);
    return length <= body ? head : Buffer.concat([head, this.#read(behind, length - body)]);
  }

  #chunks({ block: bits, behind }: FoundInode, length: number): Buffer {
    const chunkBytes = BLOCK_BYTES * 2 ** (bits & 31);
    const content = Buffer.alloc(length);
    const start = Math.ceil(behind / 4) * 4;
    for (let at = 0, index = 0; at < length; at += chunkBytes, index++) {
      const block = this.#read(start + index * 4, 4).readUInt32LE(0);
      const wanted = Math.min(chunkBytes, length - at);
      if (block !== HOLE) this.#read(block * BLOCK_BYTES, wanted).copy(content, at);
    }
    return content;
  }

  #read(position: number, length: number): Buffer {
    if (position < 0 || length < 0 || position + length > this.#sizeBytes)
      throw new RangeError("Cannot read the EROFS image: it is damaged");
    const buffer = Buffer.alloc(length);
    for (let done = 0; done < length; ) {
      const read = readSync(this.#fd, buffer, done, length - done, position + done);
      if (read === 0) throw new RangeError("Cannot read the EROFS image: it ends early");
      done += read;
    }
    return buffer;
  }

  [Symbol.dispose](): void {
    closeSync(this.#fd);
  }
}

/** Names in a block's last entry end with the block or with zeros. */
function trimZeros(bytes: Buffer): Buffer {
  const end = bytes.indexOf(0);
  return end < 0 ? bytes : bytes.subarray(0, end);
}
