/**
 * The program of an image: in the door's process, it puts the frozen process's memory in place and
 * goes on as that. Until something is mapped over, a failure ends the program with -1, and the door
 * starts the executable; later too, as an execve clears it all away.
 */
import {
  type Argument,
  AT_EMPTY_PATH,
  AT_FDCWD,
  EPOLL_CTL_ADD,
  F_DUPFD_CLOEXEC,
  MAP_ANONYMOUS,
  MAP_FIXED_NOREPLACE,
  MAP_NORESERVE,
  MAP_PRIVATE,
  O_CLOEXEC,
  O_RDONLY,
  PROT_EXEC,
  PROT_NONE,
  PROT_READ,
  PROT_WRITE,
  type Program,
  sigsetSizeBytes,
  stat,
} from "../../linux/index.ts";
import { DoorRows } from "../door/door-rows.ts";
import {
  bootIdPath,
  bootIdSize,
  identity,
  imageAddress,
  imageHeader,
  imageWords,
} from "./layout.ts";

/** One piece of memory; pieces do not overlap. */
export interface Piece {
  readonly start: number;
  readonly end: number;
  readonly protection: number;
  /** Where its bytes are: in a file, or behind the image's program; nowhere when all are zero. */
  readonly from?: { readonly path: string; readonly offset: number };
  readonly image?: number;
}

/** What the kernel has for each process and maps where it likes: vdso(7). */
export interface KernelPiece {
  readonly start: number;
  readonly end: number;
}

export interface FrozenProcess {
  readonly pieces: readonly Piece[];
  /** Files that must still be what they were: path → struct stat. */
  readonly files: ReadonlyMap<string, Uint8Array>;
  readonly kernelPieces: readonly KernelPiece[];
  /** Where the vdso's ELF header is, 0 without one. */
  readonly vdso: number;
  readonly registers: number;
  readonly fsBase: number;
  /** Where the thread's ID is kept, for locks that ask who holds them. */
  readonly threadId: number;
  readonly epoll: number;
  readonly eventfd: number;
  /** struct epoll_event, 12 bytes. */
  readonly event: Uint8Array;
}

const stale = "stale";
const ARCH_SET_FS = 0x1002;
const MREMAP_MAYMOVE_FIXED = 3;
const SIG_IGN = 1;
const [SIGPIPE, SIGXFSZ] = [13, 25];
const AT_SYSINFO_EHDR = 33;

/** `pagesOffset`: where in the image the pages begin. */
export function planImage(frozen: FrozenProcess, pagesOffset: number): Program {
  const rows = new DoorRows();
  const image = word(rows, imageWords.descriptor);
  planSameBoot(rows);
  const files = planFiles(rows, frozen.files);
  planEvents(rows, frozen);
  for (const piece of frozen.pieces) planPiece(rows, piece, { image, files, pagesOffset });
  planKernelPieces(rows, frozen);
  planRest(rows, frozen);
  for (const file of [...files.values(), image]) rows.call("close", [file]);
  rows.add({ resume: frozen.registers });
  rows.label(stale);
  rows.add({ end: -1 });
  return { rows: rows.rows, buffers: rows.buffers, onError: stale };
}

/** Another boot is another kernel, perhaps another processor; not every /run is empty then. */
function planSameBoot(rows: DoorRows): void {
  const now = rows.buffer("boot", bootIdSize);
  const file = rows.result("openat", [AT_FDCWD, bootIdPath, O_RDONLY | O_CLOEXEC]);
  rows.call("read", [file, now, bootIdSize]);
  rows.call("close", [file]);
  for (let at = 0; at < bootIdSize; at += 8) {
    const then = rows.read(imageAddress + imageHeader.boot + at, 8);
    rows.gotoIf(stale, { load: now.buffer, offset: at, width: 8 }, "!=", then);
  }
}

/** What the door left in the image's header. */
function word(rows: DoorRows, offset: number): Argument {
  return rows.read(imageAddress + imageHeader.words + offset, 8);
}

