/**
 * The archive that Linux unpacks into its first root: cpio in the "newc" format.
 * Source: Documentation/driver-api/early-userspace/buffer-format.rst.
 *
 * ```
 * header  "070701", then 13 fields of 8 hexadecimal digits   110 bytes
 * name    NUL-terminated, padded so that header and name end on 4 bytes
 * data    padded to 4 bytes
 * ```
 */

export type InitramfsEntry =
  | { readonly path: string; readonly type: "directory"; readonly mode?: number }
  | {
      readonly path: string;
      readonly type: "file";
      readonly data: Uint8Array;
      readonly mode?: number;
    }
  | { readonly path: string; readonly type: "symlink"; readonly target: string }
  | {
      readonly path: string;
      readonly type: "character";
      readonly major: number;
      readonly minor: number;
      readonly mode?: number;
    };

const HEADER_BYTES = 110;
const MAGIC = "070701";
const ALIGNMENT = 4;
/** The kernel refuses longer names (PATH_MAX, its NUL included). */
const MAX_NAME_BYTES = 4096;
const TRAILER = "TRAILER!!!";
const typeBits = { directory: 0o040000, file: 0o100000, symlink: 0o120000, character: 0o020000 };
const noBytes = new Uint8Array(0);

/** Entries in order; a directory must come before what it holds. Everything belongs to root. */
export function encodeInitramfs(entries: readonly InitramfsEntry[]): Uint8Array {
  const pieces = entries.map((entry, index) => encodeEntry(entry, index + 1));
  pieces.push(encodeMember({ name: TRAILER, inode: 0, mode: 0, data: noBytes }));
  return Buffer.concat(pieces);
}

function encodeEntry(entry: InitramfsEntry, inode: number): Uint8Array {
  const name = entry.path.replace(/^\/+/, "");
  const common = { name, inode };
  switch (entry.type) {
    case "directory":
      return encodeMember({
        ...common,
        mode: typeBits.directory | (entry.mode ?? 0o755),
        data: noBytes,
      });
    case "file":
      return encodeMember({
        ...common,
        mode: typeBits.file | (entry.mode ?? 0o644),
        data: entry.data,
      });
    case "symlink":
      return encodeMember({
        ...common,
        mode: typeBits.symlink | 0o777,
        data: Buffer.from(entry.target),
      });
    case "character": {
      const mode = typeBits.character | (entry.mode ?? 0o600);
      return encodeMember({ ...common, mode, data: noBytes, device: [entry.major, entry.minor] });
    }
  }
}

interface Member {
  readonly name: string;
  readonly inode: number;
  readonly mode: number;
  readonly data: Uint8Array;
  readonly device?: readonly [major: number, minor: number];
}

function encodeMember({ name, inode, mode, data, device = [0, 0] }: Member): Uint8Array {
  const nameBytes = Buffer.from(`${name}\0`);
  if (nameBytes.length > MAX_NAME_BYTES || name === "")
    throw new RangeError(`Expected a name of 1 to ${MAX_NAME_BYTES - 1} bytes, got "${name}"`);
  const links = 1;
  const [major, minor] = device;
  const fields = [
    inode,
    mode,
    0,
    0,
    links,
    0,
    data.length,
    0,
    0,
    major,
    minor,
    nameBytes.length,
    0,
  ];
  const digits = fields.map((field) => field.toString(16).padStart(8, "0"));
  const dataOffset = align(HEADER_BYTES + nameBytes.length);
  const member = new Uint8Array(align(dataOffset + data.length));
  member.set(Buffer.from(MAGIC + digits.join("")));
  member.set(nameBytes, HEADER_BYTES);
  member.set(data, dataOffset);
  return member;
}

function align(offset: number): number {
  return Math.ceil(offset / ALIGNMENT) * ALIGNMENT;
}
