/** Extended attributes of one inode, stored behind it (EROFS "inline" ones). */
import { type ByteString, byteStringToBytes, byteStringToText } from "../byte-string.ts";
import { LayerError } from "../errors.ts";

/** e_name_index → prefix that is not stored; erofs_fs.h. The longer prefix comes first. */
const prefixes: readonly (readonly [index: number, prefix: string])[] = [
  [2, "system.posix_acl_access"],
  [3, "system.posix_acl_default"],
  [1, "user."],
  [4, "trusted."],
  [6, "security."],
];
const HEADER_BYTES = 12;
const ENTRY_BYTES = 4;
const MAX_NAME_BYTES = 255;
const MAX_VALUE_BYTES = 65_535;
/** i_xattr_icount has 16 bits and counts 4-byte units. */
const MAX_TOTAL_BYTES = 65_535 * 4;

/** Header and entries, or nothing for an inode without attributes. Throws LayerError. */
export function encodeXattrs(xattrs: ReadonlyMap<ByteString, Uint8Array>): Uint8Array {
  if (xattrs.size === 0) return new Uint8Array(0);
  const pieces = [...xattrs].sort(([a], [b]) => (a < b ? -1 : 1)).map(encodeXattr);
  const total = pieces.reduce((sum, piece) => sum + piece.length, HEADER_BYTES);
  if (total > MAX_TOTAL_BYTES)
    throw new LayerError(`Cannot store ${total} bytes of extended attributes: EROFS takes 256 KiB`);
  const target = new Uint8Array(total);
  let offset = HEADER_BYTES;
  for (const piece of pieces) {
    target.set(piece, offset);
    offset += piece.length;
  }
  return target;
}

function encodeXattr([name, value]: readonly [ByteString, Uint8Array]): Uint8Array {
  const known = prefixes.find(([, prefix]) => name.startsWith(prefix));
  if (known === undefined)
    throw new LayerError(
      `Cannot store the extended attribute "${byteStringToText(name)}": expected the namespace ` +
        "user, trusted, security or system.posix_acl",
    );
  const [index, prefix] = known;
  // SAFE: a part of a byte string is one.
  const suffix = byteStringToBytes(name.slice(prefix.length) as ByteString);
  if (suffix.length > MAX_NAME_BYTES || value.length > MAX_VALUE_BYTES)
    throw new LayerError(
      `The extended attribute "${byteStringToText(name)}" is too long for EROFS`,
    );
  const length = ENTRY_BYTES + suffix.length + value.length;
  const piece = new Uint8Array(Math.ceil(length / 4) * 4);
  piece[0] = suffix.length;
  piece[1] = index;
  new DataView(piece.buffer).setUint16(2, value.length, true);
  piece.set(suffix, ENTRY_BYTES);
  piece.set(value, ENTRY_BYTES + suffix.length);
  return piece;
}
