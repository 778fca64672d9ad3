/** Directories as the kernel gives them: names in bytes, no path ever joined. */
import {
  AT_EMPTY_PATH,
  AT_FDCWD,
  AT_REMOVEDIR,
  AT_SYMLINK_NOFOLLOW,
  call,
  Fd,
  O_CLOEXEC,
  O_DIRECTORY,
  O_NOFOLLOW,
  O_RDONLY,
  syscall,
} from "../linux/index.ts";
import { type ByteString, byteStringToText, bytesToString } from "./byte-string.ts";
import { StoreError } from "./errors.ts";
import { EISDIR, ELOOP, ENOENT, ENOTDIR, nameArgument } from "./names.ts";

const DIRENTS_BYTES = 64 * 1024;
const MAX_DEPTH = 4096;

export interface FileStatus {
  readonly dev: number;
  readonly ino: number;
  readonly links: number;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly rdevMajor: number;
  readonly rdevMinor: number;
  readonly sizeBytes: number;
  /** Allocated, in units of 512 bytes. */
  readonly blocks: number;
  readonly mtimeSeconds: number;
  readonly mtimeNanoseconds: number;
}

const statBuffer = Buffer.alloc(144);

/** lstat(2) of a name in a directory; undefined when there is none. */
export function statAt(directory: Fd, name: ByteString): FileStatus | undefined {
  const path = nameArgument(name);
  const result = syscall("newfstatat", directory, path, statBuffer, AT_SYMLINK_NOFOLLOW);
  if (result === -ENOENT || result === -ENOTDIR) return undefined;
  if (result < 0) call("newfstatat", directory, path, statBuffer, AT_SYMLINK_NOFOLLOW);
  return decodeStat();
}

export function statFd(fd: Fd): FileStatus {
  call("newfstatat", fd, "", statBuffer, AT_EMPTY_PATH);
  return decodeStat();
}

/** struct stat, asm/stat.h of x86-64. */
function decodeStat(): FileStatus {
  const rdev = Number(statBuffer.readBigUInt64LE(40));
  return {
    dev: Number(statBuffer.readBigUInt64LE(0)),
    ino: Number(statBuffer.readBigUInt64LE(8)),
    links: Number(statBuffer.readBigUInt64LE(16)),
    mode: statBuffer.readUInt32LE(24),
    uid: statBuffer.readUInt32LE(28),
    gid: statBuffer.readUInt32LE(32),
    // makedev(3): minor's low byte, 12 bits of major, the rest of minor.
    rdevMajor: Math.floor(rdev / 256) % 4096,
    rdevMinor: (rdev % 256) + Math.floor(rdev / 2 ** 20) * 256,
    sizeBytes: Number(statBuffer.readBigInt64LE(48)),
    blocks: Number(statBuffer.readBigInt64LE(64)),
    mtimeSeconds: Number(statBuffer.readBigInt64LE(88)),
    mtimeNanoseconds: Number(statBuffer.readBigUInt64LE(96)),
  };
}

/** A device number as mknod(2) wants it. */
export function makeDevice(major: number, minor: number): number {
  const low = (minor % 256) + (major % 4096) * 256;
  return low + Math.floor(minor / 256) * 2 ** 20;
}

export function openDirectory(path: string): Fd {
  return Fd.from("openat", AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/** Names in a directory, sorted by their bytes, without "." and "..". */
export function listDirectory(directory: Fd): ByteString[] {
  const buffer = Buffer.alloc(DIRENTS_BYTES);
  const names: ByteString[] = [];
  call("lseek", directory, 0, 0);
  for (;;) {
    const length = call("getdents64", directory, buffer, buffer.length);
    if (length === 0) return names.sort();
    // struct linux_dirent64: inode 8, offset 8, record length 2, type 1, name.
    for (let at = 0; at < length; at += buffer.readUInt16LE(at + 16)) {
      const name = bytesToString(buffer, at + 19, buffer.indexOf(0, at + 19));
      if (name !== "." && name !== "..") names.push(name);
    }
  }
}

/** Opens a directory that is a direct child, never through a symlink; undefined when it is none. */
export function openChildDirectory(directory: Fd, name: ByteString): Fd | undefined {
  const flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
  const result = syscall("openat", directory, nameArgument(name), flags);
  if (result >= 0) return Fd.take(result);
  if (result === -ENOENT || result === -ENOTDIR || result === -ELOOP) return undefined;
  return Fd.from("openat", directory, nameArgument(name), flags);
}

/** Removes a name and all below it; nothing is followed. */
export function removeTree(directory: Fd, name: ByteString, depth = 0): void {
  const result = syscall("unlinkat", directory, nameArgument(name), 0);
  if (result === 0 || result === -ENOENT) return;
  if (result !== -EISDIR) call("unlinkat", directory, byteStringToText(name), 0);
  if (depth > MAX_DEPTH)
    throw new StoreError(`Cannot remove a tree of more than ${MAX_DEPTH} levels`);
  using child = openForRemoval(directory, name);
  if (child === undefined) return;
  for (const entry of listDirectory(child)) removeTree(child, entry, depth + 1);
  call("unlinkat", directory, nameArgument(name), AT_REMOVEDIR);
}

/** Who is not root may own directories that even he cannot read or change: he opens them up. */
function openForRemoval(directory: Fd, name: ByteString): Fd | undefined {
  if (process.geteuid?.() !== 0) {
    const status = statAt(directory, name);
    const isLocked = status !== undefined && (status.mode & 0o700) !== 0o700;
    // Not through a symlink: unlinkat has just said that this is a directory.
    if (isLocked) syscall("fchmodat", directory, nameArgument(name), 0o700);
  }
  return openChildDirectory(directory, name);
}
