/**
 * Merges layers into one tree, topmost layer first.
 *
 * Going down, everything above is known, so a file that a higher layer replaced or removed is
 * recognised when it comes, and each visible byte is written exactly once, as it streams by. (The
 * data of a hidden file are kept all the same while its layer is read: a hard link that is still
 * to come may show them.) Whiteouts: OCI image specification, layer.md, "Whiteouts".
 */
import { type ByteString, byteStringToText } from "../byte-string.ts";
import { LayerError } from "../errors.ts";
import type { TarEntry, TarSink } from "../tar/entry.ts";
import type { DataArea, FileData } from "./data-area.ts";
import { type Directory, type Inode, implicitDirectory, inodeOf, type Node } from "./inode.ts";

const WHITEOUT_PREFIX = ".wh.";
const OPAQUE_NAME = ".wh..wh..opq";
/** Symlinks followed on the way to one entry; the kernel's MAXSYMLINKS. */
const MAX_SYMLINKS = 40;

/** A place in the tree, or `hidden` when a layer above took it away. */
interface Place {
  readonly directory: Directory;
  readonly hidden: boolean;
}

interface PendingLink {
  readonly place: Place;
  readonly name: ByteString;
  readonly target: ByteString;
  readonly layer: number;
}

export class LayerMerger implements TarSink {
  readonly root: Directory = implicitDirectory(undefined);
  readonly #data: DataArea;
  #layer = -1;
  /** What this layer said of each path, hidden or not: hard links refer to it. */
  #own = new Map<string, Inode>();
  #ownSymlinks = new Map<string, ByteString>();
  readonly #pending: PendingLink[] = [];
  #open: { readonly data: FileData; readonly inode: Inode } | undefined;

  constructor(data: DataArea) {
    this.#data = data;
  }

  /** Call before the entries of each layer, the topmost layer first. */
  beginLayer(): void {
    this.#layer += 1;
    this.#own = new Map();
    this.#ownSymlinks = new Map();
  }

  entry(entry: TarEntry): void {
    const components = this.#resolve(componentsOf(entry.path));
    const name = components.at(-1);
    if (name === undefined) {
      this.#describeRoot(entry);
      return;
    }
    const place = this.#place(components.slice(0, -1));
    if (name.startsWith(WHITEOUT_PREFIX)) this.#whiteout(place.directory, name);
    else if (entry.type === "hardlink") this.#link(place, name, entry, components);
    else this.#add(place, name, entry, components);
  }

  data(bytes: Uint8Array, position: number): void {
    this.#open?.data.write(bytes, position);
  }

  end(): void {
    this.#open?.data.end();
    this.#open = undefined;
  }

  /** Call after the last layer; throws LayerError for a hard link that leads nowhere. */
  finish(): void {
    for (const link of this.#pending) {
      const inode = this.#find(componentsOf(link.target));
      if (inode === undefined || inode.type === "directory")
        throw new LayerError(
          `Cannot link "${byteStringToText(link.name)}" to "${byteStringToText(link.target)}": ` +
            "expected a file that this layer or one below it holds",
        );
      this.#put(link.place, link.name, { layer: link.layer, inode, directory: undefined });
    }
  }

