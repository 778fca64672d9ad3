/**
 * A directory tree as a tar: a container's whole root file system (`export`), or what a container
 * changed above its image (`commit`), where overlayfs's marks become whiteouts again.
 * OCI image-spec 1.1, layer.md, "Representing Changes".
 */
import {
  call,
  Fd,
  O_CLOEXEC,
  O_NOFOLLOW,
  O_NONBLOCK,
  O_RDONLY,
  S_IFBLK,
  S_IFCHR,
  S_IFDIR,
  S_IFIFO,
  S_IFLNK,
  S_IFMT,
  S_IFREG,
  S_IFSOCK,
  syscall,
} from "../linux/index.ts";
import { type ByteString, byteStringToText, bytesToString } from "./byte-string.ts";
import {
  type FileStatus,
  listDirectory,
  openChildDirectory,
  openDirectory,
  statAt,
  statFd,
} from "./directory.ts";
import { StoreError } from "./errors.ts";
import { nameArgument } from "./names.ts";
import { encodeEntry, endOfArchive, padding, type TarRecord } from "./tar/writer.ts";
import { joinPath } from "./unpack/paths.ts";
import { readXattrs, readXattrsAt } from "./xattrs.ts";

export interface PackOptions {
  /** Read overlayfs's whiteouts and opaque directories as deletions. */
  readonly overlay?: boolean;
  /** One time for all entries, in seconds, for archives that are the same every time. */
  readonly mtimeSeconds?: number;
  /** Owner of all entries, for trees that were put together by somebody. */
  readonly owner?: { readonly uid: number; readonly gid: number };
}

const CHUNK_BYTES = 256 * 1024;
const MAX_DEPTH = 2048;
const OVERLAY_XATTR = /^(trusted|user)\.overlay\./;
const OPAQUE_XATTR = /^(trusted|user)\.overlay\.opaque$/;

interface Packing {
  readonly options: PackOptions;
  readonly device: number;
  /** First path of each file that has several names. */
  readonly links: Map<string, ByteString>;
}

/** The tar in pieces, each its own memory; entries in the order of their names' bytes. */
export function* packTree(directory: string, options: PackOptions = {}): Generator<Uint8Array> {
  using root = openDirectory(directory);
  const status = statFd(root);
  const packing: Packing = { options, device: status.dev, links: new Map() };
  const here = "." as ByteString; // SAFE: a dot is a byte
  const own = recordOf(packing, here, "directory", status, readXattrs(root));
  yield encodeEntry(own);
  yield* packChildren(packing, root, "" as ByteString, 0); // SAFE: no bytes
  yield endOfArchive.slice();
}

function* packChildren(
  packing: Packing,
  directory: Fd,
  path: ByteString,
  depth: number,
): Generator<Uint8Array> {
  if (depth > MAX_DEPTH)
    throw new StoreError(`Cannot pack a tree of more than ${MAX_DEPTH} levels`);
  for (const name of listDirectory(directory)) {
    const status = statAt(directory, name);
    // Gone meanwhile, or something mounted there, which is not part of the tree.
    if (status === undefined || status.dev !== packing.device) continue;
    yield* packEntry(packing, directory, name, joinPath(path, name), status, depth);
  }
}

function* packEntry(
  packing: Packing,
  directory: Fd,
  name: ByteString,
  path: ByteString,
  status: FileStatus,
  depth: number,
): Generator<Uint8Array> {
  switch (status.mode & S_IFMT) {
    case S_IFDIR:
      yield* packDirectory(packing, directory, name, path, status, depth);
      return;
    case S_IFREG:
      yield* packFile(packing, directory, name, path, status);
      return;
    case S_IFLNK: {
      const xattrs = readXattrsAt(directory, name);
      const linkPath = readLink(directory, name);
      yield encodeEntry({ ...recordOf(packing, path, "symlink", status, xattrs), linkPath });
      return;
    }
    case S_IFCHR:
      if (packing.options.overlay && status.rdevMajor === 0 && status.rdevMinor === 0) {
        yield encodeEntry({ ...whiteout(path, name), mtimeSeconds: status.mtimeSeconds });
        return;
      }
      yield encodeEntry(recordOf(packing, path, "character", status, new Map()));
      return;
    case S_IFBLK:
      yield encodeEntry(recordOf(packing, path, "block", status, new Map()));
      return;
    case S_IFIFO:
      yield encodeEntry(recordOf(packing, path, "fifo", status, new Map()));
      return;
    case S_IFSOCK:
      return; // only means something to the process that made it; tar(1) leaves it out too
    default:
      throw new StoreError(
        `Cannot pack "${byteStringToText(path)}": unknown file type ${status.mode}`,
      );
  }
}

