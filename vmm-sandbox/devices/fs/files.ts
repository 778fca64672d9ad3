/** FUSE operations on open files and directories, and on extended attributes. */
import {
  call,
  Fd,
  O_ACCMODE,
  O_APPEND,
  O_CLOEXEC,
  O_CREAT,
  O_DIRECTORY,
  O_EXCL,
  O_NOFOLLOW,
  O_RDONLY,
  O_TRUNC,
  S_IFDIR,
  S_IFLNK,
  S_IFMT,
  S_IFREG,
} from "../../../linux/index.ts";
import * as abi from "./abi.ts";
import { FuseError } from "./fuse-error.ts";
import { type Inode, statOf } from "./inodes.ts";
import { finishEntry, magicPath, reopen } from "./metadata.ts";
import {
  argumentsOf,
  type Export,
  encodeEntry,
  nameOf,
  type Request,
  requireWritable,
} from "./request.ts";

export const MAX_TRANSFER_BYTES = 1024 * 1024;
const MAX_COPY_BYTES = 64 * 1024 * 1024;
const MAX_XATTR_BYTES = 65_536;
const NOTHING = new Uint8Array(0);
/** What a guest may ask for; O_DIRECT and others mean nothing here. */
const OPEN_FLAGS = O_ACCMODE | O_TRUNC;
/** linux_dirent64: d_ino u64, d_off i64, d_reclen u16, d_type u8, then the name. */
const DIRENT_NAME_OFFSET = 19;

export function open(shared: Export, request: Request): Uint8Array {
  const { flags } = argumentsOf(request, abi.open_in);
  if ((flags & (O_ACCMODE | O_TRUNC)) !== O_RDONLY) requireWritable(shared);
  const fd = reopenFile(request.inode, flags & OPEN_FLAGS);
  return abi.open_out.encode({ fh: shared.handles.add({ fd, isDirectory: false }) });
}

export function create(shared: Export, request: Request): Uint8Array {
  requireWritable(shared);
  const { flags, mode } = argumentsOf(request, abi.create_in);
  const name = nameOf(request, abi.create_in.sizeBytes);
  if ((flags & O_EXCL) === 0 && exists(request, name)) {
    const { inode, stat } = shared.inodes.lookUp(request.inode, name);
    const found = reopenFile(inode, flags & OPEN_FLAGS);
    const fh = shared.handles.add({ fd: found, isDirectory: false });
    return Buffer.concat([encodeEntry(inode, stat), abi.open_out.encode({ fh })]);
  }
  const how = (flags & OPEN_FLAGS) | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
  const fd = Fd.from("openat", request.inode.fd, name, how, mode & 0o7777);
  const fh = shared.handles.add({ fd, isDirectory: false });
  return Buffer.concat([finishEntry(shared, request, name), abi.open_out.encode({ fh })]);
}

/** The guest's kernel opens devices and FIFOs itself: here they would be the host's. */
function reopenFile(inode: Inode, flags: number): Fd {
  const type = statOf(inode.fd).st_mode & S_IFMT;
  if (type === S_IFLNK) throw new FuseError("ELOOP");
  if (type === S_IFDIR) throw new FuseError("EISDIR");
  if (type !== S_IFREG) throw new FuseError("EACCES");
  return reopen(inode, flags);
}

function exists(request: Request, name: Uint8Array): boolean {
  try {
    call("readlinkat", request.inode.fd, name, new Uint8Array(1), 1);
    return true;
  } catch (error) {
    // EINVAL: there is something, which is no symlink.
    return error instanceof Error && "code" in error && error.code === "EINVAL";
  }
}

function foundEntry(shared: Export, request: Request, name: Uint8Array): Uint8Array {
  const { inode, stat } = shared.inodes.lookUp(request.inode, name);
  return encodeEntry(inode, stat);
}

export function read(shared: Export, request: Request): Uint8Array {
  const { fh, offset, size } = argumentsOf(request, abi.read_in);
  const bytes = new Uint8Array(Math.min(size, MAX_TRANSFER_BYTES));
  const fd = shared.handles.get(fh, false);
  return bytes.subarray(0, call("pread64", fd, bytes, bytes.length, offset));
}

