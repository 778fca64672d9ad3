/** Errors of unpacking, told with the entry they happened at. */
import { errnoName, SyscallError, type SyscallName } from "../../linux/index.ts";
import { type ByteString, byteStringToText } from "../byte-string.ts";
import { diskFull, isDiskFull, LayerError, LimitError, StoreError } from "../errors.ts";

/** A failed call on a name; `result` is -errno. */
export function failure(name: SyscallName, path: ByteString, result: number): SyscallError {
  const args = [byteStringToText(path)];
  return new SyscallError({ call: name, args, errno: errnoName(-result) });
}

/** Adds the entry's name to whatever went wrong. */
export function explain(error: unknown, path: ByteString): Error {
  if (error instanceof LimitError) return error;
  const where = `Cannot unpack "${byteStringToText(path)}"`;
  if (error instanceof LayerError) return new LayerError(where, { cause: error });
  if (isDiskFull(error)) return diskFull(where, error);
  return new StoreError(where, { cause: error });
}
