/** Whether there is an image of this executable, and who makes one when there is none. */
import {
  AT_FDCWD,
  Fd,
  O_CLOEXEC,
  O_NOFOLLOW,
  O_RDONLY,
  spawnProgram,
  stat,
  syscall,
} from "../../linux/index.ts";
import { readLink, readText } from "../files.ts";
import { isOrdinaryUser } from "../privilege.ts";
import { waitForChild } from "../wait.ts";
import {
  bootIdPath,
  bootIdSize,
  coldVariable,
  identity,
  imageDirectory,
  imageHeader,
  imageName,
} from "./layout.ts";
import { makerProgram } from "./start.ts";
import { isThawed } from "./subject.ts";

/**
 * Has an image made in the background, for the next start; only of the executable, and for the host's
 * root. An image of just this executable in this boot is left alone: it could not be used now, or
 * says that none can be made.
 */
export function leaveImage(env: Readonly<Record<string, string | undefined>>): void {
  if (isThawed() || env[coldVariable] !== undefined) return;
  if (!import.meta.url.includes("/$bunfs/") || isOrdinaryUser()) return;
  const found = new Uint8Array(stat.sizeBytes);
  if (syscall("newfstatat", AT_FDCWD, "/proc/self/exe", found, 0) < 0) return;
  try {
    if (isImageOf(found)) return;
    const { pid, pidfd } = spawnProgram(makerProgram(readLink("/proc/self/exe")));
    pidfd.close();
    waitForChild(pid);
  } catch {
    // Without /proc, or with no process left for it: the next start may have more luck.
  }
}

function isImageOf(executable: Uint8Array): boolean {
  const inode = new DataView(executable.buffer).getBigUint64(stat.offsets.st_ino, true);
  const path = `${imageDirectory}/${imageName(inode)}`;
  const opened = syscall("openat", AT_FDCWD, path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
  if (opened < 0) return false;
  using file = Fd.take(opened);
  const header = new Uint8Array(imageHeader.size);
  syscall("read", file, header, header.length);
  const origin = encodeOrigin(executable);
  return origin.every((byte, index) => header[imageHeader.identity + index] === byte);
}

/** From `imageHeader.identity` on: which executable, which boot. */
export function encodeOrigin(executable: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(imageHeader.boot - imageHeader.identity + bootIdSize);
  identity().forEach((offset, index) => {
    bytes.set(executable.subarray(offset, offset + 8), 8 * index);
  });
  const id = new TextEncoder().encode(readText(bootIdPath).slice(0, bootIdSize));
  bytes.set(id, imageHeader.boot - imageHeader.identity);
  return bytes;
}
