/** Directories in `tmp`, each with a lock that tells whether its maker lives. */
import { mkdirSync, renameSync, statSync } from "node:fs";
import { join } from "node:path";
import { randomHex } from "../builtin.ts";
import { textToByteString } from "../byte-string.ts";
import { openDirectory, removeTree } from "../directory.ts";
import type { Layout } from "./layout.ts";
import { tryLock } from "./lock.ts";

/** A directory in `tmp`, locked while its maker lives, gone unless it was moved into place. */
export class WorkDirectory implements Disposable {
  readonly path: string;
  readonly #tmp: string;
  readonly #name: string;
  readonly #held: Disposable | undefined;
  #moved = false;

  constructor(layout: Layout) {
    this.#tmp = layout.tmp;
    this.#name = `layer-${randomHex(8)}`;
    this.path = join(layout.tmp, this.#name);
    // The lock is older than the directory, so no sweep finds one without the other.
    this.#held = tryLock(`${this.path}.lock`, "exclusive");
    mkdirSync(this.path);
  }

  moveTo(target: string): void {
    renameSync(this.path, target);
    this.#moved = true;
  }

  [Symbol.dispose](): void {
    using tmp = openDirectory(this.#tmp);
    if (!this.#moved) removeTree(tmp, textToByteString(this.#name));
    removeTree(tmp, textToByteString(`${this.#name}.lock`));
    this.#held?.[Symbol.dispose]();
  }
}

/** Whether a process that lives is at work on this path in `tmp`. */
export function isBeingMade(path: string): boolean {
  if (path.endsWith(".lock")) return !canLock(path);
  const lockPath = `${path}.lock`;
  try {
    statSync(lockPath);
  } catch {
    // A file that replaceFile is writing is younger than its process; its name tells which.
    return isLiveFile(path);
  }
  return !canLock(lockPath);
}

function canLock(path: string): boolean {
  const held = tryLock(path, "exclusive");
  held?.[Symbol.dispose]();
  return held !== undefined;
}

function isLiveFile(path: string): boolean {
  const pid = Number(/\/file-(\d+)-[0-9a-f]+$/.exec(path)?.[1]);
  if (!Number.isInteger(pid)) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}
