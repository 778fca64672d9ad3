/**
 * System calls on byte-string names.
 *
 * `linux` takes text as UTF-8; these take byte strings, copied into a few buffers that are used in
 * turn, so that naming a file allocates nothing.
 */
import {
  errnoName,
  errnoNumber,
  errnos,
  Fd,
  open_how,
  RESOLVE_IN_ROOT,
  RESOLVE_NO_MAGICLINKS,
  syscall,
} from "../linux/index.ts";
import type { ByteString } from "./byte-string.ts";

// Large enough for PATH_MAX; a call names at most two paths at once.
const buffers = [0, 1, 2, 3].map(() => Buffer.alloc(4352));
let turn = 0;

const SCRATCH_PATH_BYTES = 4351;

/** The name, NUL-terminated, valid for this and the next two calls. */
export function nameArgument(name: ByteString): Uint8Array {
  if (name.length > SCRATCH_PATH_BYTES)
    throw new RangeError(`Cannot pass a name of ${name.length} bytes to the kernel`);
  turn = (turn + 1) & 3;
  const buffer = buffers[turn] ?? Buffer.alloc(4352);
  buffer[buffer.write(name, "latin1")] = 0;
  return buffer;
}

const how = Buffer.from(open_how.encode({ resolve: RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS }));

/** openat2(2) answers EAGAIN while something on the way is being renamed. */
const RESOLVE_ATTEMPTS = 128;

export const EPERM = errnoNumber("EPERM");
export const ENOENT = errnoNumber("ENOENT");
export const EAGAIN = errnoNumber("EAGAIN");
export const EACCES = errnoNumber("EACCES");
export const EEXIST = errnoNumber("EEXIST");
export const ENOTDIR = errnoNumber("ENOTDIR");
export const EISDIR = errnoNumber("EISDIR");
export const ENOSPC = errnoNumber("ENOSPC");
export const ELOOP = errnoNumber("ELOOP");
export const ENODATA = errnoNumber("ENODATA");
export const EOPNOTSUPP = errnoNumber("EOPNOTSUPP");

/** What the C library says about an error number. */
export function errnoText(errno: number): string {
  const name = errnoName(errno);
  return name in errnos ? `${errnos[name][1]} (${name})` : name;
}

/** Opens a path as if `root` were "/"; returns a raw descriptor or -errno. */
export function openInRoot(root: Fd, path: ByteString, flags: number): number {
  how.writeBigUInt64LE(BigInt(flags), 0);
  const name = nameArgument(path === "" ? ("." as ByteString) : path); // SAFE: a dot is a byte
  for (let attempt = 1; ; attempt++) {
    const result = syscall("openat2", root, name, how, how.length);
    if (result !== -EAGAIN || attempt === RESOLVE_ATTEMPTS) return result;
  }
}

/** Takes a descriptor, or undefined when the call failed. */
export function takeFd(result: number): Fd | undefined {
  return result < 0 ? undefined : Fd.take(result);
}
