/**
 * Filters that were compiled before. Engines send their whole profile with every container; compiling
 * docker's takes longer than all else in a start. Kept in a directory of root's own:
 *
 * ```
 * NAME    from length and some letters of the profile: only a place to look
 * line 1  which executable compiled it    line 3  flags, whether it notifies
 * line 2  the profile, as JSON            line 4  struct sock_filter, in hexadecimal
 * ```
 * A file counts when the first two lines are exactly ours, and nobody else could have written it.
 * Whatever is wrong with the cache, the filter is compiled.
 */
import {
  AT_EMPTY_PATH,
  AT_FDCWD,
  call,
  encodeUtf8,
  Fd,
  O_CLOEXEC,
  O_CREAT,
  O_DIRECTORY,
  O_EXCL,
  O_NOFOLLOW,
  O_RDONLY,
  O_WRONLY,
  S_IFDIR,
  S_IFREG,
  sock_filter,
  stat,
  syscall,
} from "../../linux/index.ts";
import type { Seccomp } from "../../oci/index.ts";
import { executablePath } from "../executable.ts";
import { listDirectory, readFd, writeFd } from "../files.ts";
import { isOrdinaryUser } from "../privilege.ts";
import { type EncodedFilter, encodeSeccomp } from "./compile.ts";

export interface SeccompCache {
  readonly directory: string;
  /** Says which code compiled a filter; changes with it. */
  readonly compiler: string;
}

const defaultDirectory = "/run/manyworlds-seccomp";
const entryLimit = 64;
const codeSizeLimit = 4096 * sock_filter.sizeBytes;
const sampleStep = 16;

/** Compiles the profile, or finds what came of it the last time. */
export function cachedSeccomp(profile: Seccomp, cache = usualCache()): EncodedFilter {
  if (cache === undefined) return encodeSeccomp(profile);
  const text = JSON.stringify(profile);
  const known = readEntry(cache, text);
  if (known !== undefined) return known;
  const filter = encodeSeccomp(profile);
  try {
    writeEntry(cache, text, filter);
  } catch {
    // No place to keep it: the next start compiles again.
  }
  return filter;
}

/** Only in the executable, whose file says when its code has changed, and for the host's root. */
function usualCache(): SeccompCache | undefined {
  if (!import.meta.url.includes("/$bunfs/") || isOrdinaryUser()) return undefined;
  const bytes = new Uint8Array(stat.sizeBytes);
  if (syscall("newfstatat", AT_FDCWD, executablePath(), bytes, 0) < 0) return undefined;
  const { st_ino, st_size, st_mtime, st_mtime_nsec } = stat.decode(bytes);
  const compiler = [st_ino, st_size, st_mtime, st_mtime_nsec].join(" ");
  return { directory: defaultDirectory, compiler };
}

function nameOf(profile: string): string {
  let hash = 0;
  for (let at = 0; at < profile.length; at += sampleStep)
    hash = Math.imul(hash ^ profile.charCodeAt(at), 0x0100_0193);
  return `${profile.length}-${hash >>> 0}`;
}

function openDirectory({ directory }: SeccompCache): Fd | undefined {
  const flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
  const opened = syscall("openat", AT_FDCWD, directory, flags);
  if (opened < 0) return undefined;
  const fd = Fd.take(opened);
  if (isOurs(fd, S_IFDIR | 0o700)) return fd;
  fd.close();
  return undefined;
}

function isOurs(fd: Fd, mode: number): boolean {
  const bytes = new Uint8Array(stat.sizeBytes);
  call("newfstatat", fd, "", bytes, AT_EMPTY_PATH);
  const view = new DataView(bytes.buffer);
  const owner = view.getUint32(stat.offsets.st_uid, true);
  return owner === process.geteuid?.() && view.getUint32(stat.offsets.st_mode, true) === mode;
}

function readEntry(cache: SeccompCache, profile: string): EncodedFilter | undefined {
  using directory = openDirectory(cache);
  if (directory === undefined) return undefined;
  const flags = O_RDONLY | O_NOFOLLOW | O_CLOEXEC;
  const opened = syscall("openat", directory, nameOf(profile), flags);
  if (opened < 0) return undefined;
  using file = Fd.take(opened);
  if (!isOurs(file, S_IFREG | 0o600)) return undefined;
  const [compiler, text, facts = "", hex = ""] = readFd(file).split("\n");
  if (compiler !== cache.compiler || text !== profile) return undefined;
  const size = hex.length / 2;
  const [flagBits, notifies, stored] = facts.split(" ").map(Number);
  if (flagBits === undefined || stored !== size || size === 0 || size > codeSizeLimit)
    return undefined;
  return { code: fromHex(hex), flags: flagBits, notifies: notifies === 1 };
}

function writeEntry(cache: SeccompCache, profile: string, filter: EncodedFilter): void {
  syscall("mkdir", cache.directory, 0o700);
  using directory = openDirectory(cache);
  if (directory === undefined || filter.code.length > codeSizeLimit) return;
  const entries = listDirectory(cache.directory);
  if (entries.length >= entryLimit)
    for (const { name } of entries) syscall("unlinkat", directory, name, 0);
  const { code, flags, notifies } = filter;
  const facts = [flags, notifies ? 1 : 0, code.length].join(" ");
  const content = [cache.compiler, profile, facts, toHex(code)].join("\n");
  const [name, temporary] = [nameOf(profile), `${syscall("getpid")}.new`];
  const how = O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC;
  using file = Fd.from("openat", directory, temporary, how, 0o600);
  writeFd(file.number, encodeUtf8(content));
  call("renameat", directory, temporary, directory, name);
}

const digits = "0123456789abcdef";

function toHex(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += (digits[byte >> 4] ?? "") + (digits[byte & 15] ?? "");
  return text;
}

/** Newer than the TypeScript library that we compile with, and than Node 20. */
function fromHex(text: string): Uint8Array {
  // SAFE: asked before it is called.
  const native = (Uint8Array as { fromHex?(text: string): Uint8Array }).fromHex?.(text);
  return native ?? new Uint8Array(Buffer.from(text, "hex"));
}
