/**
 * What is known of containers, on disk: one directory for each, so that whatever dies, the truth
 * is read from there and from the kernel.
 *
 * ```
 * ROOT/ID/state.json   written before anything is made: what to clean up; never changed
 * ROOT/ID/pid          "PID START" once the process exists; START tells it from a later namesake
 * ROOT/ID/start.sock   exists while the container waits for `start`
 * ROOT/ID/door         what the door needs of these (door/facts.ts); never changed
 * ROOT/ID/exec         the program of `exec` (door/exec-program.ts); never changed
 * ROOT/ID/start.report why a container that the door started has not begun
 * ROOT/ID/machine.sock where the keeper of a virtual machine takes requests (machine/frames.ts)
 * ```
 * The directory itself is the lock (flock).
 */
import {
  AT_FDCWD,
  call,
  Fd,
  hasErrno,
  LOCK_EX,
  O_CLOEXEC,
  O_DIRECTORY,
  O_RDONLY,
  syscall,
} from "../linux/index.ts";
import type { ContainerState, RuntimeConfig } from "../oci/index.ts";
import { type CgroupPlace, isFrozen } from "./cgroups/cgroup.ts";
import { pidFile, socketFile, startReportFile, stateFile } from "./door/files.ts";
import { NoContainerError } from "./errors.ts";
import {
  exists,
  listDirectory,
  makeDirectories,
  readBytesIfThere,
  readTextIfThere,
  removeTree,
  replaceText,
} from "./files.ts";
import type { MachineWish } from "./machine/wish.ts";
import { isOrdinaryUser } from "./privilege.ts";
import type { ResctrlPlace } from "./resctrl.ts";

export type Status = "creating" | "created" | "running" | "paused" | "stopped";

/** state.json. */
export interface ContainerRecord {
  readonly id: string;
  readonly bundle: string;
  readonly rootfs: string;
  readonly created: string;
  readonly owner: number;
  readonly cgroup?: CgroupPlace;
  readonly resctrl?: ResctrlPlace;
  /** As it was when the container was made; the bundle's may have changed since. */
  readonly config: RuntimeConfig;
  /** It runs in a virtual machine: `config` is then what keeps that (machine/split-config.ts). */
  readonly machine?: MachineRecord;
}

export interface MachineRecord extends MachineWish {
  /** What runs inside. */
  readonly guest: RuntimeConfig;
}

export interface Container extends ContainerRecord {
  readonly directory: string;
  /** 0 when the process has ended or never was. */
  readonly pid: number;
  readonly status: Status;
}

export const ociVersion = "1.3.0";
const directoryMode = 0o711;
const idLimit = 1024;
const idCharacters = new Set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_+.-");

export function checkId(id: string): string {
  const isPlain =
    id !== "" && id.length <= idLimit && [...id].every((one) => idCharacters.has(one));
  if (!isPlain || id === "." || id === "..") throw new Error("invalid container ID format");
  return id;
}

const rootsDirectory = "/run/manyworlds";

/** Default place of the state: runc's choice with our name. */
export function defaultStateRoot(env: Readonly<Record<string, string | undefined>>): string {
  const runtimeDirectory = env["XDG_RUNTIME_DIR"];
  return runtimeDirectory && isOrdinaryUser() ? `${runtimeDirectory}/manyworlds` : rootsDirectory;
}

/** Takes the ID; throws when it is taken already. */
export function createStateDirectory(root: string, id: string): string {
  const directory = `${root}/${checkId(id)}`;
  const result = syscall("mkdir", directory, directoryMode);
  if (result === -2) {
    makeDirectories(root, directoryMode);
    call("mkdir", directory, directoryMode);
  } else if (result === -17) throw new Error("container with given ID already exists");
  else if (result < 0) call("mkdir", directory, directoryMode);
  return directory;
}

export function writeRecord(directory: string, record: ContainerRecord): void {
  replaceText(`${directory}/${stateFile}`, JSON.stringify(record), 0o600);
}

/** Returns when the process began. */
export function writePid(directory: string, pid: number): number {
  const start = processStart(pid);
  replaceText(`${directory}/${pidFile}`, `${pid} ${start}`, 0o644);
  return start;
}

/** What the container said to the door, once. */
export function takeStartReport(directory: string): Uint8Array | undefined {
  const path = `${directory}/${startReportFile}`;
  const report = readBytesIfThere(path);
  if (report !== undefined) call("unlink", path);
  return report;
}

export function startSocketPath(directory: string): string {
  return `${directory}/${socketFile}`;
}

export function removeState(directory: string): void {
  removeTree(directory);
}

/** Holds the container for this process until disposed; waits for whoever has it. */
export function lockContainer(directory: string): Fd {
  const opened = syscall("openat", AT_FDCWD, directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (opened === -2) throw new NoContainerError();
  const lock = Fd.take(opened < 0 ? call("openat", AT_FDCWD, directory, O_RDONLY, 0) : opened);
  call("flock", lock, LOCK_EX);
  return lock;
}

/** Throws NoContainerError; a directory without a record is a container that is being made. */
export function readContainer(root: string, id: string): Container {
  const directory = `${root}/${checkId(id)}`;
  const text = readTextIfThere(`${directory}/${stateFile}`);
  if (text === undefined) throw new NoContainerError();
  // SAFE: written by writeRecord of this version or one before it.
  const record = JSON.parse(text) as ContainerRecord;
  const { pid, status } = readStatus(directory, record);
  return { ...record, directory, pid, status };
}

function readStatus(
  directory: string,
  { cgroup }: ContainerRecord,
): { readonly pid: number; readonly status: Status } {
  const text = readTextIfThere(`${directory}/${pidFile}`);
  if (text === undefined) return { pid: 0, status: "creating" };
  const [pid = 0, start = 0] = text.split(" ").map(Number);
  // 0 was recorded when the process had ended before it could be looked at.
  if (start === 0 || processStart(pid) !== start) return { pid: 0, status: "stopped" };
  if (cgroup !== undefined && isFrozen(cgroup)) return { pid, status: "paused" };
  return { pid, status: exists(`${directory}/${socketFile}`) ? "created" : "running" };
}

/** Clock ticks since boot at which the process began; 0 when it is dead, also as a zombie. */
export function processStart(pid: number): number {
  const stat = readTextIfThere(`/proc/${pid}/stat`);
  if (stat === undefined) return 0;
  // proc(5): the name in parentheses may contain anything; state is field 3, starttime 22.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return fields[0] === "Z" || fields[0] === "X" ? 0 : Number(fields[19]);
}

export function listContainers(root: string): readonly Container[] {
  let names: string[];
  try {
    names = listDirectory(root)
      .map(({ name }) => name)
      .sort();
  } catch (error) {
    if (hasErrno(error, "ENOENT")) return [];
    throw error;
  }
  return names.flatMap((name) => {
    try {
      return [readContainer(root, name)];
    } catch (error) {
      if (error instanceof NoContainerError) return [];
      throw error;
    }
  });
}

/** runtime.md, "State": what `state` prints and hooks read. */
export function ociState(
  container: ContainerRecord,
  status: Status,
  pid: number,
): ContainerState & { readonly rootfs?: string } {
  const { id, bundle, config } = container;
  return {
    ociVersion: config.ociVersion,
    id,
    status,
    pid,
    bundle,
    ...(config.annotations === undefined ? {} : { annotations: config.annotations }),
  };
}