export function write(shared: Export, request: Request): Uint8Array {
  requireWritable(shared);
  const { fh, offset, size, flags } = argumentsOf(request, abi.write_in);
  const data = request.body.subarray(abi.write_in.sizeBytes);
  if (data.length < size) throw new FuseError("EINVAL");
  const fd = shared.handles.get(fh, false);
  // The guest's kernel knows the end of the file as it last saw it; only ours knows it for sure.
  const count =
    (flags & O_APPEND) !== 0 ? appendTo(fd, data, size) : call("pwrite64", fd, data, size, offset);
  return abi.write_out.encode({ size: count });
}

function appendTo(fd: Fd, data: Uint8Array, size: number): number {
  const seekEnd = 2;
  return call("pwrite64", fd, data, size, call("lseek", fd, 0, seekEnd));
}

export function release(shared: Export, request: Request): Uint8Array {
  shared.handles.release(argumentsOf(request, abi.release_in).fh);
  return NOTHING;
}

export function synchronize(isDirectory: boolean) {
  return (shared: Export, request: Request): Uint8Array => {
    const { fh, fsync_flags } = argumentsOf(request, abi.fsync_in);
    call((fsync_flags & 1) !== 0 ? "fdatasync" : "fsync", shared.handles.get(fh, isDirectory));
    return NOTHING;
  };
}

export function synchronizeAll(_: Export, { inode }: Request): Uint8Array {
  using fd = reopen(inode, O_RDONLY | O_DIRECTORY);
  call("syncfs", fd);
  return NOTHING;
}

export function allocate(shared: Export, request: Request): Uint8Array {
  requireWritable(shared);
  const { fh, mode, offset, length } = argumentsOf(request, abi.fallocate_in);
  call("fallocate", shared.handles.get(fh, false), mode, offset, length);
  return NOTHING;
}

export function seek(shared: Export, request: Request): Uint8Array {
  const { fh, offset, whence } = argumentsOf(request, abi.lseek_in);
  return abi.lseek_out.encode({
    offset: call("lseek", shared.handles.get(fh, false), offset, whence),
  });
}

export function copyRange(shared: Export, request: Request): Uint8Array {
  requireWritable(shared);
  const wanted = argumentsOf(request, abi.copy_file_range_in);
  const offsets = new BigUint64Array([wanted.off_in, wanted.off_out]);
  const bytes = new Uint8Array(offsets.buffer);
  const count = call(
    "copy_file_range",
    shared.handles.get(wanted.fh_in, false),
    bytes.subarray(0, 8),
    shared.handles.get(wanted.fh_out, false),
    bytes.subarray(8),
    // One call must not keep the guest's other requests waiting for long.
    wanted.len > BigInt(MAX_COPY_BYTES) ? MAX_COPY_BYTES : wanted.len,
    0,
  );
  return abi.write_out.encode({ size: count });
}

export function openDirectory(shared: Export, request: Request): Uint8Array {
  const fd = reopen(request.inode, O_RDONLY | O_DIRECTORY);
  return abi.open_out.encode({ fh: shared.handles.add({ fd, isDirectory: true }) });
}

export function readDirectory(plus: boolean) {
  return (shared: Export, request: Request): Uint8Array => {
    const { fh, offset, size } = argumentsOf(request, abi.read_in);
    const fd = shared.handles.get(fh, true);
    const room = Math.min(size, MAX_TRANSFER_BYTES);
    call("lseek", fd, offset, 0);
    const source = new Uint8Array(Math.max(room, 1024));
    const count = call("getdents64", fd, source, source.length);
    const reply: Uint8Array[] = [];
    let used = 0;
    for (let at = 0; at < count; ) {
      const view = new DataView(source.buffer, at);
      const length = view.getUint16(16, true);
      const piece = encodeDirent(
        shared,
        request,
        source.subarray(at, at + length),
        plus,
        room - used,
      );
      if (piece === undefined) break;
      reply.push(piece);
      used += piece.length;
      at += length;
    }
    return Buffer.concat(reply);
  };
}

