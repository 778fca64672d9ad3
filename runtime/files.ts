/**
 * The few file operations the runtime needs, as plain system calls. Loading node:fs alone takes
 * 3 ms in the executable, a third of what starting a container may cost.
 */
import {
  AT_FDCWD,
  AT_REMOVEDIR,
  call,
  encodeUtf8,
  Fd,
  hasErrno,
  O_APPEND,
  O_CLOEXEC,
  O_CREAT,
  O_DIRECTORY,
  O_NOFOLLOW,
  O_PATH,
  O_RDONLY,
  O_TRUNC,
  O_WRONLY,
  S_IFDIR,
  S_IFMT,
  stat,
  syscall,
} from "../linux/index.ts";

const firstReadSize = 32 * 1024;
const pathLimit = 4096;
const directoryBufferSize = 32 * 1024;
const ENOENT = -2;
const EEXIST = -17;
/** Files of the kernel and configurations are far smaller; more is somebody's mistake. */
const readSizeLimit = 64 * 1024 * 1024;

const decoder = new TextDecoder();

export function readText(path: string): string {
  using file = Fd.from("openat", AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
  return readFd(file);
}

/** undefined when there is no such file. */
export function readBytesIfThere(path: string): Uint8Array | undefined {
  const opened = syscall("openat", AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
  if (opened === ENOENT) return undefined;
  using file = Fd.take(opened < 0 ? call("openat", AT_FDCWD, path, O_RDONLY) : opened);
  return readAll(file).slice();
}

/** All that can still be read from the descriptor. */
export function readFd(file: Fd | { readonly number: number }): string {
  return decoder.decode(readAll(file));
}

/** New memory for each of a dozen small files would be a hundred page faults. */
let readBuffer: Uint8Array<ArrayBuffer> | undefined;

/** The bytes are gone with the next call. */
function readAll(file: { readonly number: number }): Uint8Array {
  readBuffer ??= new Uint8Array(firstReadSize);
  let buffer = readBuffer;
  let length = 0;
  for (;;) {
    const count = call("read", file.number, buffer.subarray(length), buffer.length - length);
    if (count === 0) return buffer.subarray(0, length);
    length += count;
    if (length < buffer.length) continue;
    if (length >= readSizeLimit)
      throw new RangeError(`Cannot read more than ${readSizeLimit} bytes`);
    const larger = new Uint8Array(buffer.length * 2);
    larger.set(buffer);
    buffer = larger;
  }
}

/** undefined when there is no such file or process. */
export function readTextIfThere(path: string): string | undefined {
  try {
    return readText(path);
  } catch (error) {
    if (hasErrno(error, "ENOENT", "ESRCH", "ENOTDIR", "ENODEV")) return undefined;
    throw error;
  }
}

/** Writes to a file that exists, such as the kernel's: one write, nothing truncated or made. */
export function writeExisting(path: string, text: string): void {
  using file = Fd.from("openat", AT_FDCWD, path, O_WRONLY | O_CLOEXEC);
  const bytes = encodeUtf8(text);
  call("write", file, bytes, bytes.length);
}

export function writeText(path: string, text: string | Uint8Array, mode: number): void {
  writeNew(path, text, mode, O_TRUNC);
}

export function appendText(path: string, text: string): void {
  writeNew(path, text, 0o644, O_APPEND);
}

function writeNew(path: string, text: string | Uint8Array, mode: number, how: number): void {
  const flags = O_WRONLY | O_CREAT | O_CLOEXEC | how;
  using file = Fd.from("openat", AT_FDCWD, path, flags, mode);
  writeFd(file.number, typeof text === "string" ? encodeUtf8(text) : text);
}

export function writeFd(fd: number, bytes: Uint8Array): void {
  for (let rest = bytes; rest.length > 0; )
    rest = rest.subarray(call("write", fd, rest, rest.length));
}

/** The new content appears at once or not at all. */
export function replaceText(path: string, text: string | Uint8Array, mode: number): void {
  const temporary = `${path}.new`;
  writeNew(temporary, text, mode, O_TRUNC);
  call("rename", temporary, path);
}

export function exists(path: string): boolean {
  return syscall("access", path, 0) >= 0;
}

/** undefined when nothing is there. */
export function isDirectory(path: string): boolean | undefined {
  const bytes = new Uint8Array(stat.sizeBytes);
  const result = syscall("newfstatat", AT_FDCWD, path, bytes, 0);
  if (result < 0) return undefined;
  const mode = new DataView(bytes.buffer).getUint32(stat.offsets.st_mode, true);
  return (mode & S_IFMT) === S_IFDIR;
}

/** statfs(2), linux/magic.h. */
const PROC_SUPER_MAGIC = 0x9fa0;
const statfsSize = 120;

export function isProcfs(path: string): boolean {
  const bytes = new Uint8Array(statfsSize);
  if (syscall("statfs", path, bytes) < 0) return false;
  return new DataView(bytes.buffer).getUint32(0, true) === PROC_SUPER_MAGIC;
}

/** Absolute, without symlinks; proc(5): the link of an open descriptor. */
export function realPath(path: string): string {
  using place = Fd.from("openat", AT_FDCWD, path, O_PATH | O_CLOEXEC);
  return readLink(`/proc/self/fd/${place.number}`);
}

export function readLink(path: string): string {
  const bytes = new Uint8Array(pathLimit);
  const length = call("readlink", path, bytes, bytes.length);
  return decoder.decode(bytes.subarray(0, length));
}

/** undefined when it is no symlink, or not there. */
export function readLinkIfThere(path: string): string | undefined {
  const bytes = new Uint8Array(pathLimit);
  const length = syscall("readlink", path, bytes, bytes.length);
  return length < 0 ? undefined : decoder.decode(bytes.subarray(0, length));
}

export function makeDirectories(path: string, mode: number): void {
  const result = syscall("mkdir", path, mode);
  if (result >= 0 || result === EEXIST) return;
  if (result !== ENOENT) call("mkdir", path, mode);
  makeDirectories(path.slice(0, path.lastIndexOf("/")), mode);
  makeDirectories(path, mode);
}

export interface Entry {
  readonly name: string;
  readonly isDirectory: boolean;
}

/** getdents64(2): u64 inode, i64 offset, u16 length, u8 type, name. */
export function listDirectory(path: string): readonly Entry[] {
  using directory = Fd.from("openat", AT_FDCWD, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  return listFd(directory);
}

function listFd(directory: Fd): readonly Entry[] {
  const entries: Entry[] = [];
  const buffer = new Uint8Array(directoryBufferSize);
  const view = new DataView(buffer.buffer);
  for (;;) {
    const size = call("getdents64", directory, buffer, buffer.length);
    if (size === 0) return entries;
    for (let at = 0; at < size; at += view.getUint16(at + 16, true)) {
      const end = buffer.indexOf(0, at + 19);
      const name = decoder.decode(buffer.subarray(at + 19, end));
      if (name !== "." && name !== "..") entries.push({ name, isDirectory: buffer[at + 18] === 4 });
    }
  }
}

/** Removes a directory of ours with all in it; symlinks are removed, not followed. */
export function removeTree(path: string): void {
  const flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
  const opened = syscall("openat", AT_FDCWD, path, flags);
  if (opened === ENOENT) return;
  if (opened < 0) call("openat", AT_FDCWD, path, flags);
  using directory = Fd.take(opened);
  for (const { name, isDirectory: isTree } of listFd(directory))
    if (isTree) removeTree(`${path}/${name}`);
    else syscall("unlinkat", directory, name, 0);
  const result = syscall("unlinkat", AT_FDCWD, path, AT_REMOVEDIR);
  if (result < 0 && result !== ENOENT) call("unlinkat", AT_FDCWD, path, AT_REMOVEDIR);
}
