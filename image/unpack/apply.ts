/**
 * Writes a layer's entries into a directory.
 *
 * Two forms. An *overlay* layer holds only what the layer says: a deletion becomes a whiteout
 * (character device 0:0), an opaque directory carries `trusted.overlay.opaque` (kernel:
 * Documentation/filesystems/overlayfs.rst, "whiteouts and opaque directories"). A *flat* tree has
 * the layers below already in it: a deletion removes. OCI image-spec 1.1, layer.md, "Whiteouts":
 * they concern lower layers only, never what the same layer brings, in whichever order.
 *
 * Directories get their attributes last: making files in them would change their times, and a
 * directory that its owner may not enter would keep us out.
 */
import {
  call,
  Fd,
  O_CLOEXEC,
  O_CREAT,
  O_DIRECTORY,
  O_EXCL,
  O_NOFOLLOW,
  O_RDONLY,
  O_WRONLY,
  S_IFBLK,
  S_IFCHR,
  S_IFDIR,
  S_IFIFO,
  S_IFMT,
  syscall,
} from "../../linux/index.ts";
import { type ByteString, byteStringToText } from "../byte-string.ts";
import { makeDevice, removeTree, statAt } from "../directory.ts";
import { LayerError } from "../errors.ts";
import { EEXIST, EISDIR, ENOENT, EPERM, nameArgument, openInRoot } from "../names.ts";
import type { TarEntry, TarSink } from "../tar/entry.ts";
import { explain, failure } from "./explain.ts";
import type { DeferredLink, LayerForm, UnpackJob, UnpackResult } from "./job.ts";
import {
  type AttributePolicy,
  type Attributes,
  applyToFd,
  applyToName,
  attributePolicy,
  creationMode,
} from "./metadata.ts";
import { ParentDirectories } from "./parents.ts";
import { baseOf, normalize, parentOf } from "./paths.ts";
import { OverlayWhiteouts, RemovingWhiteouts, type Whiteouts } from "./whiteouts.ts";

const WHITEOUT_PREFIX = ".wh.";
const AUFS_PREFIX = ".wh..wh.";
const OPAQUE_MARK = ".wh..wh..opq";
const MAX_WARNINGS = 100;

export type ApplyOptions = Pick<UnpackJob, "form" | "chown" | "userXattr">;
export type ApplyResult = Omit<UnpackResult, "diffId" | "expandedBytes">;

export class LayerApplier implements TarSink, Disposable {
  readonly #root: Fd;
  readonly #form: LayerForm;
  readonly #policy: AttributePolicy;
  readonly #parents: ParentDirectories;
  readonly #whiteouts: Whiteouts;
  readonly #directories = new Map<ByteString, Attributes | undefined>();
  readonly #missingTargets: DeferredLink[] = [];
  readonly #warnings: string[] = [];
  #entries = 0;
  #file: Fd | undefined;
  #entry: TarEntry | undefined;
  #createdMode = 0;
  #end = 0;

