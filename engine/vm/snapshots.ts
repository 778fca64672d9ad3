/**
 * Snapshots of machines that have booted, kept so that the next one made alike need not boot.
 *
 * ```
 * vm-snapshots/BOOT-KEY.snap   mode 0600, the owner's   BOOT: this boot of the host
 * vm-snapshots/.new-PID-…      being written, where a file cannot be without a name
 * ```
 * A file is written once, without a name or under a hidden one, and named when it is whole. The
 * modification time says when it was last used: the oldest go when there are too many.
 */
import { createHash, randomUUID } from "node:crypto";
import {
  closeSync,
  constants,
  fstatSync,
  futimesSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  rmSync,
  statfsSync,
} from "node:fs";
import { join } from "node:path";
import {
  AT_FDCWD,
  AT_SYMLINK_FOLLOW,
  hasErrno,
  hasNativeCode,
  syscall,
} from "../../linux/index.ts";

/** Of all snapshots together. */
const MAX_BYTES = 512 * 2 ** 20;
/** Of the disk, before another snapshot is made. */
const MIN_FREE_BYTES = 2 ** 30;
/** A machine is saved within a second of this. */
const ABANDONED_AGE_MS = 10 * 60_000;
const HIDDEN = ".new-";
const ENDING = ".snap";
const TMPFILE = 0o20200000; // O_TMPFILE: no name, so nothing stays when we are killed

export interface SnapshotFile extends Disposable {
  readonly fd: number;
}

export interface SnapshotDraft extends SnapshotFile {
  /** It is whole: gives it its name. */
  publish(): void;
}

export class MachineSnapshots {
  readonly #folder: string;
  readonly #boot: string;

  /** `boot`: this boot of the host; snapshots of others are not used and go. */
  constructor(folder: string, boot: string) {
    this.#folder = folder;
    this.#boot = createHash("sha256").update(boot).digest("hex").slice(0, 16);
  }

  /** Undefined when there is none that is ours alone. */
  find(key: Buffer): SnapshotFile | undefined {
    let fd: number;
    try {
      fd = openSync(this.#path(key), constants.O_RDONLY | constants.O_NOFOLLOW);
    } catch {
      return undefined;
    }
    const { uid, mode } = fstatSync(fd);
    const isOurs = uid === process.geteuid?.() && (mode & 0o7777) === 0o600;
    if (isOurs && (mode & constants.S_IFMT) === constants.S_IFREG) {
      const now = new Date();
      futimesSync(fd, now, now);
      return { fd, [Symbol.dispose]: () => closeSync(fd) };
    }
    closeSync(fd);
    this.remove(key);
    return undefined;
  }

  /** An empty file for a new one. Throws where it cannot be made: a full or read-only disk. */
  begin(key: Buffer): SnapshotDraft {
    mkdirSync(this.#folder, { recursive: true, mode: 0o700 });
    this.#sweep();
    const { bavail, bsize } = statfsSync(this.#folder);
    if (bavail * bsize < MIN_FREE_BYTES)
      throw new RangeError(
        `"${this.#folder}" has ${bavail * bsize} bytes left: expected ${MIN_FREE_BYTES}`,
      );
    const path = this.#path(key);
    const draft = this.#openNameless(path) ?? this.#openHidden(path);
    return {
      ...draft,
      publish: () => {
        rmSync(path, { force: true });
        draft.publish();
        this.#makeRoom();
      },
    };
  }

  remove(key: Buffer): void {
    rmSync(this.#path(key), { force: true });
  }

  #path(key: Buffer): string {
    return join(this.#folder, `${this.#boot}-${key.toString("hex")}${ENDING}`);
  }

  #openNameless(path: string): SnapshotDraft | undefined {
    if (!hasNativeCode()) return undefined; // only linkat(2) can name it
    let fd: number;
    try {
      fd = openSync(this.#folder, TMPFILE | constants.O_RDWR, 0o600);
    } catch {
      return undefined; // a file system that has no such files
    }
    const source = `/proc/self/fd/${fd}`;
    return {
      fd,
      publish: () => void syscall("linkat", AT_FDCWD, source, AT_FDCWD, path, AT_SYMLINK_FOLLOW),
      [Symbol.dispose]: () => closeSync(fd),
    };
  }

  #openHidden(path: string): SnapshotDraft {
    const hidden = join(this.#folder, `${HIDDEN}${process.pid}-${randomUUID()}`);
    const fd = openSync(hidden, "wx+", 0o600);
    return {
      fd,
      // One that another made meanwhile is as good.
      publish: () => ignoreExisting(() => linkSync(hidden, path)),
      [Symbol.dispose]: () => {
        closeSync(fd);
        rmSync(hidden, { force: true });
      },
    };
  }

  /** What a killed run left, and what was of another boot of the host. */
  #sweep(): void {
    for (const { name, path, mtimeMs } of listFolder(this.#folder)) {
      const isAbandoned = name.startsWith(HIDDEN) && Date.now() - mtimeMs > ABANDONED_AGE_MS;
      const isStale = name.endsWith(ENDING) && !name.startsWith(this.#boot);
      if (isAbandoned || isStale) rmSync(path, { force: true });
    }
  }

  #makeRoom(): void {
    const files = listFolder(this.#folder).filter(({ name }) => name.endsWith(ENDING));
    let total = files.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
    for (const { path, sizeBytes } of files.sort((a, b) => a.mtimeMs - b.mtimeMs)) {
      if (total <= MAX_BYTES) return;
      rmSync(path, { force: true });
      total -= sizeBytes;
    }
  }
}

export interface SnapshotUsage {
  readonly count: number;
  readonly sizeBytes: number;
}

export function snapshotUsage(folder: string): SnapshotUsage {
  const files = listFolder(folder);
  return { count: files.length, sizeBytes: files.reduce((sum, { disk }) => sum + disk, 0) };
}

/** All of them: machines that run keep what they have. */
export function removeSnapshots(folder: string): SnapshotUsage {
  const usage = snapshotUsage(folder);
  rmSync(folder, { recursive: true, force: true });
  return usage;
}

interface FolderEntry {
  readonly name: string;
  readonly path: string;
  readonly mtimeMs: number;
  readonly sizeBytes: number;
  /** Blocks that it takes. */
  readonly disk: number;
}

function listFolder(folder: string): FolderEntry[] {
  let names: string[];
  try {
    names = readdirSync(folder);
  } catch {
    return []; // nothing was ever saved
  }
  return names.flatMap((name) => {
    const path = join(folder, name);
    const stat = lstatSync(path, { throwIfNoEntry: false });
    if (stat === undefined) return [];
    return [{ name, path, mtimeMs: stat.mtimeMs, sizeBytes: stat.size, disk: stat.blocks * 512 }];
  });
}

function ignoreExisting(action: () => void): void {
  try {
    action();
  } catch (error) {
    if (!hasErrno(error, "EEXIST")) throw error;
  }
}