function* packDirectory(
  packing: Packing,
  directory: Fd,
  name: ByteString,
  path: ByteString,
  status: FileStatus,
  depth: number,
): Generator<Uint8Array> {
  using child = openChildDirectory(directory, name);
  if (child === undefined) return;
  const xattrs = readXattrs(child);
  yield encodeEntry(recordOf(packing, path, "directory", status, xattrs));
  if (packing.options.overlay && isOpaque(xattrs)) {
    const mark = joinPath(path, ".wh..wh..opq" as ByteString); // SAFE: ASCII
    yield encodeEntry({ type: "file", path: mark, mode: 0o600 });
  }
  yield* packChildren(packing, child, path, depth + 1);
}

function* packFile(
  packing: Packing,
  directory: Fd,
  name: ByteString,
  path: ByteString,
  status: FileStatus,
): Generator<Uint8Array> {
  if (status.links > 1) {
    const linkPath = packing.links.get(`${status.ino}`);
    if (linkPath !== undefined) {
      yield encodeEntry({ ...recordOf(packing, path, "hardlink", status, new Map()), linkPath });
      return;
    }
    packing.links.set(`${status.ino}`, path);
  }
  const flags = O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC;
  using file = Fd.from("openat", directory, nameArgument(name), flags);
  const record = recordOf(packing, path, "file", status, readXattrs(file));
  const { sizeBytes } = status;
  yield encodeEntry({ ...record, sizeBytes });
  for (let at = 0; at < sizeBytes; ) {
    const chunk = Buffer.alloc(Math.min(CHUNK_BYTES, sizeBytes - at));
    const length = call("read", file, chunk, chunk.length);
    // A file that shrinks while it is read is filled up, as GNU tar does: the header is written.
    at += length === 0 ? chunk.length : length;
    yield length === 0 ? chunk : chunk.subarray(0, length);
  }
  yield padding(sizeBytes).slice();
}

function recordOf(
  { options }: Packing,
  path: ByteString,
  type: TarRecord["type"],
  status: FileStatus,
  xattrs: ReadonlyMap<ByteString, Uint8Array>,
): TarRecord {
  const isDevice = type === "character" || type === "block";
  return {
    type,
    path,
    mode: status.mode & 0o7777,
    uid: options.owner?.uid ?? status.uid,
    gid: options.owner?.gid ?? status.gid,
    mtimeSeconds: options.mtimeSeconds ?? status.mtimeSeconds,
    mtimeNanoseconds: options.mtimeSeconds === undefined ? status.mtimeNanoseconds : 0,
    devMajor: isDevice ? status.rdevMajor : 0,
    devMinor: isDevice ? status.rdevMinor : 0,
    xattrs: new Map([...xattrs].filter(([name]) => !OVERLAY_XATTR.test(name))),
  };
}

function whiteout(path: ByteString, name: ByteString): TarRecord {
  const directory = path.slice(0, path.length - name.length);
  // SAFE: ASCII between bytes
  return { type: "file", path: `${directory}.wh.${name}` as ByteString, mode: 0o600 };
}

function isOpaque(xattrs: ReadonlyMap<ByteString, Uint8Array>): boolean {
  return [...xattrs].some(([name, value]) => OPAQUE_XATTR.test(name) && value[0] === 0x79); // "y"
}

function readLink(directory: Fd, name: ByteString): ByteString {
  const target = Buffer.alloc(4096);
  const length = syscall("readlinkat", directory, nameArgument(name), target, target.length);
  if (length < 0) call("readlinkat", directory, nameArgument(name), target, target.length);
  return bytesToString(target, 0, length);
}

/** A generator of pieces as a stream that produces them when they are wanted. */
export function toStream(pieces: Iterable<Uint8Array>): ReadableStream<Uint8Array> {
  const iterator = pieces[Symbol.iterator]();
  return new ReadableStream<Uint8Array>({
    pull(controller) {
      const { done, value } = iterator.next();
      if (done) controller.close();
      else if (value.length > 0) controller.enqueue(value);
      else this.pull?.(controller);
    },
    cancel() {
      iterator.return?.();
    },
  });
}
