/** FUSE operations on names and attributes. */
import {
  AT_EMPTY_PATH,
  AT_REMOVEDIR,
  AT_SYMLINK_FOLLOW,
  call,
  Fd,
  O_CLOEXEC,
  O_NOCTTY,
  O_WRONLY,
  S_IFBLK,
  S_IFCHR,
  S_IFLNK,
  S_IFMT,
  S_IFREG,
  timespec,
  UTIME_NOW,
  UTIME_OMIT,
} from "../../../linux/index.ts";
import * as abi from "./abi.ts";
import { FuseError } from "./fuse-error.ts";
import { type Inode, statOf } from "./inodes.ts";
import {
  argumentsOf,
  checkedName,
  checkedTarget,
  type Export,
  encodeAttributesReply,
  encodeEntry,
  nameOf,
  type Request,
  requireWritable,
  stringsOf,
} from "./request.ts";

const NOTHING = new Uint8Array(0);
const MAX_LINK_BYTES = 4096;
const PERMISSION_BITS = 0o7777;
const AT_FDCWD = -100;
/** rename2 flags that make sense on any directory: RENAME_NOREPLACE, RENAME_EXCHANGE. */
const RENAME_FLAGS = 3;

export function lookUp(shared: Export, request: Request): Uint8Array {
  return entryOf(shared, request.inode, nameOf(request, 0));
}

export function getAttributes(_: Export, { inode }: Request): Uint8Array {
  return encodeAttributesReply(statOf(inode.fd));
}

export function setAttributes(shared: Export, request: Request): Uint8Array {
  requireWritable(shared);
  const wanted = argumentsOf(request, abi.setattr_in);
  const has = (bit: keyof typeof abi.attributeBits) =>
    (wanted.valid & abi.attributeBits[bit]) !== 0;
  const { inode } = request;
  if (has("MODE")) changeMode(inode, wanted.mode & PERMISSION_BITS);
  if (has("UID") || has("GID")) {
    const uid = has("UID") ? wanted.uid : -1;
    const gid = has("GID") ? wanted.gid : -1;
    call("fchownat", inode.fd, "", uid, gid, AT_EMPTY_PATH);
  }
  if (has("SIZE")) {
    if (has("FH")) call("ftruncate", shared.handles.get(wanted.fh, false), wanted.size);
    else truncate(inode, wanted.size);
  }
  const time = (
    set: boolean,
    now: boolean,
    seconds: bigint,
    nanoseconds: number,
  ): { tv_sec: bigint; tv_nsec: number } => ({
    tv_sec: seconds,
    tv_nsec: now ? UTIME_NOW : set ? nanoseconds : UTIME_OMIT,
  });
  if (has("ATIME") || has("MTIME")) {
    const access = time(has("ATIME"), has("ATIME_NOW"), wanted.atime, wanted.atimensec);
    const change = time(has("MTIME"), has("MTIME_NOW"), wanted.mtime, wanted.mtimensec);
    const times = Buffer.concat([timespec.encode(access), timespec.encode(change)]);
    call("utimensat", inode.fd, "", times, AT_EMPTY_PATH);
  }
  return encodeAttributesReply(statOf(inode.fd));
}

/** fchmod does not take O_PATH; through /proc the magic link leads to the very inode. */
function changeMode(inode: Inode, mode: number): void {
  if ((statOf(inode.fd).st_mode & S_IFMT) === S_IFLNK) throw new FuseError("EOPNOTSUPP");
  call("fchmodat", AT_FDCWD, magicPath(inode), mode);
}

function truncate(inode: Inode, size: bigint): void {
  if ((statOf(inode.fd).st_mode & S_IFMT) !== S_IFREG) throw new FuseError("EINVAL");
  using file = reopen(inode, O_WRONLY);
  call("ftruncate", file, size);
}

/** Opens the inode itself, whatever its names are now. Symlinks cannot be opened. */
export function reopen(inode: Inode, flags: number): Fd {
  return Fd.from("openat", AT_FDCWD, magicPath(inode), flags | O_CLOEXEC | O_NOCTTY);
}

export function magicPath({ fd }: Inode): string {
  return `/proc/self/fd/${fd.number}`;
}