  #add(place: Place, name: ByteString, entry: TarEntry, path: readonly ByteString[]): void {
    const type = entry.type === "hardlink" ? "file" : entry.type;
    const inode = inodeOf(entry, type);
    this.#own.set(path.join("/"), inode);
    if (type === "directory") {
      this.#addDirectory(place, name, inode);
      return;
    }
    if (type === "symlink") {
      this.#ownSymlinks.set(path.join("/"), entry.linkPath);
      inode.tail = Buffer.from(entry.linkPath, "latin1");
      inode.sizeBytes = inode.tail.length;
    }
    if (type === "file")
      this.#open = { data: this.#data.openFile(inode, entry.extents !== undefined), inode };
    this.#put(place, name, { layer: this.#layer, inode, directory: undefined });
  }

  #addDirectory(place: Place, name: ByteString, inode: Inode): void {
    if (place.hidden || this.#isHidden(place.directory, name)) return;
    const present = place.directory.children.get(name);
    if (present?.directory !== undefined) {
      // The highest layer that describes a directory decides its metadata; within a layer the last.
      if (!present.directory.implicit && present.layer < this.#layer) return;
      present.directory.inode = inode;
      present.directory.implicit = false;
      const node = { layer: this.#layer, inode, directory: present.directory };
      place.directory.children.set(name, node);
      return;
    }
    const directory = { ...implicitDirectory(place.directory), inode, implicit: false };
    this.#put(place, name, { layer: this.#layer, inode, directory });
  }

  #link(place: Place, name: ByteString, entry: TarEntry, path: readonly ByteString[]): void {
    const target = this.#resolve(componentsOf(entry.linkPath));
    const inode = this.#own.get(target.join("/"));
    if (inode === undefined) {
      const link = { place, name, target: entry.linkPath, layer: this.#layer };
      this.#pending.push(link);
      return;
    }
    if (inode.type === "directory")
      throw new LayerError(
        `Cannot link "${byteStringToText(entry.path)}" to "${byteStringToText(entry.linkPath)}": ` +
          "it is a directory",
      );
    this.#own.set(path.join("/"), inode);
    this.#put(place, name, { layer: this.#layer, inode, directory: undefined });
  }

  /** Puts a node where nothing of a higher layer is in the way. */
  #put(place: Place, name: ByteString, node: Node): void {
    if (place.hidden || this.#isHidden(place.directory, name)) return;
    const present = place.directory.children.get(name);
    if (present !== undefined && present.layer < node.layer) return;
    place.directory.children.set(name, node);
  }

  #whiteout(directory: Directory, name: ByteString): void {
    if (name === OPAQUE_NAME) {
      directory.opaqueSince ??= this.#layer;
      return;
    }
    // SAFE: a part of a byte string is one.
    const removed = name.slice(WHITEOUT_PREFIX.length) as ByteString;
    if (removed === "" || removed === "." || removed === "..")
      throw new LayerError(`Expected the name of what is removed, got "${byteStringToText(name)}"`);
    if (!directory.whiteouts.has(removed)) directory.whiteouts.set(removed, this.#layer);
  }

  /** Whether a higher layer removed this name, or everything of the lower layers' directory. */
  #isHidden(directory: Directory, name: ByteString): boolean {
    const removedBy = directory.whiteouts.get(name) ?? this.#layer;
    return removedBy < this.#layer || (directory.opaqueSince ?? this.#layer) < this.#layer;
  }

  /** The directory of these components, made when no layer has described it yet. */
  #place(components: readonly ByteString[]): Place {
    let directory = this.root;
    let hidden = false;
    for (const name of components) {
      hidden ||= this.#isHidden(directory, name);
      const present = directory.children.get(name);
      if (present?.directory !== undefined) {
        directory = present.directory;
        continue;
      }
      if (present !== undefined && present.layer === this.#layer)
        throw new LayerError(
          `Cannot put anything below "${byteStringToText(name)}": the layer says it is no directory`,
        );
      const made = implicitDirectory(directory);
      hidden ||= present !== undefined;
      // What is below a hidden place still needs one, but the tree does not show it.
      if (!hidden)
        directory.children.set(name, { layer: this.#layer, inode: made.inode, directory: made });
      directory = made;
    }
    return { directory, hidden };
  }

  #describeRoot(entry: TarEntry): void {
    if (entry.type !== "directory")
      throw new LayerError(`Expected the root to be a directory, got a ${entry.type}`);
    if (!this.root.implicit) return;
    this.root.inode = inodeOf(entry, "directory");
    this.root.implicit = false;
  }

  /** Follows the symlinks that this layer itself put on the way, never out of the root. */
  #resolve(components: readonly ByteString[]): readonly ByteString[] {
    if (this.#ownSymlinks.size === 0) return components;
    let rest = [...components];
    const done: ByteString[] = [];
    for (let followed = 0; rest.length > 1; ) {
      const [name, ...others] = rest;
      if (name === undefined) break;
      const target = this.#ownSymlinks.get([...done, name].join("/"));
      if (target === undefined) {
        if (name === "..") done.pop();
        else done.push(name);
        rest = others;
        continue;
      }
      followed += 1;
      if (followed > MAX_SYMLINKS)
        throw new LayerError(
          `Too many symlinks on the way to "${byteStringToText(components.join("/") as ByteString)}"`,
        );
      if (target.startsWith("/")) done.length = 0;
      // SAFE: parts of a byte string are byte strings.
      const steps = target.split("/").filter((step) => step !== "" && step !== ".") as ByteString[];
      rest = [...steps, ...others];
    }
    return [...done, ...rest];
  }

  #find(components: readonly ByteString[]): Inode | undefined {
    let directory: Directory | undefined = this.root;
    let node: Node | undefined;
    for (const name of components) {
      node = directory?.children.get(name);
      directory = node?.directory;
    }
    return node?.inode;
  }
}

/** Components of an entry's path; it may be absolute, which means the root. Throws LayerError. */
function componentsOf(path: ByteString): readonly ByteString[] {
  // SAFE: parts of a byte string are byte strings.
  const parts = path.split("/") as ByteString[];
  const components = parts.filter((part) => part !== "" && part !== ".");
  if (components.includes(".." as ByteString))
    throw new LayerError(`Expected a path inside the root, got "${byteStringToText(path)}"`);
  return components;
}
