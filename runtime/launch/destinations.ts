/**
 * Finds what to mount on, with as few rows as what is known of the place allows: a directory
 * that is there is just opened, one on a new tmpfs is made at once; only where nothing is known
 * every component is tried and made.
 */
import { type Argument, O_DIRECTORY, O_PATH } from "../../linux/index.ts";
import type { Result, RowList } from "./row-list.ts";

/** What the root file system holds before anything is mounted on it. */
export interface RootFacts {
  /**
   * Where a path leads inside the root, symlinks followed as the container would; undefined when
   * nothing is there. Only a hint: rows that rely on it fail cleanly when it has changed.
   */
  resolveInRoot(path: string): string | undefined;
  /** Where a path that leads to nothing would lead: dangling symlinks replaced by their targets. */
  expandInRoot?(path: string): string;
}

const directoryMode = 0o755;

export class Destinations {
  readonly #rows: RowList;
  readonly #root: Argument;
  readonly #facts: RootFacts;
  /** Mount points so far, in the container's terms, and the type of what is mounted. */
  readonly #mounted = new Map<string, string>();
  /** Directories that were opened for use after their mount. */
  readonly #opened = new Map<string, Result>();
  /** Directories we made ourselves on a new tmpfs. */
  readonly #made = new Set<string>();

  constructor(rows: RowList, root: Argument, facts: RootFacts) {
    this.#rows = rows;
    this.#root = root;
    this.#facts = facts;
  }

  /** A descriptor of the directory at the path, made when it is missing. */
  directory(path: string): Result {
    const clean = this.#expanded(cleanPath(path));
    const known = this.#whereabouts(clean);
    if (known === "there") return this.#open(clean);
    if (known !== "new") return this.#rows.ensureDirectory(this.#root, clean);
    const slash = clean.lastIndexOf("/");
    const parent = this.opened(clean.slice(0, slash));
    this.#rows.call("mkdirat", [parent, clean.slice(slash + 1), directoryMode], {
      note: `make "${clean}" to mount on`,
    });
    this.#made.add(clean);
    return this.#open(clean);
  }

  /** The same where the image must not choose another place: no component may be a symlink. */
  plainDirectory(path: string): Result {
    const clean = cleanPath(path);
    if (this.#whereabouts(clean) === "unknown") this.directory(clean);
    return this.#rows.openPlain(this.#root, clean, {
      note: `"${clean}" must be an ordinary directory to mount on`,
    });
  }

  /** A file that may be missing, reached without symlinks. */
  plainFile(path: string): Result {
    const clean = cleanPath(path);
    this.#rows.ensureFile(this.#root, clean);
    return this.#rows.openPlain(this.#root, clean, {
      note: `"${clean}" must be an ordinary file to mount on`,
    });
  }

  /** Where a path leads, as far as is known. */
  placeOf(path: string): string {
    const clean = cleanPath(path);
    return this.#mountOf(clean) === undefined ? (this.#facts.resolveInRoot(clean) ?? clean) : clean;
  }

  /** The same for a file. */
  file(path: string): Result {
    const clean = this.#expanded(cleanPath(path));
    return this.#whereabouts(clean) === "there"
      ? this.#open(clean)
      : this.#rows.ensureFile(this.#root, clean);
  }

  /** Notes that something was mounted there: what was known of the place is no more. */
  mounted(path: string, type: string): void {
    const clean = cleanPath(path);
    const isInner = this.#mountOf(clean) !== undefined;
    const place = isInner ? clean : (this.#facts.resolveInRoot(clean) ?? clean);
    for (const opened of [...this.#opened.keys()])
      if (isBelow(opened, clean) || isBelow(opened, place)) this.#opened.delete(opened);
    for (const made of [...this.#made]) if (isBelow(made, clean)) this.#made.delete(made);
    this.#mounted.set(place, type);
    this.#mounted.set(clean, type);
  }

  /** A descriptor of the directory as it is now, opened once. */
  opened(path: string): Result {
    const known = this.#opened.get(path);
    if (known !== undefined) return known;
    const opened = this.#rows.openInRoot(this.#root, path || "/", O_PATH | O_DIRECTORY);
    this.#opened.set(path, opened);
    return opened;
  }

  /** Whether a directory is a tmpfs of ours, and so empty but for what we made. */
  isNewTmpfs(path: string): boolean {
    return this.#mounted.get(path) === "tmpfs";
  }

  /** mkdir(2) does not follow a dangling symlink, so what it leads to is made instead. */
  #expanded(path: string): string {
    if (this.#mountOf(path) !== undefined || this.#facts.expandInRoot === undefined) return path;
    return this.#facts.resolveInRoot(path) === undefined ? this.#facts.expandInRoot(path) : path;
  }

  #open(path: string): Result {
    return this.#rows.openInRoot(this.#root, path, O_PATH);
  }

  #whereabouts(path: string): "there" | "new" | "unknown" {
    let mount = this.#mountOf(path);
    if (mount === undefined) {
      const onRoot = this.#facts.resolveInRoot(path);
      if (onRoot === undefined) return "unknown";
      mount = this.#mountOf(onRoot);
      if (mount === undefined || mount === onRoot) return "there";
    }
    if (mount === path) return "there";
    const type = this.#mounted.get(mount);
    // Nothing can be made there, so what is wanted is there.
    if (type === "sysfs" || type === "proc") return "there";
    const parent = path.slice(0, path.lastIndexOf("/"));
    const isFresh = type === "tmpfs" && (parent === mount || this.#made.has(parent));
    return isFresh && !this.#made.has(path) ? "new" : this.#made.has(path) ? "there" : "unknown";
  }

  #mountOf(path: string): string | undefined {
    for (let at = path; at !== ""; at = at.slice(0, at.lastIndexOf("/")))
      if (this.#mounted.has(at)) return at;
    return undefined;
  }
}

function isBelow(path: string, directory: string): boolean {
  return path === directory || path.startsWith(`${directory}/`);
}

/** Without empty, "." and ".." components; ".." never leaves the root. */
export function cleanPath(path: string): string {
  const parts: string[] = [];
  for (const part of path.split("/"))
    if (part === "..") parts.pop();
    else if (part !== "" && part !== ".") parts.push(part);
  return `/${parts.join("/")}`;
}
