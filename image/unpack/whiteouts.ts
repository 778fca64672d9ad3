/** What a deletion becomes: a mark for overlayfs, or a removal. */
import { call, type Fd, S_IFCHR, S_IFDIR, S_IFMT } from "../../linux/index.ts";
import type { ByteString } from "../byte-string.ts";
import { listDirectory, openChildDirectory, removeTree, statAt } from "../directory.ts";
import { nameArgument } from "../names.ts";

const OPAQUE = Buffer.from("y".padEnd(64, "\0")); // one byte counts

export interface Whiteouts {
  /** The layer has an entry at this path. */
  brings(path: ByteString): void;
  /** Hides `name` in `parent`; true when something was removed that paths may lead through. */
  hide(path: ByteString, name: ByteString, parent: Fd, open: () => Fd): boolean;
  /** Hides all that lower layers have in the directory. */
  makeOpaque(path: ByteString, directory: Fd): void;
  /** Whether this layer has hidden the path. */
  hides(path: ByteString): boolean;
  /** A directory now stands where something of this layer stood. */
  replaced(path: ByteString, open: () => Fd): void;
}

export class OverlayWhiteouts implements Whiteouts {
  readonly #attribute: ByteString;
  readonly #hidden = new Set<ByteString>();

  constructor(namespace: "trusted" | "user") {
    this.#attribute = `${namespace}.overlay.opaque` as ByteString; // SAFE: ASCII
  }

  brings(): void {}

  hide(path: ByteString, name: ByteString, parent: Fd, open: () => Fd): boolean {
    this.#hidden.add(path);
    const status = statAt(parent, name);
    // The same layer's directory stays and hides what lower layers have under its name.
    if (status !== undefined && (status.mode & S_IFMT) === S_IFDIR) {
      using directory = open();
      this.makeOpaque(path, directory);
    } else if (status === undefined) call("mknodat", parent, nameArgument(name), S_IFCHR, 0);
    return false;
  }

  makeOpaque(_path: ByteString, directory: Fd): void {
    call("fsetxattr", directory, nameArgument(this.#attribute), OPAQUE, 1, 0);
  }

  hides(path: ByteString): boolean {
    return this.#hidden.has(path);
  }

  replaced(path: ByteString, open: () => Fd): void {
    if (!this.#hidden.has(path)) return;
    using directory = open();
    this.makeOpaque(path, directory);
  }
}

/** In a flat tree what came before is there to be removed, except what this layer brought. */
export class RemovingWhiteouts implements Whiteouts {
  /** Paths of this layer, and all their parents. */
  readonly #brought = new Set<ByteString>();

  brings(path: ByteString): void {
    for (let end = path.length; end > 0; end = path.lastIndexOf("/", end - 1)) {
      const prefix = path.slice(0, end) as ByteString; // SAFE: a part of bytes
      if (this.#brought.has(prefix)) return;
      this.#brought.add(prefix);
    }
  }

  hide(path: ByteString, name: ByteString, parent: Fd, open: () => Fd): boolean {
    if (!this.#brought.has(path)) {
      removeTree(parent, name);
      return true;
    }
    const status = statAt(parent, name);
    if (status === undefined || (status.mode & S_IFMT) !== S_IFDIR) return false;
    using directory = open();
    this.makeOpaque(path, directory);
    return true;
  }

  makeOpaque(path: ByteString, directory: Fd): void {
    for (const name of listDirectory(directory)) {
      const below = (path === "" ? name : `${path}/${name}`) as ByteString; // SAFE: bytes
      if (!this.#brought.has(below)) removeTree(directory, name);
      else this.#descend(below, name, directory);
    }
  }

  hides(): boolean {
    return false;
  }

  replaced(): void {}

  #descend(path: ByteString, name: ByteString, directory: Fd): void {
    using child = openChildDirectory(directory, name);
    if (child !== undefined) this.makeOpaque(path, child);
  }
}