  /** `root` stays the caller's. */
  constructor(root: Fd, options: ApplyOptions) {
    this.#root = root;
    this.#form = options.form;
    this.#policy = attributePolicy({ ...options, inherits: options.form === "flat" }, (message) =>
      this.#warn(message),
    );
    this.#parents = new ParentDirectories(root, {
      made: (path) => void this.#directories.set(path, undefined),
      blocked: (path) => this.#unblock(path),
    });
    this.#whiteouts =
      options.form === "overlay"
        ? new OverlayWhiteouts(options.userXattr ? "user" : "trusted")
        : new RemovingWhiteouts();
  }

  entry(entry: TarEntry): void {
    this.#entries++;
    this.#attempt(entry, () => this.#make(entry, normalize(entry.path, "name")));
  }

  data(bytes: Uint8Array, position: number): void {
    const file = this.#file;
    if (file === undefined) return; // an AUFS leftover
    for (let at = 0; at < bytes.length; ) {
      const rest = at === 0 ? bytes : bytes.subarray(at);
      const written =
        position + at === this.#end
          ? syscall("write", file, rest, rest.length)
          : syscall("pwrite64", file, rest, rest.length, position + at);
      if (written < 0) this.#failWrite(file, rest);
      if (position + at === this.#end) this.#end += written;
      at += written;
    }
  }

  end(): void {
    const file = this.#file;
    const entry = this.#entry;
    if (file === undefined || entry === undefined) return;
    this.#file = undefined;
    this.#attempt(entry, () => {
      using _ = file;
      if (entry.sizeBytes !== this.#end) call("ftruncate", file, entry.sizeBytes);
      applyToFd(file, entry, this.#policy, this.#createdMode);
    });
  }

  /** Call once, after the last entry. */
  finish(): ApplyResult {
    this.#parents.clear();
    if (this.#form === "overlay" && !this.#directories.has("" as ByteString))
      this.#directories.set("" as ByteString, undefined); // SAFE: no bytes
    const implicit: ByteString[] = [];
    // Children were made after their parents, so backwards no parent locks a child away.
    for (const [path, attributes] of [...this.#directories].reverse()) {
      if (attributes === undefined) implicit.push(path);
      this.#attempt(path, () => this.#finishDirectory(path, attributes ?? implicitAttributes));
    }
    return {
      entries: this.#entries,
      implicitDirectories: implicit.reverse(),
      missingTargets: this.#missingTargets,
      warnings: this.#warnings,
    };
  }

  [Symbol.dispose](): void {
    this.#file?.close();
    this.#file = undefined;
    this.#parents[Symbol.dispose]();
  }

  #make(entry: TarEntry, path: ByteString): void {
    const name = baseOf(path);
    if (name.startsWith(WHITEOUT_PREFIX)) this.#hide(parentOf(path), name, entry);
    else if (path === "") this.#makeRoot(entry);
    else {
      this.#whiteouts.brings(path);
      this.#makeNamed(entry, path, name);
    }
  }

  #makeNamed(entry: TarEntry, path: ByteString, name: ByteString): void {
    switch (entry.type) {
      case "file":
        this.#makeFile(entry, path, name);
        return;
      case "directory":
        this.#makeDirectory(entry, path, name);
        return;
      case "hardlink":
        this.#makeHardLink(entry, path, name);
        return;
      case "symlink":
        this.#create(path, name, "symlinkat", (parent) =>
          syscall("symlinkat", nameArgument(entry.linkPath), parent, nameArgument(name)),
        );
        break;
      case "fifo":
        this.#makeNode(path, name, S_IFIFO, 0);
        break;
      case "character":
      case "block": {
        const device = makeDevice(entry.devMajor, entry.devMinor);
        const type = entry.type === "block" ? S_IFBLK : S_IFCHR;
        if (!this.#makeNode(path, name, type, device)) return;
        break;
      }
      default:
        throw entry.type satisfies never;
    }
    const parent = this.#parents.open(parentOf(path));
    applyToName(parent, name, entry, this.#policy, entry.type === "symlink");
  }

  #makeRoot(entry: TarEntry): void {
    if (entry.type !== "directory")
      throw new LayerError(`Cannot make the root a ${entry.type}, expected a directory`);
    this.#directories.set("" as ByteString, entry); // SAFE: no bytes
  }

  #makeFile(entry: TarEntry, path: ByteString, name: ByteString): void {
    this.#createdMode = creationMode(entry.mode, this.#policy);
    const flags = O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC;
    const number = this.#create(path, name, "openat", (parent) =>
      syscall("openat", parent, nameArgument(name), flags, this.#createdMode),
    );
    this.#file = Fd.take(number);
    this.#entry = entry;
    this.#end = 0;
  }

  #makeDirectory(entry: TarEntry, path: ByteString, name: ByteString): void {
    const parent = this.#parents.open(parentOf(path));
    const result = syscall("mkdirat", parent, nameArgument(name), 0o700);
    if (result === -EEXIST) {
      const status = statAt(parent, name);
      const exists = status !== undefined && (status.mode & S_IFMT) === S_IFDIR;
      if (!exists) {
        this.#clearAway(path, name);
        call("mkdirat", this.#parents.open(parentOf(path)), nameArgument(name), 0o700);
        this.#whiteouts.replaced(path, () => this.#openDirectory(path));
      }
    } else if (result < 0) call("mkdirat", parent, nameArgument(name), 0o700);
    this.#directories.set(path, entry);
  }

  #makeHardLink(entry: TarEntry, path: ByteString, name: ByteString): void {
    const target = normalize(entry.linkPath, "link target");
    if (target === path) return; // GNU tar does write such entries
    const source = baseOf(target);
    if (this.#isSameFile(target, path)) return;
    const link = (parent: Fd) => {
      const from = this.#parents.find(parentOf(target));
      if (from === undefined) return -ENOENT;
      return syscall("linkat", from, nameArgument(source), parent, nameArgument(name), 0);
    };
    const result = this.#create(path, name, "linkat", link, [-ENOENT, -EPERM]);
    if (result >= 0) return;
    // linkat(2) on a directory is EPERM; a missing target may lie in a layer below.
    if (result === -ENOENT && this.#form === "overlay") {
      this.#missingTargets.push({ path, target });
      return;
    }
    throw new LayerError(
      `Cannot make the hard link: its target "${byteStringToText(target)}" ` +
        `${result === -ENOENT ? "does not exist" : "is a directory"}, expected an earlier file`,
    );
  }

  /** The two names may already be one, by different ways through symlinks. */
  #isSameFile(target: ByteString, path: ByteString): boolean {
    const old = statAt(this.#parents.open(parentOf(path)), baseOf(path));
    if (old === undefined) return false;
    const from = this.#parents.find(parentOf(target));
    const file = from === undefined ? undefined : statAt(from, baseOf(target));
    return file?.ino === old.ino && file.dev === old.dev;
  }

  /** False when devices may not be made here. */
  #makeNode(path: ByteString, name: ByteString, type: number, device: number): boolean {
    const tolerated = type !== S_IFIFO && !this.#policy.chown ? [-EPERM] : [];
    const result = this.#create(
      path,
      name,
      "mknodat",
      (parent) => syscall("mknodat", parent, nameArgument(name), type | 0o600, device),
      tolerated,
    );
    if (result >= 0) return true;
    this.#warn(`left out device "${byteStringToText(path)}": only root may make devices`);
    return false;
  }

  /** Makes a name; what it replaces is removed first. Returns results listed in `tolerated`. */
  #create(
    path: ByteString,
    name: ByteString,
    what: "openat" | "symlinkat" | "linkat" | "mknodat",
    attempt: (parent: Fd) => number,
    tolerated: readonly number[] = [],
  ): number {
    const directory = parentOf(path);
    let result = attempt(this.#parents.open(directory));
    if (result === -EEXIST || result === -EISDIR) {
      this.#clearAway(path, name);
      result = attempt(this.#parents.open(directory));
    }
    if (result >= 0 || tolerated.includes(result)) return result;
    throw failure(what, name, result);
  }

  /** Removes what stands where an entry goes, and forgets what was known about it. */
  #clearAway(path: ByteString, name: ByteString): void {
    const parent = this.#parents.open(parentOf(path));
    const status = statAt(parent, name);
    removeTree(parent, name);
    // Only these can lie on the way to somewhere else.
    const type = (status?.mode ?? 0) & S_IFMT;
    if (type === S_IFDIR) this.#forgetBelow(path);
    if (type === S_IFDIR || type === 0o120000) this.#parents.clear();
  }

  #forgetBelow(path: ByteString): void {
    for (const known of this.#directories.keys())
      if (known === path || known.startsWith(`${path}/`)) this.#directories.delete(known);
  }

  #hide(directory: ByteString, name: ByteString, entry: TarEntry): void {
    if (name === OPAQUE_MARK) {
      this.#parents.open(directory); // makes it where it is missing
      using fd = this.#openDirectory(directory);
      this.#whiteouts.makeOpaque(directory, fd);
      this.#parents.clear();
      return;
    }
    if (name.startsWith(AUFS_PREFIX)) {
      this.#warn(`left out "${byteStringToText(entry.path)}": AUFS's own bookkeeping`);
      return;
    }
    const hidden = name.slice(WHITEOUT_PREFIX.length) as ByteString; // SAFE: a part of bytes
    if (hidden === "" || hidden === "." || hidden === "..")
      throw new LayerError(`Cannot hide "${hidden}": a whiteout names a file`);
    const path = (directory === "" ? hidden : `${directory}/${hidden}`) as ByteString; // SAFE: bytes
    const removed = this.#whiteouts.hide(path, hidden, this.#parents.open(directory), () =>
      this.#openDirectory(path),
    );
    if (removed) this.#parents.clear();
  }

  /** A whiteout of this layer lies where a later entry needs a directory. */
  #unblock(path: ByteString): boolean {
    for (let end = path.indexOf("/"); ; end = path.indexOf("/", end + 1)) {
      const prefix = (end < 0 ? path : path.slice(0, end)) as ByteString; // SAFE: a part of bytes
      if (this.#whiteouts.hides(prefix)) {
        this.#clearAway(prefix, baseOf(prefix));
        this.#parents.open(prefix);
        this.#whiteouts.replaced(prefix, () => this.#openDirectory(prefix));
        this.#parents.open(path);
        return true;
      }
      if (end < 0) return false;
    }
  }

  #openDirectory(path: ByteString): Fd {
    const flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    const result = openInRoot(this.#root, path, flags);
    if (result < 0) throw failure("openat2", path, result);
    return Fd.take(result);
  }

  #finishDirectory(path: ByteString, attributes: Attributes): void {
    using fd = this.#openDirectory(path);
    applyToFd(fd, attributes, this.#policy, -1);
  }

  #failWrite(file: Fd, bytes: Uint8Array): never {
    this.#attempt(this.#entry, () => call("write", file, bytes, bytes.length));
    throw new Error("A write failed once and then did not");
  }

  /** Adds the entry's name to whatever goes wrong. */
  #attempt(subject: TarEntry | ByteString | undefined, step: () => unknown): void {
    try {
      step();
    } catch (error) {
      throw explain(
        error,
        typeof subject === "object" ? subject.path : (subject ?? ("" as ByteString)),
      );
    }
  }

  #warn(message: string): void {
    if (this.#warnings.length < MAX_WARNINGS) this.#warnings.push(message);
  }
}

const implicitAttributes: Attributes = {
  mode: 0o755,
  uid: 0,
  gid: 0,
  mtimeSeconds: 0,
  mtimeNanoseconds: 0,
  xattrs: new Map(),
};
