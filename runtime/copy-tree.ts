/**
 * Copies a directory of a root file system, for tmpcopyup. Every name is opened in its directory
 * without following symlinks, so nothing outside the root is read.
 */
import {
  AT_EMPTY_PATH,
  AT_SYMLINK_NOFOLLOW,
  call,
  Fd,
  O_CLOEXEC,
  O_CREAT,
  O_DIRECTORY,
  O_EXCL,
  O_NOFOLLOW,
  O_PATH,
  O_RDONLY,
  O_WRONLY,
  open_how,
  S_IFDIR,
  S_IFLNK,
  S_IFMT,
  S_IFREG,
  stat,
  syscall,
} from "../linux/index.ts";
import { listDirectory } from "./files.ts";
import { howInRoot } from "./launch/row-list.ts";

const ENOENT = -2;
const permissionBits = 0o7777;
const chunkSize = 1024 * 1024;
const pathLimit = 4096;
const depthLimit = 256;

/** A directory that is not there is an empty one. */
export function copyTree(rootfs: string, path: string, target: Fd): void {
  using root = Fd.from("openat", -100, rootfs, O_PATH | O_CLOEXEC);
  const how = howInRoot(O_RDONLY | O_DIRECTORY);
  const found = syscall("openat2", root, path, how, open_how.sizeBytes);
  if (found === ENOENT) return;
  using source = Fd.take(found < 0 ? call("openat2", root, path, how, open_how.sizeBytes) : found);
  copyDirectory(source, target, depthLimit);
}

function copyDirectory(source: Fd, target: Fd, depth: number): void {
  if (depth === 0) throw new RangeError(`Cannot copy more than ${depthLimit} folders deep`);
  for (const { name } of listDirectory(`/proc/self/fd/${source.number}`)) {
    using entry = Fd.from("openat", source, name, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    copyEntry(source, entry, target, name, depth);
  }
  copyOwner(source, target);
}

function copyEntry(source: Fd, entry: Fd, target: Fd, name: string, depth: number): void {
  const { st_mode, st_uid, st_gid, st_rdev } = statOf(entry);
  const type = st_mode & S_IFMT;
  if (type === S_IFDIR) {
    call("mkdirat", target, name, 0o700);
    using inner = Fd.from("openat", source, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    using made = Fd.from("openat", target, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    copyDirectory(inner, made, depth - 1);
    return;
  }
  if (type === S_IFREG) {
    using from = Fd.from("openat", source, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    using to = Fd.from("openat", target, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o600);
    while (call("sendfile", to, from, 0, chunkSize) > 0);
  } else if (type === S_IFLNK) {
    const link = new Uint8Array(pathLimit);
    call("readlinkat", entry, "", link, link.length - 1);
    call("symlinkat", link, target, name);
  } else call("mknodat", target, name, st_mode, st_rdev);
  call("fchownat", target, name, st_uid, st_gid, AT_SYMLINK_NOFOLLOW);
  // A change of owner takes set-user-ID away, so the mode comes last.
  if (type !== S_IFLNK) call("fchmodat", target, name, st_mode & permissionBits);
}

function copyOwner(source: Fd, target: Fd): void {
  const { st_mode, st_uid, st_gid } = statOf(source);
  call("fchownat", target, "", st_uid, st_gid, AT_EMPTY_PATH);
  call("fchmodat", target, ".", st_mode & permissionBits);
}

function statOf(fd: Fd) {
  const bytes = new Uint8Array(stat.sizeBytes);
  call("newfstatat", fd, "", bytes, AT_EMPTY_PATH);
  return stat.decode(bytes);
}