/** Opens them all, and looks whether anybody has replaced or written to one. */
function planFiles(
  rows: DoorRows,
  files: ReadonlyMap<string, Uint8Array>,
): ReadonlyMap<string, Argument> {
  const seen = rows.buffer("stat", stat.sizeBytes);
  const opened = new Map<string, Argument>();
  for (const [path, bytes] of files) {
    const file = rows.result("openat", [AT_FDCWD, path, O_RDONLY | O_CLOEXEC]);
    rows.call("newfstatat", [file, "", seen, AT_EMPTY_PATH]);
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    for (const offset of identity()) {
      const now = { load: seen.buffer, offset, width: 8 } as const;
      rows.gotoIf(stale, now, "!=", view.getBigInt64(offset, true));
    }
    opened.set(path, file);
  }
  return opened;
}

/** Bun's event loop, at the numbers that it remembers. */
function planEvents(rows: DoorRows, { epoll, eventfd, event }: FrozenProcess): void {
  const made = [
    [rows.result("epoll_create1", [O_CLOEXEC]), epoll],
    [rows.result("eventfd2", [0, O_CLOEXEC | 0x800]), eventfd],
  ] as const;
  for (const [fd, wanted] of made) {
    const lifted = rows.result("fcntl", [fd, F_DUPFD_CLOEXEC, wanted]);
    rows.gotoIf(stale, lifted, "!=", wanted);
    rows.call("close", [fd]);
  }
  rows.call("epoll_ctl", [epoll, EPOLL_CTL_ADD, eventfd, event]);
}

interface Sources {
  readonly image: Argument;
  readonly files: ReadonlyMap<string, Argument>;
  readonly pagesOffset: number;
}

/** A file system without exec, as /run may be, maps nothing executable: those bytes are read. */
function planPiece(
  rows: DoorRows,
  { start, end, protection, from, image: place }: Piece,
  { image, files, pagesOffset }: Sources,
): void {
  const size = end - start;
  const flags = MAP_PRIVATE | MAP_FIXED_NOREPLACE;
  if (from !== undefined) {
    const file = files.get(from.path);
    if (file === undefined) throw new Error(`The image does not know the file "${from.path}"`);
    rows.call("mmap", [start, size, protection, flags, file, from.offset]);
  } else if (place === undefined)
    rows.call("mmap", [start, size, protection, flags | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0]);
  else if ((protection & PROT_EXEC) === 0)
    rows.call("mmap", [start, size, protection, flags, image, pagesOffset + place]);
  else {
    const access = PROT_READ | PROT_WRITE;
    rows.call("mmap", [start, size, access, flags | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0]);
    rows.call("pread64", [image, start, size, pagesOffset + place]);
    rows.gotoIf(stale, { last: true }, "!=", size);
    rows.call("mprotect", [start, size, protection]);
  }
}

/** The door's own, moved to where the frozen process had them; found by getauxval(3). */
function planKernelPieces(rows: DoorRows, { kernelPieces, vdso }: FrozenProcess): void {
  if (vdso === 0) return;
  rows.set("entry", word(rows, imageWords.environment));
  rows.label("next_variable");
  const variable = rows.read(rows.get("entry"), 8);
  rows.advance("entry", 8);
  rows.gotoIf("next_variable", variable, "!=", 0);
  rows.label("next_auxiliary");
  const type = rows.read(rows.get("entry"), 8);
  rows.gotoIf(stale, type, "==", 0);
  const value = rows.read(rows.compute(rows.get("entry"), "+", 8), 8);
  rows.advance("entry", 16);
  rows.gotoIf("next_auxiliary", type, "!=", AT_SYSINFO_EHDR);
  for (const { start, end } of kernelPieces) {
    const here = rows.compute(value, "+", start - vdso);
    const size = end - start;
    rows.call("mremap", [here, size, size, MREMAP_MAYMOVE_FIXED, start]);
  }
}

function planRest(rows: DoorRows, { fsBase, threadId }: FrozenProcess): void {
  // The heap of the C library grows elsewhere: the program break is the door's.
  const end = rows.result("brk", [0]);
  const flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE;
  rows.call("mmap", [end, 4096, PROT_NONE, flags, -1, 0], { ignore: ["EEXIST"] });
  const ignored = new Uint8Array(32);
  ignored[0] = SIG_IGN;
  for (const signal of [SIGPIPE, SIGXFSZ])
    rows.call("rt_sigaction", [signal, ignored, 0, sigsetSizeBytes]);
  rows.set("thread_id", rows.result("gettid", []));
  rows.add({ copy: { buffer: "thread_id" }, to: threadId, length: 4 });
  rows.call("arch_prctl", [ARCH_SET_FS, fsBase]);
}
