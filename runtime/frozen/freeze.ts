/**
 * Makes an image of the executable: starts it as `subject`, waits until it is frozen, and writes its
 * memory to a file. Nobody waits for us: the start that asked for an image has long ended.
 */
import {
  AT_FDCWD,
  call,
  encodeProgram,
  Fd,
  frozenRegistersSize,
  LOCK_EX,
  LOCK_NB,
  O_CLOEXEC,
  O_CREAT,
  O_DIRECTORY,
  O_NOFOLLOW,
  O_RDONLY,
  O_WRONLY,
  POLLIN,
  pollfd,
  SEEK_SET,
  SIGKILL,
  spawnProgram,
  stat,
  syscall,
} from "../../linux/index.ts";
import { listDirectory, readFd, readLink, readText, removeTree, writeFd } from "../files.ts";
import { waitForChild } from "../wait.ts";
import { encodeOrigin } from "./image.ts";
import { type FrozenProcess, type Piece, planImage } from "./image-program.ts";
import {
  failedMagic,
  imageAddress,
  imageDirectory,
  imageHeader,
  imageMagic,
  imageName,
  programOffset,
  reportDescriptor,
  reportSize,
} from "./layout.ts";
import {
  joinRuns,
  type Mapping,
  ownPages,
  PAGE_BYTES,
  parseMappings,
  type Run,
} from "./mappings.ts";
import { subjectProgram } from "./start.ts";

const patienceMs = 10_000;
const imageLimit = 16;
/** Pages that a mapping of its own is worth: they lie in the image as zeros. */
const gapPages = 16;
/** glibc on x86-64, struct pthread: tid. */
const threadIdOffset = 0x2d0;
/** What a thread's stack may grow to: RLIMIT_STACK's usual value, which JavaScriptCore has read. */
const stackBytes = 8 * 1024 * 1024;

/** The exit status. Whatever goes wrong, nobody is told but those who would try again. */
export function makeImage(): number {
  const executable = readLink("/proc/self/exe");
  const found = statOf(executable);
  syscall("mkdir", imageDirectory, 0o700);
  const flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
  using directory = Fd.from("openat", AT_FDCWD, imageDirectory, flags);
  if (listDirectory(imageDirectory).length >= imageLimit) removeAll(directory);
  const name = imageName(new DataView(found.buffer).getBigUint64(stat.offsets.st_ino, true));
  const how = O_CREAT | O_NOFOLLOW | O_WRONLY | O_CLOEXEC;
  using file = Fd.from("openat", directory, `${name}.new`, how, 0o600);
  // Somebody else is at it, or was killed at it: then the file is ours.
  if (syscall("flock", file, LOCK_EX | LOCK_NB) < 0) return 0;
  let status = 0;
  try {
    freezeSubject(executable, (pid, report) => {
      writeImage(file, found, describe(pid, report), pid);
    });
  } catch {
    call("ftruncate", file, 0);
    call("lseek", file, 0, SEEK_SET);
    writeFd(file.number, encodeHeader(failedMagic, found, imageHeader.size));
    status = 1;
  }
  call("renameat", directory, `${name}.new`, directory, name);
  return status;
}

/** Header of an image, or of the note that there can be none. */
function encodeHeader(magic: bigint, executable: Uint8Array, size: number): Uint8Array {
  const head = new Uint8Array(size);
  const view = new DataView(head.buffer);
  view.setBigUint64(imageHeader.magic, magic, true);
  view.setBigUint64(imageHeader.mappedBytes, BigInt(size), true);
  head.set(encodeOrigin(executable), imageHeader.identity);
  return head;
}

function statOf(path: string): Uint8Array {
  const bytes = new Uint8Array(stat.sizeBytes);
  call("newfstatat", AT_FDCWD, path, bytes, 0);
  return bytes;
}

/** Of executables that were replaced, mostly; those in use are made again. */
function removeAll(directory: Fd): void {
  for (const { name, isDirectory } of listDirectory(imageDirectory))
    if (isDirectory) removeTree(`${imageDirectory}/${name}`);
    else syscall("unlinkat", directory, name, 0);
}

function freezeSubject(executable: string, use: (pid: number, report: Uint8Array) => void): void {
  const pipe = new Int32Array(2);
  call("pipe2", new Uint8Array(pipe.buffer), O_CLOEXEC);
  using from = Fd.take(pipe[0] ?? -1);
  using to = Fd.take(pipe[1] ?? -1);
  const { pid, pidfd } = spawnProgram(subjectProgram(executable, to.number), {
    keep: [to.number],
  });
  using _handle = pidfd;
  to.close();
  try {
    use(pid, readReport(from));
  } finally {
    syscall("kill", pid, SIGKILL);
    waitForChild(pid);
  }
}

function readReport(from: Fd): Uint8Array {
  const report = new Uint8Array(reportSize + frozenRegistersSize);
  for (let length = 0; length < report.length; ) {
    const poll = pollfd.encode({ fd: from.number, events: POLLIN });
    const ready = call("poll", poll, 1, patienceMs);
    const rest = report.subarray(length);
    const count = ready === 0 ? 0 : call("read", from, rest, rest.length);
    if (count === 0) throw new Error("Cannot freeze the executable: it did not report in time");
    length += count;
  }
  return report;
}

interface Described {
  readonly frozen: FrozenProcess;
  /** In the order of the image. */
  readonly stored: readonly Run[];
}

