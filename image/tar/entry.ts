/** What a tar holds, as the reader reports it. */
import type { ByteString } from "../byte-string.ts";
import type { Extent } from "./sparse.ts";

export type EntryType =
  | "file"
  | "hardlink"
  | "symlink"
  | "character"
  | "block"
  | "directory"
  | "fifo";

export interface TarEntry {
  readonly type: EntryType;
  /** As written: may be absolute, may hold `..`; trailing slashes are cut. */
  readonly path: ByteString;
  /** Target of a hard link (a path in the archive) or symlink (any bytes). */
  readonly linkPath: ByteString;
  /** Permission bits with setuid, setgid and sticky. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Size of the file once written out, holes included; 0 for all that is no file. */
  readonly sizeBytes: number;
  readonly mtimeSeconds: number;
  readonly mtimeNanoseconds: number;
  readonly devMajor: number;
  readonly devMinor: number;
  readonly xattrs: ReadonlyMap<ByteString, Uint8Array>;
  /** Where a sparse file's data lies; undefined for any other file. */
  readonly extents: readonly Extent[] | undefined;
  /** Offset of the entry's first header in the archive. */
  readonly offset: number;
}

/** Receives an archive, entry by entry; all calls are synchronous and in order. */
export interface TarSink {
  entry(entry: TarEntry): void;
  /** Bytes of the entry's file at `position`. Valid only until the call returns. */
  data(bytes: Uint8Array, position: number): void;
  /** The entry is complete. */
  end(): void;
}
