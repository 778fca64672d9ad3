/** A directory whose content is not trusted, such as a container's root file system. */
import {
  AT_FDCWD,
  O_CLOEXEC,
  O_DIRECTORY,
  O_NOFOLLOW,
  O_PATH,
  RESOLVE_IN_ROOT,
  RESOLVE_NO_MAGICLINKS,
} from "./constants.ts";
import { hasErrno } from "./errors.ts";
import { Fd } from "./fd.ts";
import { call, syscall } from "./kernel.ts";
import { open_how } from "./structs.ts";

const directoryMode = 0o755;
/** openat2(2) answers EAGAIN while something below is being renamed; a few tries always suffice. */
const resolveAttempts = 128;
const eagain = -11;

/**
 * Every path is resolved by the kernel as if this directory were "/": neither "..", nor absolute
 * symlinks, nor /proc's magic links lead out of it, whoever changes it meanwhile.
 */
export class Root implements Disposable {
  readonly fd: Fd;

  private constructor(fd: Fd) {
    this.fd = fd;
  }

  static open(path: string): Root {
    return new Root(Fd.from("openat", AT_FDCWD, path, O_PATH | O_DIRECTORY | O_CLOEXEC));
  }

  /** Takes ownership of a directory's descriptor. */
  static take(fd: Fd): Root {
    return new Root(fd);
  }

  /** Opens a path; `mode` counts only with O_CREAT or O_TMPFILE. */
  open(path: string, flags: number, mode = 0): Fd {
    const how = open_how.encode({
      flags: flags | O_CLOEXEC,
      mode,
      resolve: RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
    });
    // An empty path means the root itself.
    const name = path === "" ? "." : path;
    for (let attempt = 1; attempt < resolveAttempts; attempt++) {
      const result = syscall("openat2", this.fd, name, how, how.length);
      if (result >= 0) return Fd.take(result);
      if (result !== eagain) break;
    }
    return Fd.from("openat2", this.fd, name, how, how.length);
  }

  /** Opens the directory that holds the last component, which is not resolved itself. */
  openParent(path: string): { readonly parent: Fd; readonly name: string } {
    const components = path.split("/").filter((part) => part !== "" && part !== ".");
    const name = components.pop();
    if (name === undefined || name === "..")
      throw new TypeError(`Expected a path that names something below the root, got "${path}"`);
    return { parent: this.open(components.join("/"), O_PATH | O_DIRECTORY), name };
  }

  /** Makes a directory and all that lead to it; what exists stays as it is. */
  makeDirectories(path: string, mode = directoryMode): void {
    const components = path.split("/").filter((part) => part !== "" && part !== ".");
    for (let count = 1; count <= components.length; count++) {
      const prefix = components.slice(0, count).join("/");
      if (this.exists(prefix)) continue;
      const { parent, name } = this.openParent(prefix);
      using _ = parent;
      try {
        call("mkdirat", parent, name, mode);
      } catch (error) {
        if (!hasErrno(error, "EEXIST")) throw error; // somebody else was faster
      }
    }
  }

  exists(path: string): boolean {
    try {
      this.open(path, O_PATH).close();
      return true;
    } catch (error) {
      if (hasErrno(error, "ENOENT", "ENOTDIR")) return false;
      throw error;
    }
  }

  /** Opens without following a symlink in the last place. */
  openNoFollow(path: string, flags: number): Fd {
    return this.open(path, flags | O_NOFOLLOW);
  }

  [Symbol.dispose](): void {
    this.fd.close();
  }
}
