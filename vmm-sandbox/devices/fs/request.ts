/** One FUSE request, taken apart with bounds; and the pieces of replies. */
import { attr, attr_out, entry_out, type in_header } from "./abi.ts";
import { FuseError } from "./fuse-error.ts";
import type { Handles } from "./handles.ts";
import type { Inode, Inodes, Stat } from "./inodes.ts";

export interface Export {
  readonly inodes: Inodes;
  readonly handles: Handles;
  readonly readOnly: boolean;
}

export interface Request {
  readonly header: ReturnType<typeof in_header.decode>;
  /** What follows the header. A private copy: the guest cannot change it while we look. */
  readonly body: Uint8Array;
  readonly inode: Inode;
}

type Decoder<T> = { readonly sizeBytes: number; decode(source: Uint8Array, offset?: number): T };

/** NAME_MAX of Linux. */
const MAX_NAME_BYTES = 255;
const MAX_TARGET_BYTES = 4095;
/** Seconds for which the guest may trust an entry or attributes: the host may change them too. */
const CACHE_SECONDS = 1;

/** The operation's struct at the start of the body. */
export function argumentsOf<T>(request: Request, decoder: Decoder<T>): T {
  if (request.body.length < decoder.sizeBytes) throw new FuseError("EINVAL");
  return decoder.decode(request.body);
}

/** NUL-terminated strings behind the operation's struct: `count` of them. */
export function stringsOf(request: Request, offset: number, count: number): readonly Uint8Array[] {
  const strings: Uint8Array[] = [];
  let start = offset;
  for (let index = 0; index < count; index++) {
    const end = request.body.indexOf(0, start);
    if (end < 0) throw new FuseError("EINVAL");
    strings.push(request.body.subarray(start, end + 1));
    start = end + 1;
  }
  return strings;
}

/** One component of a path, with its NUL, as system calls take it. */
export function nameOf(request: Request, offset: number): Uint8Array {
  const [name = new Uint8Array(0)] = stringsOf(request, offset, 1);
  return checkedName(name);
}

/** Refuses what is no plain name: the only way a guest could point outside its directory. */
export function checkedName(name: Uint8Array): Uint8Array {
  const length = name.length - 1;
  if (length > MAX_NAME_BYTES) throw new FuseError("ENAMETOOLONG");
  const dot = 0x2e;
  const isDots = (length === 1 || length === 2) && name.subarray(0, length).every((c) => c === dot);
  if (length <= 0 || isDots || name.includes(0x2f)) throw new FuseError("EINVAL");
  return name;
}

export function checkedTarget(target: Uint8Array): Uint8Array {
  if (target.length - 1 > MAX_TARGET_BYTES) throw new FuseError("ENAMETOOLONG");
  return target;
}

export function requireWritable({ readOnly }: Export): void {
  if (readOnly) throw new FuseError("EROFS");
}

export function encodeEntry({ id }: Inode, stat: Stat): Uint8Array {
  const entry = entry_out.encode({
    nodeid: id,
    entry_valid: CACHE_SECONDS,
    attr_valid: CACHE_SECONDS,
  });
  return Buffer.concat([entry, encodeAttributes(stat)]);
}

export function encodeAttributesReply(stat: Stat): Uint8Array {
  return Buffer.concat([attr_out.encode({ attr_valid: CACHE_SECONDS }), encodeAttributes(stat)]);
}

function encodeAttributes(stat: Stat): Uint8Array {
  return attr.encode({
    ino: stat.st_ino,
    size: stat.st_size,
    blocks: stat.st_blocks,
    atime: stat.st_atime,
    mtime: stat.st_mtime,
    ctime: stat.st_ctime,
    atimensec: stat.st_atime_nsec,
    mtimensec: stat.st_mtime_nsec,
    ctimensec: stat.st_ctime_nsec,
    mode: stat.st_mode,
    nlink: stat.st_nlink,
    uid: stat.st_uid,
    gid: stat.st_gid,
    rdev: stat.st_rdev,
    blksize: stat.st_blksize,
  });
}
