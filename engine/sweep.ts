/**
 * Cleans up after runs that were killed: a file in running/ whose lock nobody holds means that the
 * owner is gone. Its process is killed, its cgroup, mounts and, with --rm, its directory go.
 */
import { readFileSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import {
  AT_FDCWD,
  Fd,
  hasErrno,
  LOCK_EX,
  LOCK_NB,
  O_CLOEXEC,
  O_RDWR,
  SIGKILL,
  syscall,
} from "../linux/index.ts";
import {
  decodeStatus,
  deleteContainer,
  killContainer,
  NoContainerError,
  readContainer,
  StatusError,
} from "../runtime/index.ts";
import { ignoreMissing } from "./containers/directory.ts";
import type { Places } from "./places.ts";
import { discard } from "./prepare.ts";

/** A run that is killed between making its file and naming it leaves a hidden one. */
const HIDDEN_AGE_MS = 60_000;
const KILLED = 137;

/** @returns IDs of the containers that were cleaned up */
export function sweep(places: Places): string[] {
  return places.containers.running().filter((name) => {
    if (!name.startsWith(".")) return sweepOne(places, name);
    const path = places.containers.runningPath(name);
    const age = Date.now() - (statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? Date.now());
    return age > HIDDEN_AGE_MS && sweepOne(places, name.slice(1), path);
  });
}

function sweepOne(places: Places, id: string, path = places.containers.runningPath(id)): boolean {
  using lock = takeLock(path);
  if (lock === undefined || isOwned(path)) return false;
  endProcess(places, id);
  const record = places.containers.read(id);
  if (record?.machine !== undefined) rmSync(record.machine.socket, { force: true });
  if (record === undefined || record.autoRemove) {
    discard(places, record ?? { id, name: "" }, undefined);
    places.containers.dropStaleNames();
  } else {
    const end = readEnd(places.containers.path(id, "exit-status"));
    const { exitStatus = KILLED, finishedAt = new Date() } = end ?? record;
    const ended = { exitStatus, finishedAt: new Date(finishedAt).toISOString() };
    places.containers.write({ ...record, ...ended });
  }
  ignoreMissing(() => places.containers.release(path));
  return true;
}

/** What the keeper of a detached container has written down; undefined when it could not. */
export function readEnd(
  path: string,
): { readonly exitStatus: number; readonly finishedAt: Date } | undefined {
  try {
    const bytes = readFileSync(path);
    if (bytes.length !== 4) return undefined;
    return { exitStatus: decodeStatus(bytes).code, finishedAt: statSync(path).mtime };
  } catch (error) {
    if (hasErrno(error, "ENOENT")) return undefined;
    throw error;
  }
}

/** The lock, unless another holds it or the file has gone meanwhile. */
function takeLock(path: string): Fd | undefined {
  let fd: Fd;
  try {
    fd = Fd.from("openat", AT_FDCWD, path, O_RDWR | O_CLOEXEC);
  } catch (error) {
    if (hasErrno(error, "ENOENT")) return undefined;
    throw error;
  }
  const free = syscall("flock", fd, LOCK_EX | LOCK_NB) === 0;
  if (free && statSync(path, { throwIfNoEntry: false }) !== undefined) return fd;
  fd.close();
  return undefined;
}

/** Whether the file names an owner that lives: one that had no flock. */
function isOwned(path: string): boolean {
  const owner = Number(readFileSync(path, "utf8"));
  if (!Number.isInteger(owner) || owner <= 0) return false;
  try {
    process.kill(owner, 0);
    return true;
  } catch (error) {
    return !hasErrno(error, "ESRCH");
  }
}

/** Kills what still runs and removes its cgroup; no state at all means that nothing was started. */
export function endProcess({ runRoot }: Places, id: string): void {
  try {
    const container = readContainer(runRoot, id);
    try {
      // the owner may have died before it knew the PID: the cgroup knows
      killContainer(container, SIGKILL, { all: true });
    } catch (error) {
      if (!(error instanceof StatusError)) throw error; // without a cgroup: it has ended
    }
    deleteContainer(container, { force: true });
  } catch (error) {
    if (!(error instanceof NoContainerError)) throw error;
    rmSync(join(runRoot, id), { recursive: true, force: true });
  }
}
