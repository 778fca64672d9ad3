/**
 * A file as memory, so that a kernel of 20 MB is not read into a heap: its pages are those of the
 * page cache.
 */
import {
  call,
  Fd,
  MAP_PRIVATE,
  O_CLOEXEC,
  O_RDONLY,
  PROT_READ,
  stat,
  syscall,
  viewMemory,
} from "../../linux/index.ts";

export interface FileMapping extends Disposable {
  readonly bytes: Uint8Array;
  readonly fd: Fd;
}

/** A kernel is smaller; anything larger is a mistake. */
const MAX_BYTES = 2 ** 30;

/**
 * Read-only; a path, or a descriptor, which is the mapping's from then on. The file must not shrink
 * while it is mapped: that is a fault of this process.
 */
export function mapWholeFile(path: string | number): FileMapping {
  const fd =
    typeof path === "number"
      ? Fd.take(path)
      : Fd.from("openat", -100, path, O_RDONLY | O_CLOEXEC, 0);
  try {
    const status = new Uint8Array(stat.sizeBytes);
    call("fstat", fd, status);
    const size = Number(stat.decode(status).st_size);
    if (size === 0 || size > MAX_BYTES) {
      throw new RangeError(
        `Cannot map "${path}": it has ${size} bytes, expected 1 to ${MAX_BYTES}`,
      );
    }
    const address = call("mmap", 0, size, PROT_READ, MAP_PRIVATE, fd, 0);
    return {
      bytes: viewMemory(address, size),
      fd,
      [Symbol.dispose]: () => {
        syscall("munmap", address, size);
        fd.close();
      },
    };
  } catch (error) {
    fd.close();
    throw error;
  }
}