export function readLink(_: Export, { inode }: Request): Uint8Array {
  const target = new Uint8Array(MAX_LINK_BYTES);
  const length = call("readlinkat", inode.fd, "", target, target.length);
  return target.subarray(0, length);
}

export function makeSymlink(shared: Export, request: Request): Uint8Array {
  requireWritable(shared);
  const [name = NOTHING, target = NOTHING] = stringsOf(request, 0, 2);
  call("symlinkat", checkedTarget(target), request.inode.fd, checkedName(name));
  return finishEntry(shared, request, name);
}

export function makeNode(shared: Export, request: Request): Uint8Array {
  requireWritable(shared);
  const { mode, rdev } = argumentsOf(request, abi.mknod_in);
  const name = nameOf(request, abi.mknod_in.sizeBytes);
  const type = mode & S_IFMT;
  // A device of the guest's choice in a directory of the host's would be the host's device. The
  // exception is overlayfs's whiteout, which leads nowhere.
  const isDevice = type === S_IFBLK || (type === S_IFCHR && rdev !== 0);
  if (isDevice) throw new FuseError("EPERM");
  call("mknodat", request.inode.fd, name, mode, rdev);
  return finishEntry(shared, request, name);
}

export function makeDirectory(shared: Export, request: Request): Uint8Array {
  requireWritable(shared);
  const { mode } = argumentsOf(request, abi.mkdir_in);
  const name = nameOf(request, abi.mkdir_in.sizeBytes);
  call("mkdirat", request.inode.fd, name, mode & PERMISSION_BITS);
  return finishEntry(shared, request, name);
}

export function unlink(shared: Export, request: Request): Uint8Array {
  requireWritable(shared);
  call("unlinkat", request.inode.fd, nameOf(request, 0), 0);
  return NOTHING;
}

export function removeDirectory(shared: Export, request: Request): Uint8Array {
  requireWritable(shared);
  call("unlinkat", request.inode.fd, nameOf(request, 0), AT_REMOVEDIR);
  return NOTHING;
}

export function rename(shared: Export, request: Request): Uint8Array {
  const { newdir } = argumentsOf(request, abi.rename_in);
  return renameTo(shared, request, newdir, 0, abi.rename_in.sizeBytes);
}

export function rename2(shared: Export, request: Request): Uint8Array {
  const { newdir, flags } = argumentsOf(request, abi.rename2_in);
  if ((flags & ~RENAME_FLAGS) !== 0) throw new FuseError("EINVAL");
  return renameTo(shared, request, newdir, flags, abi.rename2_in.sizeBytes);
}

function renameTo(
  shared: Export,
  request: Request,
  newDirectory: bigint,
  flags: number,
  namesAt: number,
): Uint8Array {
  requireWritable(shared);
  const [from = NOTHING, to = NOTHING] = stringsOf(request, namesAt, 2);
  const target = shared.inodes.get(Number(newDirectory));
  call("renameat2", request.inode.fd, checkedName(from), target.fd, checkedName(to), flags);
  return NOTHING;
}

export function link(shared: Export, request: Request): Uint8Array {
  requireWritable(shared);
  const { oldnodeid } = argumentsOf(request, abi.link_in);
  const name = nameOf(request, abi.link_in.sizeBytes);
  const source = shared.inodes.get(Number(oldnodeid));
  call("linkat", AT_FDCWD, magicPath(source), request.inode.fd, name, AT_SYMLINK_FOLLOW);
  return entryOf(shared, request.inode, name);
}

/** What was made belongs to the user that the request names. */
export function finishEntry(shared: Export, request: Request, name: Uint8Array): Uint8Array {
  const { uid, gid } = request.header;
  const { inode } = shared.inodes.lookUp(request.inode, name);
  // A directory with the set-group-ID bit gave its group already.
  const parentMode = statOf(request.inode.fd).st_mode;
  const setGroupId = 0o2000;
  const group = (parentMode & setGroupId) !== 0 ? -1 : gid;
  if (process.geteuid?.() === 0) call("fchownat", inode.fd, "", uid, group, AT_EMPTY_PATH);
  return encodeEntry(inode, statOf(inode.fd));
}

function entryOf(shared: Export, directory: Inode, name: Uint8Array): Uint8Array {
  const { inode, stat } = shared.inodes.lookUp(directory, name);
  return encodeEntry(inode, stat);
}
