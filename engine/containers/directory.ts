/**
 * Containers on disk. One directory each; nothing else knows about them.
 *
 * ```
 * ROOT/containers/ID/container.json   what it is; rewritten when it ends
 *                   /hosts, hostname, resolv.conf
 *                   /log, log.1          what a detached one has written: detached/log-frames.ts
 *                   /exit-status         wait(2)'s, as its keeper saw it, until a sweep has read it
 *                   /upper, work, merged, snapshot.json: the image store's
 *     /container-names/NAME           symbolic link to the ID: claims the name atomically
 *     /running/ID                     locked (flock) by whoever runs it, removed when it ends
 * ```
 *
 * A file in running/ that nobody locks belongs to a run that was killed: sweep.ts cleans up.
 */
import {
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  symlinkSync,
  unlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import {
  AT_FDCWD,
  AT_SYMLINK_FOLLOW,
  Fd,
  hasErrno,
  LOCK_EX,
  LOCK_NB,
  O_CLOEXEC,
  O_CREAT,
  O_RDWR,
  O_TMPFILE,
  syscall,
} from "../../linux/index.ts";
import { ContainerError } from "../errors.ts";
import { makeId, makeName } from "../names.ts";

export type ContainerStatus = "created" | "running" | "exited" | "dead";

/** container.json. */
export interface ContainerRecord {
  readonly id: string;
  readonly name: string;
  /** As the user wrote it. */
  readonly image: string;
  readonly imageId: string;
  readonly command: readonly string[];
  readonly createdAt: string;
  readonly autoRemove: boolean;
  readonly labels: Readonly<Record<string, string>>;
  readonly cgroupsPath: string;
  /** Network of the container: "none" or "host". */
  readonly network: string;
  /** What `stop` sends, as the image or its user has it. */
  readonly stopSignal?: string;
  /** docker's filter of system calls is in force, which config.json does not have. */
  readonly defaultSeccomp?: boolean;
  /** Where it runs, when that is a virtual machine. */
  readonly machine?: MachineRecord;
  readonly finishedAt?: string;
  readonly exitStatus?: number;
}

export interface MachineRecord {
  readonly cpu: "kvm" | "software";
  /** Why that CPU. */
  readonly reason: string;
  readonly cpus: number;
  readonly memoryBytes: number;
  readonly kernel: string;
  /** Socket of the monitor. */
  readonly socket: string;
}

const NAMES = "container-names";
const OWNER_ONLY = 0o700;
const RECORD_LIMIT_BYTES = 4 * 1024 * 1024;

/** Held while a container runs. */
export interface RunLock {
  close(): void;
}

export interface Claim<L extends RunLock = Fd> {
  readonly id: string;
  readonly name: string;
  readonly lock: L;
}

export class ContainerDirectories {
  readonly root: string;

  constructor(root: string) {
    this.root = root;
  }

  path(id: string, name = ""): string {
    return join(this.root, "containers", id, name);
  }

  /**
   * Claims an ID, its lock, and a name. The lock comes first: when we are killed in between, a
   * sweep finds it and with it the name.
   * @throws ContainerError when the name is taken
   */
  claim(name: string | undefined): Claim {
    return this.#claim(name, (id) => this.lock(id));
  }

  /** The same where native code may not be loaded: the running file names its owner. */
  claimByOwner(name: string | undefined): Claim<RunLock> {
    return this.#claim(name, (id) => {
      this.#make("running");
      writeFileSync(this.runningPath(id), String(process.pid), { flag: "wx", mode: 0o600 });
      return { close: () => undefined };
    });
  }

  #claim<L extends RunLock>(name: string | undefined, lockOf: (id: string) => L): Claim<L> {
    const id = makeId();
    const lock = lockOf(id);
    try {
      return { id, name: this.#claimName(id, name), lock };
    } catch (error) {
      this.release(this.runningPath(id));
      lock.close();
      throw error;
    }
  }

  #claimName(id: string, wanted: string | undefined): string {
    this.#make(NAMES);
    const claim = (name: string): boolean => {
      try {
        symlinkSync(id, this.#namePath(name));
        return true;
      } catch (error) {
        if (hasErrno(error, "EEXIST")) return false;
        throw error;
      }
    };
    if (wanted === undefined) return makeName((name) => !claim(name));
    if (claim(wanted)) return wanted;
    // the name of a container that is gone, or was never made
    this.dropStaleNames();
    if (claim(wanted)) return wanted;
    throw new ContainerError(`Cannot use the name "${wanted}": another container has it`, {
      hint: `remove that one first: manyworlds rm ${wanted}`,
    });
  }

  /** Makes the file that says that it runs, locked; the lock ends with the process. */
  lock(id: string): Fd {
    this.#make("running");
    return this.#lockUnnamed(id) ?? this.#lockHidden(id);
  }

  /** A file that has no name before it is locked; undefined where the file system has no such. */
  #lockUnnamed(id: string): Fd | undefined {
    const flags = O_TMPFILE | O_RDWR | O_CLOEXEC;
    const made = syscall("openat", AT_FDCWD, join(this.root, "running"), flags, 0o600);
    if (made < 0) return undefined;
    const fd = Fd.take(made);
    const [from, to] = [`/proc/self/fd/${made}`, this.runningPath(id)];
    const named =
      syscall("flock", fd, LOCK_EX | LOCK_NB) === 0 &&
      syscall("linkat", AT_FDCWD, from, AT_FDCWD, to, AT_SYMLINK_FOLLOW) === 0;
    if (named) return fd;
    fd.close();
    return undefined;
  }

  #lockHidden(id: string): Fd {
    const hidden = join(this.root, "running", `.${id}`);
    const fd = Fd.from("openat", AT_FDCWD, hidden, O_RDWR | O_CREAT | O_CLOEXEC, 0o600);
    // locked before it gets its name: whoever sees it there, sees it locked
    if (syscall("flock", fd, LOCK_EX | LOCK_NB) < 0) throw new Error(`Cannot lock ${hidden}`);
    renameSync(hidden, this.runningPath(id));
    return fd;
  }

  runningPath(id: string): string {
    return join(this.root, "running", id);
  }

  /** Says that it does not run any more. */
  release(path: string): void {
    unlinkSync(path);
  }

  write(record: ContainerRecord): void {
    const path = this.path(record.id, "container.json");
    writeFileSync(`${path}.new`, JSON.stringify(record), { mode: 0o600 });
    renameSync(`${path}.new`, path);
  }

  read(id: string): ContainerRecord | undefined {
    try {
      const bytes = readFileSync(this.path(id, "container.json"));
      if (bytes.length > RECORD_LIMIT_BYTES) return undefined;
      // SAFE: only `write` makes this file, in a directory that only we may enter
      return JSON.parse(bytes.toString()) as ContainerRecord;
    } catch (error) {
      if (hasErrno(error, "ENOENT", "ENOTDIR") || error instanceof SyntaxError) return undefined;
      throw error;
    }
  }

  list(): ContainerRecord[] {
    return this.ids().flatMap((id) => this.read(id) ?? []);
  }

  ids(): string[] {
    return listNames(join(this.root, "containers"));
  }

  running(): string[] {
    return listNames(join(this.root, "running"));
  }

  /** Finds by name, ID, or the unambiguous beginning of one. */
  find(wanted: string): ContainerRecord {
    const id = this.#idOf(wanted);
    const record = id === undefined ? undefined : this.read(id);
    if (record !== undefined) return record;
    throw new ContainerError(`Cannot find container "${wanted}"`, {
      status: 1,
      hint: "manyworlds ps --all lists them",
    });
  }

  #idOf(wanted: string): string | undefined {
    if (!/^[a-zA-Z0-9][a-zA-Z0-9_.-]*$/.test(wanted)) return undefined;
    try {
      return readlinkSync(this.#namePath(wanted));
    } catch (error) {
      if (!hasErrno(error, "ENOENT")) throw error;
    }
    const matches = this.ids().filter((id) => id.startsWith(wanted));
    if (matches.length <= 1) return matches[0];
    throw new ContainerError(
      `Cannot tell which container "${wanted}" is: ${matches.length} match`,
      {
        status: 1,
        hint: "write more of its ID",
      },
    );
  }

  /** Removes the directory, the name and the running file, in an order that a crash may cut short. */
  remove(record: Pick<ContainerRecord, "id" | "name">): void {
    const { id, name } = record;
    rmSync(this.path(id), { recursive: true, force: true });
    if (this.#ownerOf(name) === id) ignoreMissing(() => unlinkSync(this.#namePath(name)));
    ignoreMissing(() => unlinkSync(this.runningPath(id)));
  }

  /** Names whose container is gone. */
  dropStaleNames(): void {
    // names are claimed by those who run before their directory is made
    const running = this.running().map((name) => name.replace(/^\./, ""));
    const ids = new Set([...running, ...this.ids()]);
    for (const name of listNames(join(this.root, NAMES))) {
      const owner = this.#ownerOf(name);
      if (owner !== undefined && !ids.has(owner)) {
        ignoreMissing(() => unlinkSync(this.#namePath(name)));
      }
    }
  }

  #ownerOf(name: string): string | undefined {
    try {
      return readlinkSync(this.#namePath(name));
    } catch {
      return undefined;
    }
  }

  #namePath(name: string): string {
    return join(this.root, NAMES, name);
  }

  #make(name: string): void {
    mkdirSync(join(this.root, name), { recursive: true, mode: OWNER_ONLY });
  }
}

function listNames(path: string): string[] {
  try {
    return readdirSync(path);
  } catch (error) {
    if (hasErrno(error, "ENOENT")) return [];
    throw error;
  }
}

export function ignoreMissing(work: () => void): void {
  try {
    work();
  } catch (error) {
    if (!hasErrno(error, "ENOENT")) throw error;
  }
}
