/**
 * What a layer takes from the layers below it.
 *
 * A layer's archive may name a file without naming its directory, and in an overlay the upper
 * directory's owner, mode and times are those that are seen: they must be those of the directory
 * below. It may also hard-link to a file that only a lower layer has: the file is copied then, as
 * overlayfs itself would do.
 */
import {
  AT_FDCWD,
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
  S_IFDIR,
  S_IFMT,
  S_IFREG,
  syscall,
} from "../../linux/index.ts";
import { type ByteString, byteStringToText } from "../byte-string.ts";
import { type FileStatus, openDirectory, statFd } from "../directory.ts";
import { LayerError } from "../errors.ts";
import { nameArgument, openInRoot } from "../names.ts";
import { failure } from "../unpack/explain.ts";
import type { DeferredLink, UnpackResult } from "../unpack/job.ts";
import { type AttributePolicy, applyToFd } from "../unpack/metadata.ts";
import { baseOf, parentOf } from "../unpack/paths.ts";
import { readXattrs } from "../xattrs.ts";

const COPY_BYTES = 256 * 1024;
const OPAQUE_XATTRS = ["trusted.overlay.opaque", "user.overlay.opaque"];

/** `lower` are directories of the layers below, uppermost first. */
export function completeLayer(
  directory: string,
  lower: readonly string[],
  result: Pick<UnpackResult, "implicitDirectories" | "missingTargets">,
  policy: AttributePolicy,
): void {
  if (lower.length === 0 && result.missingTargets.length === 0) return;
  using layer = openDirectory(directory);
  const below = lower.map((path) => openDirectory(path));
  try {
    for (const link of result.missingTargets) copyTarget(layer, below, link, policy);
    for (const path of [...result.implicitDirectories].reverse())
      inheritDirectory(layer, below, path, policy);
  } finally {
    for (const fd of below) fd.close();
  }
}

/** The file or directory that an overlay of the layers shows at a path; undefined for none. */
function findBelow(below: readonly Fd[], path: ByteString): Fd | undefined {
  for (const layer of below) {
    const result = openInRoot(layer, path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (result >= 0) {
      const fd = Fd.take(result);
      const { mode, rdevMajor, rdevMinor } = statFd(fd);
      const type = mode & S_IFMT;
      if (type === S_IFDIR || type === S_IFREG) return fd;
      fd.close();
      if (rdevMajor === 0 && rdevMinor === 0) return undefined; // whiteout, or no use to us
    }
    if (hidesBelow(layer, path)) return undefined;
  }
  return undefined;
}

/** Whether something in this layer stands between the path and the layers below. */
function hidesBelow(layer: Fd, path: ByteString): boolean {
  for (let at: ByteString = path; at !== ""; ) {
    at = parentOf(at);
    const result = openInRoot(layer, at, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (result < 0) {
      // Not there: look further up. Something else than a directory hides all below it.
      const other = openInRoot(layer, at, O_PATH | O_NOFOLLOW | O_CLOEXEC);
      if (other < 0) continue;
      syscall("close", other);
      return true;
    }
    using fd = Fd.take(result);
    const value = Buffer.alloc(64);
    for (const name of OPAQUE_XATTRS)
      if (syscall("fgetxattr", fd, name, value, value.length) > 0) return true;
  }
  return false;
}

function inheritDirectory(
  layer: Fd,
  below: readonly Fd[],
  path: ByteString,
  policy: AttributePolicy,
): void {
  using source = findBelow(below, path);
  if (source === undefined) return;
  const status = statFd(source);
  if ((status.mode & S_IFMT) !== S_IFDIR) return;
  const flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
  const result = openInRoot(layer, path, flags);
  if (result < 0) throw failure("openat2", path, result);
  using target = Fd.take(result);
  applyToFd(target, attributesOf(source, status), policy, -1);
}

function copyTarget(
  layer: Fd,
  below: readonly Fd[],
  link: DeferredLink,
  policy: AttributePolicy,
): void {
  using source = findBelow(below, link.target);
  const status = source === undefined ? undefined : statFd(source);
  if (source === undefined || status === undefined || (status.mode & S_IFMT) !== S_IFREG)
    throw new LayerError(
      `Cannot make the hard link "${byteStringToText(link.path)}": its target ` +
        `"${byteStringToText(link.target)}" does not exist in this layer or below`,
    );
  const parent = openInRoot(layer, parentOf(link.path), O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (parent < 0) throw failure("openat2", parentOf(link.path), parent);
  using directory = Fd.take(parent);
  const flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
  using target = Fd.from("openat", directory, nameArgument(baseOf(link.path)), flags, 0o600);
  copyBytes(source, target);
  applyToFd(target, attributesOf(source, status), policy, -1);
}

function copyBytes(source: Fd, target: Fd): void {
  using readable = reopen(source, O_RDONLY);
  const buffer = Buffer.alloc(COPY_BYTES);
  for (;;) {
    const length = call("read", readable, buffer, buffer.length);
    if (length === 0) return;
    for (let at = 0; at < length; )
      at += call("write", target, buffer.subarray(at, length), length - at);
  }
}

/** From a descriptor that only names a file to one that reads it. */
function reopen(fd: Fd, flags: number): Fd {
  return Fd.from("openat", AT_FDCWD, `/proc/self/fd/${fd.number}`, flags | O_CLOEXEC);
}

function attributesOf(fd: Fd, status: FileStatus) {
  using readable = reopen(fd, O_RDONLY);
  const xattrs = readXattrs(readable);
  for (const name of xattrs.keys())
    if (/^(trusted|user)\.overlay\./.test(name)) xattrs.delete(name);
  return { ...status, mode: status.mode & 0o7777, xattrs };
}
