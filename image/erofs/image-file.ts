/** Where an image is written. */
import { ftruncateSync, writeSync } from "node:fs";

export interface ImageFile {
  /** Bytes may be reused by the caller afterwards. What is never written reads as zeros. */
  write(bytes: Uint8Array, position: number): void;
  /** Gives the image its final size, and writes what is still held back. */
  finish(sizeBytes: number): void;
}

const BUFFER_BYTES = 1024 * 1024;

/** A file opened for writing, empty. Neighbouring writes are joined: one system call a megabyte. */
export function bufferedImageFile(fd: number): ImageFile {
  const buffer = new Uint8Array(BUFFER_BYTES);
  let start = 0;
  let length = 0;
  const flush = () => {
    for (let done = 0; done < length; )
      done += writeSync(fd, buffer, done, length - done, start + done);
    length = 0;
  };
  return {
    write(bytes, position) {
      // A gap of less than a block is the padding behind a file: zeros cost less than a system call.
      const gap = position - (start + length);
      const fits =
        length > 0 && gap >= 0 && gap < 4096 && length + gap + bytes.length <= BUFFER_BYTES;
      if (fits) {
        buffer.fill(0, length, length + gap);
        buffer.set(bytes, length + gap);
        length += gap + bytes.length;
        return;
      }
      flush();
      for (let done = 0; done < bytes.length; done += BUFFER_BYTES) {
        flush();
        const piece = bytes.subarray(done, done + BUFFER_BYTES);
        buffer.set(piece);
        start = position + done;
        length = piece.length;
      }
    },
    finish(sizeBytes) {
      flush();
      ftruncateSync(fd, sizeBytes);
    },
  };
}
