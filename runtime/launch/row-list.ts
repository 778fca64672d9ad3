/** Collects the rows of a syscall program, with the few phrases that every part of a launch uses. */
import {
  type Argument,
  AT_EMPTY_PATH,
  type Errno,
  O_CLOEXEC,
  O_CREAT,
  O_DIRECTORY,
  O_PATH,
  O_WRONLY,
  open_how,
  RESOLVE_IN_ROOT,
  RESOLVE_NO_MAGICLINKS,
  RESOLVE_NO_SYMLINKS,
  type Row,
  type SyscallName,
} from "../../linux/index.ts";

export interface CallOptions {
  readonly ignore?: readonly Errno[];
  readonly onError?: string;
  readonly note?: string;
}

/** Name of a result; `last` results need none. */
export type Result = { readonly result: string };

/** Directories made for mounts, as runc makes them. */
const directoryMode = 0o755;
const fileMode = 0o755;

export class RowList {
  readonly rows: Row[] = [];
  readonly buffers: Record<string, number> = {};
  #count = 0;

  /** Makes a call whose result nobody needs by name. */
  call(name: SyscallName, args: readonly Argument[], options: CallOptions = {}): void {
    this.rows.push({ call: name, args, ...options });
  }

  /** Makes a call and names its result. */
  result(name: SyscallName, args: readonly Argument[], options: CallOptions = {}): Result {
    const as = `${name}_${++this.#count}`;
    this.rows.push({ call: name, args, as, ...options });
    return { result: as };
  }

  add(...rows: readonly Row[]): void {
    for (const row of rows) this.rows.push(row);
  }

  freshLabel(what: string): string {
    return `${what}_${++this.#count}`;
  }

  label(label: string): void {
    this.rows.push({ label });
  }

  goto(label: string): void {
    this.rows.push({ jump: label });
  }

  /** Jumps when the last result was an error that its row ignored. */
  gotoIfFailed(label: string): void {
    this.rows.push({ jump: label, if: [{ last: true }, "<", 0] });
  }

  gotoIfDone(label: string): void {
    this.rows.push({ jump: label, if: [{ last: true }, ">=", 0] });
  }

  /**
   * Rows that run once for each string: a table and a loop instead of as many copies. The body
   * gets the current string, and the label to jump to for the next one.
   */
  forEach(
    what: string,
    strings: readonly string[],
    body: (current: Argument, next: string) => void,
  ): void {
    if (strings.length === 0) return;
    const cursor = this.buffer(`${what}_cursor`, 8);
    const current: Argument = { load: `${what}_current`, width: 8 };
    const [next, done] = [this.freshLabel(`next_${what}`), this.freshLabel(`no_${what}`)];
    const word = this.freshLabel(what);
    this.add(
      { store: cursor, value: { strings }, width: 8 },
      { label: next },
      { read: { load: cursor.buffer, width: 8 }, width: 8, as: word },
      { store: this.buffer(`${what}_current`, 8), value: { result: word }, width: 8 },
      { jump: done, if: [{ result: word }, "==", 0] },
      { compute: [{ load: cursor.buffer, width: 8 }, "+", 8], as: `${word}_after` },
      { store: cursor, value: { result: `${word}_after` }, width: 8 },
    );
    body(current, next);
    this.goto(next);
    this.label(done);
  }

  buffer(name: string, sizeBytes: number): { readonly buffer: string } {
    this.buffers[name] = Math.max(this.buffers[name] ?? 0, sizeBytes);
    return { buffer: name };
  }

  /** Opens a path as the container will see it: no symlink leads out of its root. */
  openInRoot(
    root: Argument,
    path: string | Argument,
    flags: number,
    options: CallOptions = {},
  ): Result {
    return this.result("openat2", [root, path, howInRoot(flags), open_how.sizeBytes], options);
  }

  /** The same where a symlink on the way would be somebody's trick: then it fails with ELOOP. */
  openPlain(root: Argument, path: string, options: CallOptions = {}): Result {
    const plain = how(O_PATH, 0, RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS);
    return this.result("openat2", [root, path, plain, open_how.sizeBytes], options);
  }

  /**
   * Opens a directory below the root, made when it is missing. Every component is made in a
   * directory that was itself opened in the root, so a symlink planted meanwhile is followed as
   * the container would follow it.
   */
  ensureDirectory(root: Argument, path: string): Result {
    return this.#ensure(root, path, (parts, last) => this.#makeDirectories(root, [...parts, last]));
  }

  /** The same for a file: something to mount a file on. */
  ensureFile(root: Argument, path: string): Result {
    return this.#ensure(root, path, (parts) => {
      this.#makeDirectories(root, parts);
      const how = howInRoot(O_CREAT | O_WRONLY, fileMode);
      this.call("openat2", [root, path, how, open_how.sizeBytes], {
        ignore: ["EISDIR", "ENXIO"],
        note: `make "${path}" to mount on`,
      });
      this.call("close", [{ last: true }], { ignore: ["EBADF"] });
    });
  }

  #ensure(
    root: Argument,
    path: string,
    make: (parents: readonly string[], last: string) => void,
  ): Result {
    const parts = path.split("/").filter((part) => part !== "" && part !== ".");
    const last = parts.at(-1);
    const ready = this.freshLabel("ready");
    if (last !== undefined) {
      this.openInRoot(root, path, O_PATH, { ignore: ["ENOENT"] });
      this.gotoIfDone(ready);
      make(parts.slice(0, -1), last);
      this.openInRoot(root, path, O_PATH);
    } else this.openInRoot(root, "/", O_PATH);
    this.label(ready);
    return this.keepLast();
  }

  /** Gives the last result a name that is the same whichever way the program came. */
  keepLast(): Result {
    const as = `kept_${++this.#count}`;
    this.rows.push({ compute: [{ last: true }, "+", 0], as });
    return { result: as };
  }

  #makeDirectories(root: Argument, parts: readonly string[]): void {
    parts.forEach((part, index) => {
      const parent = parts.slice(0, index).join("/");
      const directory = this.openInRoot(root, `/${parent}`, O_PATH | O_DIRECTORY);
      this.call("mkdirat", [directory, part, directoryMode], { ignore: ["EEXIST"] });
      this.call("close", [directory]);
    });
  }
}

export function howInRoot(flags: number, mode = 0): Uint8Array {
  return how(flags, mode);
}

/** Equal arguments share one place in the program. */
const hows = new Map<string, Uint8Array>();
function how(
  flags: number,
  mode: number,
  resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS,
): Uint8Array {
  const key = `${flags} ${mode} ${resolve}`;
  const known = hows.get(key);
  if (known !== undefined) return known;
  const made = open_how.encode({
    flags: flags | O_CLOEXEC,
    mode,
    resolve,
  });
  hows.set(key, made);
  return made;
}

export const emptyPath = AT_EMPTY_PATH;
