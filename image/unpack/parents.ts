/**
 * Descriptors of the directories that entries are made in.
 *
 * The kernel resolves each path below the layer's root (openat2, RESOLVE_IN_ROOT), so no symlink
 * that an earlier entry planted leads out; everything else happens relative to a descriptor with a
 * single name. Archives list a directory's files together, so a few descriptors suffice.
 */
import { call, Fd, O_CLOEXEC, O_DIRECTORY, O_PATH, syscall } from "../../linux/index.ts";
import { type ByteString, byteStringToText } from "../byte-string.ts";
import { LayerError } from "../errors.ts";
import { EEXIST, ENOENT, errnoText, nameArgument, openInRoot } from "../names.ts";
import { baseOf, parentOf } from "./paths.ts";

const CACHED_DIRECTORIES = 64;

export interface ParentEvents {
  /** A directory had to be made for an entry below it. */
  made(path: ByteString): void;
  /** Something that is no directory is in the way; true when it has been made into one. */
  blocked(path: ByteString): boolean;
}

export class ParentDirectories implements Disposable {
  readonly #root: Fd;
  readonly #events: ParentEvents;
  readonly #open = new Map<ByteString, Fd>();
  #lastPath: ByteString | undefined;
  #lastFd: Fd | undefined;

  constructor(root: Fd, events: ParentEvents) {
    this.#root = root;
    this.#events = events;
  }

  /** Directory at a normal path ("" is the root), made with its parents where it is missing. */
  open(path: ByteString): Fd {
    if (path === "") return this.#root;
    if (path === this.#lastPath && this.#lastFd !== undefined) return this.#lastFd;
    const fd = this.#open.get(path) ?? this.#openOrMake(path);
    this.#remember(path, fd);
    return fd;
  }

  /** The same without making anything; undefined when it does not exist. */
  find(path: ByteString): Fd | undefined {
    if (path === "") return this.#root;
    const known = this.#open.get(path);
    if (known !== undefined) return known;
    const found = openInRoot(this.#root, path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (found === -ENOENT) return undefined;
    if (found < 0) throw this.#unusable(path, found);
    const fd = Fd.take(found);
    this.#remember(path, fd);
    return fd;
  }

  /** Forget all: a directory or symlink was taken away, paths may lead elsewhere now. */
  clear(): void {
    for (const fd of this.#open.values()) fd.close();
    this.#open.clear();
    this.#lastPath = undefined;
    this.#lastFd = undefined;
  }

  [Symbol.dispose](): void {
    this.clear();
  }

  #openOrMake(path: ByteString): Fd {
    const flags = O_PATH | O_DIRECTORY | O_CLOEXEC;
    const found = openInRoot(this.#root, path, flags);
    if (found >= 0) return Fd.take(found);
    if (found === -ENOENT) this.#make(path);
    else if (!this.#events.blocked(path)) throw this.#unusable(path, found);
    const made = this.#open.get(path);
    if (made !== undefined) return made;
    const result = openInRoot(this.#root, path, flags);
    if (result < 0) throw this.#unusable(path, result);
    return Fd.take(result);
  }

  #make(path: ByteString): void {
    const parent = this.open(parentOf(path));
    const result = syscall("mkdirat", parent, nameArgument(baseOf(path)), 0o700);
    // A symlink that leads nowhere: there is a name, but no directory behind it.
    if (result === -EEXIST) throw this.#unusable(path, -ENOENT);
    if (result < 0) call("mkdirat", parent, nameArgument(baseOf(path)), 0o700);
    this.#events.made(path);
  }

  #remember(path: ByteString, fd: Fd): void {
    this.#lastPath = path;
    this.#lastFd = fd;
    this.#open.delete(path);
    this.#open.set(path, fd);
    if (this.#open.size <= CACHED_DIRECTORIES) return;
    const oldest = this.#open.entries().next().value;
    if (oldest === undefined) return;
    this.#open.delete(oldest[0]);
    oldest[1].close();
  }

  #unusable(path: ByteString, result: number): Error {
    return new LayerError(
      `Cannot use "${byteStringToText(path)}" as a directory: ${errnoText(-result)}; expected a ` +
        "directory or a symlink to one inside the image",
    );
  }
}
