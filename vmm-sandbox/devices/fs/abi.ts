/**
 * FUSE as Linux speaks it, version 7.38. Source: include/uapi/linux/fuse.h.
 *
 * ```
 * request   fuse_in_header (40 bytes), then the operation's struct, then names and data
 * reply     fuse_out_header (16 bytes), then the operation's struct or data
 * ```
 * All little endian here: both ends are x86-64.
 */
import { bytes, i32, struct, u16, u32, u64 } from "../../../linux/index.ts";

export const FUSE_VERSION = { major: 7, minor: 38 } as const;
export const ROOT_ID = 1;

// biome-ignore format: table
export const opcodes = {
  LOOKUP: 1, FORGET: 2, GETATTR: 3, SETATTR: 4, READLINK: 5, SYMLINK: 6, MKNOD: 8, MKDIR: 9,
  UNLINK: 10, RMDIR: 11, RENAME: 12, LINK: 13, OPEN: 14, READ: 15, WRITE: 16, STATFS: 17,
  RELEASE: 18, FSYNC: 20, SETXATTR: 21, GETXATTR: 22, LISTXATTR: 23, REMOVEXATTR: 24, FLUSH: 25,
  INIT: 26, OPENDIR: 27, READDIR: 28, RELEASEDIR: 29, FSYNCDIR: 30, CREATE: 35, INTERRUPT: 36,
  DESTROY: 38, BATCH_FORGET: 42, FALLOCATE: 43, READDIRPLUS: 44, RENAME2: 45, LSEEK: 46,
  COPY_FILE_RANGE: 47, SYNCFS: 50,
} as const;

export type Opcode = keyof typeof opcodes;

/** What both sides of INIT may agree on. */
export const initFlags = {
  ASYNC_READ: 1 << 0,
  ATOMIC_O_TRUNC: 1 << 3,
  BIG_WRITES: 1 << 5,
  DO_READDIRPLUS: 1 << 13,
  READDIRPLUS_AUTO: 1 << 14,
  ASYNC_DIO: 1 << 15,
  PARALLEL_DIROPS: 1 << 18,
  MAX_PAGES: 1 << 22,
  CACHE_SYMLINKS: 1 << 23,
} as const;

/** fuse_setattr_in.valid. */
export const attributeBits = {
  MODE: 1 << 0,
  UID: 1 << 1,
  GID: 1 << 2,
  SIZE: 1 << 3,
  ATIME: 1 << 4,
  MTIME: 1 << 5,
  FH: 1 << 6,
  ATIME_NOW: 1 << 7,
  MTIME_NOW: 1 << 8,
} as const;

export const in_header = struct(40, {
  len: u32,
  opcode: u32,
  unique: u64,
  nodeid: u64,
  uid: u32,
  gid: u32,
  pid: u32,
  padding: u32,
});
export const out_header = struct(16, { len: u32, error: i32, unique: u64 });

export const init_in = struct(16, { major: u32, minor: u32, max_readahead: u32, flags: u32 });
export const init_out = struct(64, {
  major: u32,
  minor: u32,
  max_readahead: u32,
  flags: u32,
  max_background: u16,
  congestion_threshold: u16,
  max_write: u32,
  time_gran: u32,
  max_pages: u16,
  map_alignment: u16,
  unused: bytes(32),
});

export const attr = struct(88, {
  ino: u64,
  size: u64,
  blocks: u64,
  atime: u64,
  mtime: u64,
  ctime: u64,
  atimensec: u32,
  mtimensec: u32,
  ctimensec: u32,
  mode: u32,
  nlink: u32,
  uid: u32,
  gid: u32,
  rdev: u32,
  blksize: u32,
  flags: u32,
});
/** Followed by `attr`. */
export const entry_out = struct(40, {
  nodeid: u64,
  generation: u64,
  entry_valid: u64,
  attr_valid: u64,
  entry_valid_nsec: u32,
  attr_valid_nsec: u32,
});
/** Followed by `attr`. */
export const attr_out = struct(16, { attr_valid: u64, attr_valid_nsec: u32, dummy: u32 });

export const forget_in = struct(8, { nlookup: u64 });
export const batch_forget_in = struct(8, { count: u32, dummy: u32 });
export const forget_one = struct(16, { nodeid: u64, nlookup: u64 });
export const getattr_in = struct(16, { getattr_flags: u32, dummy: u32, fh: u64 });
export const setattr_in = struct(88, {
  valid: u32,
  padding: u32,
  fh: u64,
  size: u64,
  lock_owner: u64,
  atime: u64,
  mtime: u64,
  ctime: u64,
  atimensec: u32,
  mtimensec: u32,
  ctimensec: u32,
  mode: u32,
  unused4: u32,
  uid: u32,
  gid: u32,
  unused5: u32,
});
export const mknod_in = struct(16, { mode: u32, rdev: u32, umask: u32, padding: u32 });
export const mkdir_in = struct(8, { mode: u32, umask: u32 });
export const rename_in = struct(8, { newdir: u64 });
export const rename2_in = struct(16, { newdir: u64, flags: u32, padding: u32 });
export const link_in = struct(8, { oldnodeid: u64 });
export const open_in = struct(8, { flags: u32, open_flags: u32 });
export const open_out = struct(16, { fh: u64, open_flags: u32, padding: u32 });
export const create_in = struct(16, { flags: u32, mode: u32, umask: u32, open_flags: u32 });
export const release_in = struct(24, { fh: u64, flags: u32, release_flags: u32, lock_owner: u64 });
export const read_in = struct(40, {
  fh: u64,
  offset: u64,
  size: u32,
  read_flags: u32,
  lock_owner: u64,
  flags: u32,
  padding: u32,
});
export const write_in = struct(40, {
  fh: u64,
  offset: u64,
  size: u32,
  write_flags: u32,
  lock_owner: u64,
  flags: u32,
  padding: u32,
});
export const write_out = struct(8, { size: u32, padding: u32 });
export const fsync_in = struct(16, { fh: u64, fsync_flags: u32, padding: u32 });
export const setxattr_in = struct(8, { size: u32, flags: u32 });
export const getxattr_in = struct(8, { size: u32, padding: u32 });
export const getxattr_out = struct(8, { size: u32, padding: u32 });
export const fallocate_in = struct(32, {
  fh: u64,
  offset: u64,
  length: u64,
  mode: u32,
  padding: u32,
});
export const lseek_in = struct(24, { fh: u64, offset: u64, whence: u32, padding: u32 });
export const lseek_out = struct(8, { offset: u64 });
export const copy_file_range_in = struct(56, {
  fh_in: u64,
  off_in: u64,
  nodeid_out: u64,
  fh_out: u64,
  off_out: u64,
  len: u64,
  flags: u64,
});
export const statfs_out = struct(80, {
  blocks: u64,
  bfree: u64,
  bavail: u64,
  files: u64,
  ffree: u64,
  bsize: u32,
  namelen: u32,
  frsize: u32,
  padding: u32,
  spare: bytes(24),
});
/** Followed by the name, padded to 8 bytes. */
export const dirent = struct(24, { ino: u64, off: u64, namelen: u32, type: u32 });
