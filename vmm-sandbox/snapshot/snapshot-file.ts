/**
 * Writes a machine at rest into a file, and brings it back from there. RAM is mapped copy-on-write
 * where it is memory of this process (KVM), and read where it is WebAssembly's.
 */
import { fstatSync, readSync, writeSync } from "node:fs";
import type { CpuBackend } from "../machine/cpu-backend.ts";
import type { GuestMemory } from "../machine/guest-memory.ts";
import { PAGE_SIZE } from "../machine/layout.ts";
import {
  decodeHeader,
  decodeTrailer,
  encodeSnapshot,
  HEADER_BYTES,
  PAGES_OFFSET,
  SnapshotError,
} from "./format.ts";
import { findPages, type PageRun, type Touched } from "./pages.ts";
import { decodeData, encodeData } from "./plain-data.ts";

/** Copied at once: views of RAM may end at some border, and few are needed larger. */
const MAX_TRANSFER_BYTES = 2 ** 20;

export interface OpenSnapshot {
  /** An empty file to write, or a whole one to read. Stays its owner's. */
  readonly fd: number;
  /** The same file as the backend's `mapFile` wants it, if it does. */
  readonly file?: unknown;
  /** 32 bytes: which machine this is. */
  readonly key: Uint8Array;
}

/** What a backend keeps of code it has translated. */
export type SavedCode = SharedArrayBuffer;

/** @returns the file's size. Only while the machine is at rest. */
export function writeSnapshot(
  { fd, key }: OpenSnapshot,
  {
    memory,
    state,
    code,
    touched,
  }: {
    readonly memory: GuestMemory;
    readonly state: unknown;
    readonly code: Uint8Array | undefined;
    readonly touched?: Touched | undefined;
  },
): number {
  const runs = findPages(memory, touched);
  const { header, trailer, codeOffset, trailerOffset } = encodeSnapshot({
    key,
    memorySizeBytes: memory.sizeBytes,
    runs,
    codeBytes: code?.length ?? 0,
    state: Buffer.from(encodeData(state)),
  });
  for (const { address, sizeBytes, offset } of transfers(runs))
    writeAll(fd, memory.window(address, sizeBytes), offset);
  if (code !== undefined) writeAll(fd, code, codeOffset);
  writeAll(fd, trailer, trailerOffset);
  writeAll(fd, header, 0);
  return trailerOffset + trailer.length;
}

/** A snapshot that was looked through, and is about to become a machine. */
export interface LoadedSnapshot {
  readonly state: unknown;
  readonly code: SavedCode | undefined;
  /** RAM must be zeros. */
  fill(backend: Pick<CpuBackend, "memory" | "mapFile">): void;
}

/** Throws SnapshotError for a file that is not whole, or not of this machine. */
export function loadSnapshot(
  { fd, file, key }: OpenSnapshot,
  memorySizeBytes: number,
): LoadedSnapshot {
  const size = fstatSync(fd).size;
  const bytes = readAll(fd, new Uint8Array(Math.min(HEADER_BYTES, size)), 0);
  const header = decodeHeader(bytes, size, { key, memorySizeBytes });
  const trailer = readAll(fd, new Uint8Array(header.trailerBytes), header.trailerOffset);
  const { runs, state } = decodeTrailer(trailer, header);
  const { codeBytes, codeOffset } = header;
  const code = codeBytes === 0 ? undefined : new SharedArrayBuffer(codeBytes);
  if (code !== undefined) readAll(fd, new Uint8Array(code), codeOffset);
  return {
    state: parseState(state),
    code,
    fill: (backend) => fillMemory({ fd, file }, runs, backend),
  };
}

function fillMemory(
  { fd, file }: Pick<OpenSnapshot, "fd" | "file">,
  runs: readonly PageRun[],
  backend: Pick<CpuBackend, "memory" | "mapFile">,
): void {
  const isMapped =
    file !== undefined &&
    backend.mapFile !== undefined &&
    mapRuns(runs, (offset, address, length) => backend.mapFile?.(file, offset, address, length));
  if (isMapped) return;
  for (const { address, sizeBytes, offset } of transfers(runs))
    readAll(fd, backend.memory.window(address, sizeBytes), offset);
}

function parseState(bytes: Uint8Array): unknown {
  try {
    return decodeData(Buffer.from(bytes).toString());
  } catch (cause) {
    throw new SnapshotError("The snapshot is damaged: its state cannot be read", { cause });
  }
}

function mapRuns(
  runs: readonly PageRun[],
  map: (fileOffset: number, guestAddress: number, sizeBytes: number) => boolean | undefined,
): boolean {
  let offset = PAGES_OFFSET;
  for (const { page, count } of runs) {
    if (map(offset, page * PAGE_SIZE, count * PAGE_SIZE) !== true) return false;
    offset += count * PAGE_SIZE;
  }
  return true;
}

/** Where each part of RAM lies in the file. */
function* transfers(runs: readonly PageRun[]): Generator<{
  readonly address: number;
  readonly sizeBytes: number;
  readonly offset: number;
}> {
  let offset = PAGES_OFFSET;
  for (const { page, count } of runs) {
    const end = count * PAGE_SIZE;
    for (let at = 0; at < end; at += MAX_TRANSFER_BYTES) {
      const sizeBytes = Math.min(MAX_TRANSFER_BYTES, end - at);
      yield { address: page * PAGE_SIZE + at, sizeBytes, offset: offset + at };
    }
    offset += end;
  }
}

function writeAll(fd: number, bytes: Uint8Array, offset: number): void {
  for (let at = 0; at < bytes.length; )
    at += writeSync(fd, bytes, at, bytes.length - at, offset + at);
}

function readAll<T extends Uint8Array>(fd: number, bytes: T, offset: number): T {
  for (let at = 0; at < bytes.length; ) {
    const count = readSync(fd, bytes, at, bytes.length - at, offset + at);
    if (count === 0) throw new SnapshotError("The snapshot is damaged: it ends too early");
    at += count;
  }
  return bytes;
}
