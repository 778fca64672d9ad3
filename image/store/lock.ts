/**
 * Locks between processes: flock(2) on a file that is never removed, so that two processes always
 * mean the same file. The kernel lets go when the holder dies, however it dies.
 *
 * Where native code may not be loaded there is no flock; then a file that names its owner stands
 * for the lock, and one whose owner is dead is taken over.
 */
import { closeSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import {
  AT_FDCWD,
  call,
  Fd,
  LOCK_EX,
  LOCK_NB,
  LOCK_SH,
  O_CLOEXEC,
  O_CREAT,
  O_RDWR,
  syscall,
} from "../../linux/index.ts";
import { sleep } from "../builtin.ts";
import { EAGAIN } from "../names.ts";

export type LockMode = "shared" | "exclusive";

const POLL_MS = 20;

/** Takes the lock, or returns undefined when another holds it. */
export function tryLock(path: string, mode: LockMode): Disposable | undefined {
  if (!canFlock()) return mode === "shared" ? noLock : tryOwnerFile(path);
  const fd = Fd.from("openat", AT_FDCWD, path, O_RDWR | O_CREAT | O_CLOEXEC, 0o600);
  const operation = (mode === "shared" ? LOCK_SH : LOCK_EX) | LOCK_NB;
  const result = syscall("flock", fd, operation);
  if (result === 0) return fd;
  using _ = fd;
  if (result !== -EAGAIN) call("flock", fd, operation);
  return undefined;
}

/** Waits for the lock; `until` ends the waiting early with undefined. */
export async function lock(
  path: string,
  mode: LockMode,
  options: { signal?: AbortSignal | undefined; until?: () => boolean } = {},
): Promise<Disposable | undefined> {
  for (;;) {
    options.signal?.throwIfAborted();
    if (options.until?.()) return undefined;
    const held = tryLock(path, mode);
    if (held !== undefined) return held;
    await sleep(POLL_MS, options.signal ? { signal: options.signal } : {});
  }
}

const noLock: Disposable = { [Symbol.dispose]: () => {} };
let flockWorks: boolean | undefined;

function canFlock(): boolean {
  if (flockWorks !== undefined) return flockWorks;
  try {
    flockWorks = syscall("getpid") > 0;
  } catch {
    flockWorks = false;
  }
  return flockWorks;
}

function tryOwnerFile(path: string): Disposable | undefined {
  const owner = `${path}.owner`;
  try {
    const fd = openSync(owner, "wx");
    writeFileSync(fd, String(process.pid));
    closeSync(fd);
    return { [Symbol.dispose]: () => rmSync(owner, { force: true }) };
  } catch {
    if (isOwnerAlive(owner)) return undefined;
    rmSync(owner, { force: true });
    return undefined; // the caller asks again
  }
}

function isOwnerAlive(owner: string): boolean {
  try {
    const pid = Number(readFileSync(owner, "utf8"));
    if (pid > 0) process.kill(pid, 0);
    return true; // an empty file is just being written
  } catch {
    return false;
  }
}
