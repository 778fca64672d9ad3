/** Small files that are whole or absent, whatever dies while they are written. */
import {
  closeSync,
  fsyncSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { randomHex } from "../builtin.ts";
import { diskFull, isDiskFull, StoreError } from "../errors.ts";

/** Written aside in `tmp`, flushed (unless it need not outlive a power cut), renamed. */
export function replaceFile(
  tmp: string,
  path: string,
  content: string | Uint8Array,
  { flush = true }: { readonly flush?: boolean } = {},
): void {
  const aside = join(tmp, `file-${process.pid}-${randomHex(6)}`);
  try {
    const fd = openSync(aside, "wx", 0o644);
    try {
      writeFileSync(fd, content);
      if (flush) fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    renameSync(aside, path);
  } catch (error) {
    rmSync(aside, { force: true });
    if (isDiskFull(error)) throw diskFull(`Cannot write "${path}"`, error);
    throw new StoreError(`Cannot write "${path}"`, { cause: error });
  }
}

/** Content of a file, or undefined when there is none. */
export function readIfExists(path: string): Buffer | undefined {
  try {
    return readFileSync(path);
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw new StoreError(`Cannot read "${path}"`, { cause: error });
  }
}

export function isMissing(error: unknown): boolean {
  const code: unknown = error instanceof Error && "code" in error ? error.code : undefined;
  return code === "ENOENT" || code === "ENOTDIR";
}
