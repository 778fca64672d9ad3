/**
 * Reads small files of a root file system that is not mounted yet: a stack of layer directories in
 * overlayfs' form, uppermost first. Symbolic links are followed as if the stack were "/".
 */
import { readFileSync } from "node:fs";
import {
  AT_EMPTY_PATH,
  AT_SYMLINK_NOFOLLOW,
  call,
  type Fd,
  hasErrno,
  O_NOFOLLOW,
  O_PATH,
  O_RDONLY,
  Root,
  S_IFDIR,
  S_IFLNK,
  S_IFMT,
  S_IFREG,
  stat,
  syscall,
} from "../../linux/index.ts";

const MAX_LINKS = 40; // the kernel's own limit
const S_IFCHR = 0o020000;
const MAX_TARGET_BYTES = 4096;

interface Found {
  readonly layer: number;
  readonly mode: number;
  readonly rdev: bigint;
}

export class LayerView implements Disposable {
  readonly #layers: readonly Root[];
  /** Layers never change, and every path goes through the same few directories. */
  readonly #found = new Map<string, Found | undefined>();

  /** @param directories uppermost layer first */
  constructor(directories: readonly string[]) {
    this.#layers = directories.map((path) => Root.open(path));
  }

  /** The file's text, or "" when there is no such regular file of at most `limitBytes`. */
  readText(path: string, limitBytes: number): string {
    const real = this.#resolve(path);
    if (real === undefined) return "";
    const found = this.#find(real);
    const layer = found === undefined ? undefined : this.#layers[found.layer];
    if (layer === undefined || found === undefined) return "";
    if ((found.mode & S_IFMT) !== S_IFREG) return "";
    using fd = layer.open(real, O_RDONLY | O_NOFOLLOW);
    if (Number(statOf(fd).st_size) > limitBytes) return "";
    return readFileSync(fd.number, "utf8");
  }

  /** Where a path leads inside the stack, links followed; undefined when nothing is there. */
  locate(path: string): string | undefined {
    const real = this.#resolve(path);
    return real === undefined ? undefined : `/${real}`;
  }

  /** The path without links, or undefined when something on the way is missing. */
  #resolve(path: string): string | undefined {
    const todo = path.split("/");
    let done: string[] = [];
    let links = 0;
    while (todo.length > 0) {
      const name = todo.shift() ?? "";
      if (name === "" || name === ".") continue;
      if (name === "..") {
        done = done.slice(0, -1);
        continue;
      }
      const at = [...done, name].join("/");
      const found = this.#find(at);
      if (found === undefined) return undefined;
      if ((found.mode & S_IFMT) !== S_IFLNK) {
        done.push(name);
        continue;
      }
      if (++links > MAX_LINKS) return undefined;
      const target = this.#readLink(found.layer, at);
      if (target.startsWith("/")) done = [];
      todo.unshift(...target.split("/"));
    }
    return done.join("/");
  }

  /** Where the uppermost entry lies, unless a whiteout or an opaque directory hides it. */
  #find(path: string): Found | undefined {
    const known = this.#found.get(path);
    if (known !== undefined || this.#found.has(path)) return known;
    const found = this.#search(path);
    this.#found.set(path, found);
    return found;
  }

  #search(path: string): Found | undefined {
    const parent = path.slice(0, Math.max(0, path.lastIndexOf("/")));
    for (const [layer, root] of this.#layers.entries()) {
      const entry = lookUp(root, path);
      if (entry !== undefined) return isWhiteout(entry) ? undefined : { layer, ...entry };
      const isLast = layer === this.#layers.length - 1;
      if (isLast || this.#hidesBelow(root, parent)) return undefined;
    }
    return undefined;
  }

  /** A parent that this layer replaces (opaque) or has made something else. */
  #hidesBelow(root: Root, parent: string): boolean {
    const parts = parent.split("/").filter((part) => part !== "");
    for (let count = 1; count <= parts.length; count++) {
      const path = parts.slice(0, count).join("/");
      const entry = lookUp(root, path);
      if (entry === undefined) return false;
      if ((entry.mode & S_IFMT) !== S_IFDIR) return true;
      if (isOpaque(root, path)) return true;
    }
    return false;
  }

  #readLink(layer: number, path: string): string {
    const root = this.#layers[layer];
    if (root === undefined) return "";
    using fd = root.open(path, O_PATH | O_NOFOLLOW);
    const buffer = new Uint8Array(MAX_TARGET_BYTES);
    const length = call("readlinkat", fd, "", buffer, buffer.length);
    return Buffer.from(buffer.subarray(0, length)).toString();
  }

  [Symbol.dispose](): void {
    for (const layer of this.#layers) layer[Symbol.dispose]();
  }
}

function lookUp(root: Root, path: string): Omit<Found, "layer"> | undefined {
  try {
    using fd = root.open(path, O_PATH | O_NOFOLLOW);
    const { st_mode, st_rdev } = statOf(fd);
    return { mode: st_mode, rdev: st_rdev };
  } catch (error) {
    if (hasErrno(error, "ENOENT", "ENOTDIR", "ELOOP", "EXDEV")) return undefined;
    throw error;
  }
}

function statOf(fd: Fd) {
  const bytes = new Uint8Array(stat.sizeBytes);
  call("newfstatat", fd, "", bytes, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW);
  return stat.decode(bytes);
}

/** overlayfs.rst, "whiteouts and opaque directories": a character device 0/0. */
function isWhiteout({ mode, rdev }: Omit<Found, "layer">): boolean {
  return (mode & S_IFMT) === S_IFCHR && rdev === 0n;
}

function isOpaque(root: Root, path: string): boolean {
  using fd = root.open(path, O_RDONLY | O_NOFOLLOW);
  const value = new Uint8Array(1);
  return ["trusted.overlay.opaque", "user.overlay.opaque"].some((name) => {
    return syscall("fgetxattr", fd, name, value, 1) === 1 && value[0] === 0x79; // "y"
  });
}