/** Undefined when it does not fit; then nothing was counted as looked up. */
function encodeDirent(
  shared: Export,
  request: Request,
  source: Uint8Array,
  plus: boolean,
  room: number,
): Uint8Array | undefined {
  const view = new DataView(source.buffer, source.byteOffset, source.byteLength);
  const end = source.indexOf(0, DIRENT_NAME_OFFSET);
  const name = source.subarray(DIRENT_NAME_OFFSET, end);
  const entryBytes = plus ? abi.entry_out.sizeBytes + abi.attr.sizeBytes : 0;
  const piece = new Uint8Array(
    entryBytes + Math.ceil((abi.dirent.sizeBytes + name.length) / 8) * 8,
  );
  if (piece.length > room) return undefined;
  const header = abi.dirent.encode({
    ino: view.getBigUint64(0, true),
    off: view.getBigUint64(8, true),
    namelen: name.length,
    type: view.getUint8(18),
  });
  piece.set(header, entryBytes);
  piece.set(name, entryBytes + abi.dirent.sizeBytes);
  const isDots = name[0] === 0x2e && (name.length === 1 || (name.length === 2 && name[1] === 0x2e));
  if (plus && !isDots)
    piece.set(lookedUp(shared, request, source.subarray(DIRENT_NAME_OFFSET, end + 1)));
  return piece;
}

/** The entry, or zeros (nodeid 0: "no look-up was made") when it vanished meanwhile. */
function lookedUp(shared: Export, request: Request, name: Uint8Array): Uint8Array {
  try {
    return foundEntry(shared, request, name.slice());
  } catch {
    return NOTHING; // the name itself is still listed, as readdir would
  }
}

export function statFileSystem(_: Export, { inode }: Request): Uint8Array {
  // struct statfs of x86-64: type, bsize, blocks, bfree, bavail, files, ffree, fsid, namelen, frsize
  const buffer = new Uint8Array(120);
  call("fstatfs", inode.fd, buffer);
  const view = new DataView(buffer.buffer);
  const field = (index: number) => view.getBigUint64(8 * index, true);
  return abi.statfs_out.encode({
    blocks: field(2),
    bfree: field(3),
    bavail: field(4),
    files: field(5),
    ffree: field(6),
    bsize: field(1),
    namelen: field(8),
    frsize: field(9),
  });
}

export function setXattr(shared: Export, request: Request): Uint8Array {
  requireWritable(shared);
  const { size, flags } = argumentsOf(request, abi.setxattr_in);
  const nameStart = abi.setxattr_in.sizeBytes;
  const nameEnd = request.body.indexOf(0, nameStart) + 1;
  if (nameEnd === 0 || size > MAX_XATTR_BYTES || request.body.length < nameEnd + size)
    throw new FuseError("EINVAL");
  const name = request.body.subarray(nameStart, nameEnd);
  const value = request.body.subarray(nameEnd, nameEnd + size);
  call("setxattr", magicPath(request.inode), name, value, size, flags);
  return NOTHING;
}

export function getXattr(_: Export, request: Request): Uint8Array {
  const { size } = argumentsOf(request, abi.getxattr_in);
  const nameStart = abi.getxattr_in.sizeBytes;
  const nameEnd = request.body.indexOf(0, nameStart) + 1;
  if (nameEnd === 0) throw new FuseError("EINVAL");
  const name = request.body.subarray(nameStart, nameEnd);
  const path = magicPath(request.inode);
  return sized(size, (value) => call("getxattr", path, name, value, value.length));
}

export function listXattrs(_: Export, request: Request): Uint8Array {
  const { size } = argumentsOf(request, abi.getxattr_in);
  const path = magicPath(request.inode);
  return sized(size, (names) => call("listxattr", path, names, names.length));
}

/** A size of 0 asks how much room is needed. */
function sized(size: number, ask: (target: Uint8Array) => number): Uint8Array {
  const target = new Uint8Array(Math.min(size, MAX_XATTR_BYTES));
  const count = ask(target);
  return size === 0 ? abi.getxattr_out.encode({ size: count }) : target.subarray(0, count);
}

export function removeXattr(shared: Export, request: Request): Uint8Array {
  requireWritable(shared);
  const end = request.body.indexOf(0) + 1;
  if (end === 0) throw new FuseError("EINVAL");
  call("removexattr", magicPath(request.inode), request.body.subarray(0, end));
  return NOTHING;
}
