/** Extended attributes as bytes. */
import { call, type Fd, syscall } from "../linux/index.ts";
import { type ByteString, bytesToString } from "./byte-string.ts";
import { ENODATA, EOPNOTSUPP, nameArgument } from "./names.ts";

/** xattr(7): a value, and the list of names, have at most 64 KiB. */
const MAX_XATTR_BYTES = 65536;
let scratch: Buffer | undefined;

/** Attributes of an open file or directory. */
export function readXattrs(fd: Fd): Map<ByteString, Uint8Array> {
  scratch ??= Buffer.alloc(2 * MAX_XATTR_BYTES);
  const names = scratch.subarray(0, MAX_XATTR_BYTES);
  const length = syscall("flistxattr", fd, names, names.length);
  if (length === 0 || length === -EOPNOTSUPP) return new Map();
  if (length < 0) call("flistxattr", fd, names, names.length);
  return readValues(names, length, (name, value) =>
    syscall("fgetxattr", fd, nameArgument(name), value, value.length),
  );
}

/** Attributes of a name in a directory that is not followed and need not be openable. */
export function readXattrsAt(directory: Fd, name: ByteString): Map<ByteString, Uint8Array> {
  // A descriptor's entry in /proc is the directory itself; the last name is not followed.
  const path = `/proc/self/fd/${directory.number}/${name}` as ByteString; // SAFE: ASCII and bytes
  scratch ??= Buffer.alloc(2 * MAX_XATTR_BYTES);
  const names = scratch.subarray(0, MAX_XATTR_BYTES);
  const length = syscall("llistxattr", nameArgument(path), names, names.length);
  if (length === 0 || length === -EOPNOTSUPP) return new Map();
  if (length < 0) call("llistxattr", nameArgument(path), names, names.length);
  return readValues(names, length, (attribute, value) =>
    syscall("lgetxattr", nameArgument(path), nameArgument(attribute), value, value.length),
  );
}

function readValues(
  names: Uint8Array,
  length: number,
  read: (name: ByteString, value: Uint8Array) => number,
): Map<ByteString, Uint8Array> {
  const value = (scratch ?? Buffer.alloc(0)).subarray(MAX_XATTR_BYTES);
  const xattrs = new Map<ByteString, Uint8Array>();
  for (const name of bytesToString(names, 0, length).split("\0") as ByteString[]) {
    if (name === "") continue; // behind the last NUL
    const size = read(name, value);
    if (size === -ENODATA) continue; // removed meanwhile
    if (size < 0) throw new Error(`Cannot read extended attribute "${name}": errno ${-size}`);
    xattrs.set(name, Uint8Array.from(value.subarray(0, size)));
  }
  return xattrs;
}