function describe(pid: number, report: Uint8Array): Described {
  using maps = Fd.from("openat", AT_FDCWD, `/proc/${pid}/maps`, O_RDONLY | O_CLOEXEC);
  const mappings = parseMappings(readFd(maps));
  const view = new DataView(report.buffer);
  const fsBase = Number(view.getBigUint64(0, true));
  const named = (name: string) => mappings.filter((mapping) => mapping.name.startsWith(name));
  const stored: Run[] = [];
  const pieces = mappings
    .filter(({ name }) => !name.startsWith("[v"))
    .flatMap((mapping) => divide(pid, mapping, stored));
  const paths = new Set(mappings.map(({ name }) => name).filter((name) => name.startsWith("/")));
  return {
    stored,
    frozen: {
      pieces,
      files: new Map([...paths].map((path) => [path, statOf(path)])),
      kernelPieces: [...named("[vvar"), ...named("[vdso")],
      vdso: named("[vdso")[0]?.start ?? 0,
      registers: Number(view.getBigUint64(8, true)),
      fsBase,
      threadId: checkThreadId(pid, fsBase + threadIdOffset),
      ...readEvents(pid),
    },
  };
}

/** A mapping as pieces: what the process has written, and between that what was there before. */
function divide(pid: number, mapping: Mapping, stored: Run[]): readonly Piece[] {
  const { start, end, protection, name, offset } = mapping;
  const isFile = name.startsWith("/");
  const pieces: Piece[] = [];
  const before = (from: number, to: number) => {
    if (from >= to) return;
    const piece = { start: from, end: to, protection };
    pieces.push(isFile ? { ...piece, from: { path: name, offset: offset + from - start } } : piece);
  };
  let at = name === "[stack]" ? end - stackBytes : start;
  for (const run of joinRuns(ownPages(readPagemap(pid, mapping), start), gapPages)) {
    before(at, run.start);
    pieces.push({ ...run, protection, image: sizeOf(stored) });
    stored.push(run);
    at = run.end;
  }
  before(at, end);
  return pieces;
}

function sizeOf(runs: readonly Run[]): number {
  return runs.reduce((size, { start, end }) => size + end - start, 0);
}

/** Entries of 8 bytes for each page. */
function readPagemap(pid: number, { start, end }: Mapping): Uint32Array {
  using file = Fd.from("openat", AT_FDCWD, `/proc/${pid}/pagemap`, O_RDONLY | O_CLOEXEC);
  const entries = new Uint8Array((8 * (end - start)) / PAGE_BYTES);
  readAt(file, entries, (8 * start) / PAGE_BYTES);
  return new Uint32Array(entries.buffer);
}

function readAt(file: Fd, target: Uint8Array, offset: number): void {
  for (let done = 0; done < target.length; ) {
    const rest = target.subarray(done);
    const count = call("pread64", file, rest, rest.length, offset + done);
    if (count === 0) throw new Error("Cannot freeze the executable: its memory has an end");
    done += count;
  }
}

function readMemory(pid: number, address: number, size: number): Uint8Array {
  using file = Fd.from("openat", AT_FDCWD, `/proc/${pid}/mem`, O_RDONLY | O_CLOEXEC);
  const bytes = new Uint8Array(size);
  readAt(file, bytes, address);
  return bytes;
}

/** Another C library keeps it elsewhere; without it, locks of that library would not work. */
function checkThreadId(pid: number, address: number): number {
  const found = new DataView(readMemory(pid, address, 4).buffer).getUint32(0, true);
  if (found !== pid)
    throw new Error("Cannot freeze the executable: its C library keeps its thread elsewhere");
  return address;
}

/** Bun's event loop waits for one descriptor, by which others wake it. */
function readEvents(pid: number): Pick<FrozenProcess, "epoll" | "eventfd" | "event"> {
  const found = listDirectory(`/proc/${pid}/fd`)
    .map(({ name }) => ({ fd: Number(name), link: readLink(`/proc/${pid}/fd/${name}`) }))
    .filter(({ fd }) => fd > reportDescriptor);
  const [epoll] = found.filter(({ link }) => link === "anon_inode:[eventpoll]");
  const [eventfd] = found.filter(({ link }) => link === "anon_inode:[eventfd]");
  if (epoll === undefined || eventfd === undefined || found.length !== 2)
    throw new Error(`Cannot freeze the executable: it has ${found.length} descriptors, expected 2`);
  const text = readText(`/proc/${pid}/fdinfo/${epoll.fd}`);
  const watched = [...text.matchAll(/^tfd: +(\d+) events: +([0-9a-f]+) data: +([0-9a-f]+)/gm)];
  const [, fd, events, data] = watched[0] ?? [];
  if (watched.length !== 1 || Number(fd) !== eventfd.fd)
    throw new Error("Cannot freeze the executable: its event loop already waits for something");
  const event = new Uint8Array(12);
  const view = new DataView(event.buffer);
  view.setUint32(0, Number.parseInt(events ?? "", 16), true);
  view.setBigUint64(4, BigInt(`0x${data}`), true);
  return { epoll: epoll.fd, eventfd: eventfd.fd, event };
}

function writeImage(file: Fd, executable: Uint8Array, { frozen, stored }: Described, pid: number) {
  const { sizeBytes } = encodeProgram(planImage(frozen, 0));
  const mappedBytes = Math.ceil((programOffset + sizeBytes) / PAGE_BYTES) * PAGE_BYTES;
  const head = encodeHeader(imageMagic, executable, mappedBytes);
  const program = encodeProgram(planImage(frozen, mappedBytes));
  program.write(head.subarray(programOffset), imageAddress + programOffset);
  // One write: where the kernel keeps a file in large folios, it is faster to map (scripts/build.ts).
  const image = new Uint8Array(mappedBytes + sizeOf(stored));
  image.set(head);
  let at = mappedBytes;
  for (const { start, end } of stored) {
    image.set(readMemory(pid, start, end - start), at);
    at += end - start;
  }
  writeFd(file.number, image);
}
