/** The guest's inode numbers: each an O_PATH descriptor below the exported directory. */
import {
  AT_EMPTY_PATH,
  AT_SYMLINK_NOFOLLOW,
  call,
  Fd,
  O_CLOEXEC,
  O_DIRECTORY,
  O_NOFOLLOW,
  O_PATH,
  open_how,
  RESOLVE_BENEATH,
  RESOLVE_NO_MAGICLINKS,
  stat,
} from "../../../linux/index.ts";
import { ROOT_ID } from "./abi.ts";
import { FuseError } from "./fuse-error.ts";

/** What an inode looked like when it was last asked. */
export type Stat = ReturnType<typeof stat.decode>;

export interface Inode {
  readonly id: number;
  readonly fd: Fd;
  readonly key: string;
  /** Look-ups that the guest has not forgotten. */
  lookups: number;
}

/** Each costs a descriptor of this process. */
export const MAX_INODES = 12_000;
const AT_FDCWD = -100;

export class Inodes implements Disposable {
  readonly #byId = new Map<number, Inode>();
  readonly #byKey = new Map<string, Inode>();
  #nextId = ROOT_ID;

  /** `path` is the exported directory; it is the only path that is ever resolved as a whole. */
  constructor(path: string) {
    const fd = Fd.from("openat", AT_FDCWD, path, O_PATH | O_DIRECTORY | O_CLOEXEC);
    this.#add(fd, keyOf(statOf(fd)));
  }

  get size(): number {
    return this.#byId.size;
  }

  get(id: number): Inode {
    const inode = this.#byId.get(id);
    if (inode === undefined) throw new FuseError("ESTALE");
    return inode;
  }

  /** Finds an entry of a directory (one name, NUL-terminated), and counts the look-up. */
  lookUp(directory: Inode, name: Uint8Array): { readonly inode: Inode; readonly stat: Stat } {
    const how = open_how.encode({
      flags: O_PATH | O_NOFOLLOW | O_CLOEXEC,
      resolve: RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS,
    });
    const fd = Fd.from("openat2", directory.fd, name, how, how.length);
    const found = statOf(fd);
    const known = this.#byKey.get(keyOf(found));
    if (known !== undefined) {
      fd.close();
      known.lookups += 1;
      return { inode: known, stat: found };
    }
    if (this.#byId.size >= MAX_INODES) {
      fd.close();
      throw new FuseError("ENFILE");
    }
    const inode = this.#add(fd, keyOf(found));
    inode.lookups = 1;
    return { inode, stat: found };
  }

  /** The guest forgets look-ups; more than there were count as all of them. */
  forget(id: number, count: number): void {
    const inode = this.#byId.get(id);
    if (inode === undefined || id === ROOT_ID) return;
    inode.lookups -= count;
    if (inode.lookups > 0) return;
    this.#byId.delete(id);
    this.#byKey.delete(inode.key);
    inode.fd.close();
  }

  /** A guest that starts again knows nothing but the root. */
  forgetAll(): void {
    for (const { id } of [...this.#byId.values()]) this.forget(id, Number.POSITIVE_INFINITY);
  }

  [Symbol.dispose](): void {
    for (const { fd } of this.#byId.values()) fd.close();
    this.#byId.clear();
  }

  #add(fd: Fd, key: string): Inode {
    const inode = { id: this.#nextId++, fd, key, lookups: 0 };
    this.#byId.set(inode.id, inode);
    this.#byKey.set(key, inode);
    return inode;
  }
}

export function statOf(fd: Fd): Stat {
  const buffer = new Uint8Array(stat.sizeBytes);
  call("newfstatat", fd, "", buffer, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW);
  return stat.decode(buffer);
}

function keyOf({ st_dev, st_ino }: Stat): string {
  return `${st_dev}:${st_ino}`;
}
