/** A container's cgroup: made, limited, frozen, killed and removed, whatever the version. */
import {
  AT_FDCWD,
  call,
  Fd,
  hasErrno,
  O_CLOEXEC,
  O_WRONLY,
  SIGKILL,
  syscall,
  utf8Length,
} from "../../linux/index.ts";
import type { DeviceRule, Resources } from "../../oci/index.ts";
import { exists, listDirectory, makeDirectories, readText, writeExisting } from "../files.ts";
import { isOrdinaryUser } from "../privilege.ts";
import { attachDeviceFilter } from "./device-filter.ts";
import type { CgroupLayout } from "./hierarchies.ts";
import {
  type CgroupWrite,
  deviceRules,
  planResourcesV1,
  planResourcesV2,
  unknownToV2,
} from "./resources.ts";

/** Where a container lies; kept in its state on disk. */
export interface CgroupPlace {
  readonly version: 1 | 2;
  /** Hierarchy name → absolute directory; v2 has the one name "". */
  readonly directories: Readonly<Record<string, string>>;
  /** Controller → hierarchy name. */
  readonly controllers: Readonly<Record<string, string>>;
  /** The unit, where systemd made it (systemd/scope.ts). */
  readonly systemd?: { readonly unit: string; readonly slice: string };
}

/** A limit that could not be set; `field` names it in config.json. */
export class CgroupError extends Error {
  override readonly name = "CgroupError";
  readonly field: string;
  constructor(field: string, problem: string, options?: ErrorOptions) {
    super(`Cannot set ${field}: ${problem}`, options);
    this.field = field;
  }
}

const pollMs = 1;
const patienceMs = 2_000;
const cgroupMode = 0o755;

/**
 * Where `path` leads (config-linux.md, "Cgroups Path"): absolute paths start at the hierarchy's
 * mount point, relative ones at the runtime's own cgroup; without one the ID is the path.
 */
export function placeCgroup(
  layout: CgroupLayout,
  path: string | undefined,
  id: string,
): CgroupPlace {
  const wanted = path === undefined || path === "" ? id : path;
  const clean = `/${wanted
    .split("/")
    .filter((part) => part !== "" && part !== "." && part !== "..")
    .join("/")}`;
  const absolute = wanted.startsWith("/");
  if (layout.version === 2) {
    const own = absolute ? "" : layout.own;
    return { version: 2, directories: { "": layout.mountPoint + own + clean }, controllers: {} };
  }
  const directories: Record<string, string> = {};
  const controllers: Record<string, string> = {};
  for (const { name, mountPoint, own, controllers: list } of layout.hierarchies) {
    directories[name] = mountPoint + (absolute ? "" : own) + clean;
    for (const controller of list) controllers[controller] = name;
  }
  return { version: 1, directories, controllers };
}

/** Makes the directories; limits come next, then the process. */
export function createCgroup(place: CgroupPlace): void {
  const made: string[] = [];
  try {
    for (const directory of Object.values(place.directories)) {
      makeDirectory(directory);
      made.push(directory);
    }
    const cpuset = place.controllers["cpuset"];
    if (cpuset !== undefined) inheritCpuset(place.directories[cpuset] ?? "");
  } catch (cause) {
    for (const directory of made) syscall("rmdir", directory);
    throw cause;
  }
}

const W_OK = 2;

/** Whether this user may make directories where the place's nearest existing parents are. */
export function mayMakeCgroup(place: CgroupPlace): boolean {
  return Object.values(place.directories).every((directory) => {
    let parent = directory.slice(0, directory.lastIndexOf("/"));
    while (syscall("access", parent, 0) < 0) parent = parent.slice(0, parent.lastIndexOf("/"));
    return syscall("access", parent, W_OK) >= 0;
  });
}

function makeDirectory(directory: string): void {
  makeDirectories(directory, cgroupMode);
}

/** v1: a new cpuset has no CPUs and takes no process until it is given some. */
function inheritCpuset(directory: string): void {
  for (const file of ["cpuset.cpus", "cpuset.mems"]) {
    if (readText(`${directory}/${file}`).trim() !== "") continue;
    const parent = directory.slice(0, directory.lastIndexOf("/"));
    const wanted = readText(`${parent}/${file}`).trim();
    if (wanted === "") inheritCpuset(parent);
    writeExisting(`${directory}/${file}`, wanted || readText(`${parent}/${file}`));
  }
}

/** Puts limits into force; throws CgroupError naming the field of config.json. */
export function limitCgroup(place: CgroupPlace, resources: Resources | undefined): void {
  if (resources === undefined) return;
  if (place.version === 2) {
    const foreign = unknownToV2(resources);
    if (foreign !== undefined)
      throw new CgroupError(`linux.resources.${foreign}`, "cgroup v2 has no such limit");
    const writes = planResourcesV2(resources);
    if (resources.devices !== undefined) filterDevices(place, resources.devices);
    enableControllers(place, new Set(writes.map(({ controller }) => controller)));
    using files = new OpenFiles();
    const directory = place.directories[""] ?? "";
    for (const write of writes) {
      const rather = write.rather && exists(`${directory}/${write.rather.file}`);
      apply(files, directory, rather ? { ...write, ...write.rather } : write);
    }
    return;
  }
  if (Object.keys(resources.unified ?? {}).length > 0)
    throw new CgroupError("linux.resources.unified", "this machine has cgroup v1");
  using files = new OpenFiles();
  for (const write of planResourcesV1(resources)) {
    const hierarchy = place.controllers[write.controller];
    if (hierarchy === undefined)
      throw new CgroupError(write.field, `no cgroup hierarchy has "${write.controller}"`);
    apply(files, place.directories[hierarchy] ?? "", write);
  }
}

/** v2 has no devices controller; without the privilege for BPF nobody can make nodes either. */
function filterDevices(place: CgroupPlace, rules: readonly DeviceRule[]): void {
  try {
    attachDeviceFilter(place.directories[""] ?? "", deviceRules(rules));
  } catch (cause) {
    if (hasErrno(cause, "EPERM") && isOrdinaryUser()) return;
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new CgroupError("linux.resources.devices", reason, { cause });
  }
}

/** Files written several times are opened once: each device rule is a write of its own. */
class OpenFiles implements Disposable {
  readonly #files = new Map<string, Fd>();

  write(path: string, text: string): void {
    let file = this.#files.get(path);
    if (file === undefined) {
      file = Fd.from("openat", AT_FDCWD, path, O_WRONLY | O_CLOEXEC);
      this.#files.set(path, file);
    }
    call("write", file, text, utf8Length(text));
  }

  [Symbol.dispose](): void {
    for (const file of this.#files.values()) file.close();
  }
}

function apply(files: OpenFiles, directory: string, { file, text, field }: CgroupWrite): void {
  try {
    files.write(`${directory}/${file}`, text);
  } catch (cause) {
    if (hasErrno(cause, "EPERM") && file.startsWith("devices.")) return; // nested in a user namespace
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new CgroupError(field, `cannot write "${text}" to "${directory}/${file}": ${reason}`, {
      cause,
    });
  }
}

/** v2: a controller exists in a cgroup when its parent hands it down; all the way from the top. */
function enableControllers(place: CgroupPlace, wanted: ReadonlySet<string>): void {
  const directory = place.directories[""] ?? "";
  const parents: string[] = [];
  for (
    let parent = directory.slice(0, directory.lastIndexOf("/"));
    parent.startsWith("/sys/fs/cgroup");
    parent = parent.slice(0, parent.lastIndexOf("/"))
  )
    parents.unshift(parent);
  for (const parent of parents) {
    const have = readText(`${parent}/cgroup.subtree_control`).split(/\s+/);
    for (const controller of wanted)
      if (controller !== "" && !have.includes(controller))
        try {
          writeExisting(`${parent}/cgroup.subtree_control`, `+${controller}`);
        } catch {
          // The write to the controller's file says what is missing, and for which field.
        }
  }
}

/**
 * The files a process writes "0" to in order to enter. On v1 that is `tasks`, not cgroup.procs:
 * moving only the calling thread spares the kernel a wait for an RCU grace period (several
 * milliseconds; cgroup_procs_write_start in kernel/cgroup/cgroup.c), and our process has one.
 */
export function openCgroupEntrances(place: CgroupPlace): readonly Fd[] {
  return entrancePaths(place).map((path) =>
    Fd.from("openat", AT_FDCWD, path, O_WRONLY | O_CLOEXEC),
  );
}

export function entrancePaths({ version, directories }: CgroupPlace): readonly string[] {
  const file = version === 1 ? "tasks" : "cgroup.procs";
  return Object.values(directories).map((directory) => `${directory}/${file}`);
}

/** A hierarchy in which every process of the container is found. */
function tree(place: CgroupPlace): string {
  const { directories, controllers } = place;
  const name = controllers["freezer"] ?? controllers["devices"] ?? controllers["pids"] ?? "";
  return directories[name] ?? Object.values(directories)[0] ?? "";
}

/** PIDs of the container, those of its own sub-cgroups included. */
export function cgroupProcesses(place: CgroupPlace): readonly number[] {
  return processesBelow(tree(place));
}

function processesBelow(directory: string): readonly number[] {
  try {
    const own = readText(`${directory}/cgroup.procs`).split("\n").filter(Boolean).map(Number);
    return [...own, ...subdirectories(directory).flatMap(processesBelow)];
  } catch (error) {
    if (hasErrno(error, "ENOENT", "ENODEV", "EOPNOTSUPP")) return [];
    throw error;
  }
}

function subdirectories(directory: string): readonly string[] {
  return listDirectory(directory)
    .filter((entry) => entry.isDirectory)
    .map(({ name }) => `${directory}/${name}`);
}

/** Stops or continues every process; waits until the kernel says that it is so. */
export function freezeCgroup(place: CgroupPlace, frozen: boolean): void {
  const directory = place.version === 2 ? tree(place) : freezerOf(place);
  const file = place.version === 2 ? "cgroup.freeze" : "freezer.state";
  const text = place.version === 2 ? (frozen ? "1" : "0") : frozen ? "FROZEN" : "THAWED";
  const until = Date.now() + patienceMs;
  for (;;) {
    writeExisting(`${directory}/${file}`, text);
    if (isFrozen(place) === frozen) return;
    if (Date.now() > until) {
      if (frozen) writeExisting(`${directory}/${file}`, place.version === 2 ? "0" : "THAWED");
      throw new Error(
        `Cannot ${frozen ? "freeze" : "thaw"} cgroup "${directory}" in ${patienceMs} ms`,
      );
    }
    sleep(pollMs);
  }
}

function freezerOf({ controllers, directories }: CgroupPlace): string {
  const directory = directories[controllers["freezer"] ?? ""];
  if (directory === undefined)
    throw new Error("Cannot pause: this machine has no cgroup freezer, expected the v1 hierarchy");
  return directory;
}

export function isFrozen(place: CgroupPlace): boolean {
  try {
    if (place.version === 2) return readText(`${tree(place)}/cgroup.events`).includes("frozen 1");
    const directory = place.directories[place.controllers["freezer"] ?? ""];
    if (directory === undefined) return false;
    return readText(`${directory}/freezer.state`).startsWith("FROZEN");
  } catch (error) {
    if (hasErrno(error, "ENOENT", "ENODEV")) return false;
    throw error;
  }
}

/** Sends a signal to every process; frozen ones die of SIGKILL when they are thawed. */
export function signalCgroup(place: CgroupPlace, signal: number): void {
  if (place.version === 2 && signal === SIGKILL) {
    try {
      writeExisting(`${tree(place)}/cgroup.kill`, "1");
      return;
    } catch (error) {
      if (hasErrno(error, "ENOENT") && cgroupProcesses(place).length === 0) return;
    }
  }
  for (const pid of cgroupProcesses(place)) syscall("kill", pid, signal);
}

/** Removes the cgroup with whatever cgroups the container made in it. Gone already is fine. */
export function deleteCgroup(place: CgroupPlace): void {
  for (const directory of Object.values(place.directories)) deleteDirectory(directory);
}

/** rmdir answers EBUSY for a moment after the last process has gone. */
function deleteDirectory(directory: string): void {
  const until = Date.now() + patienceMs;
  for (;;) {
    const result = syscall("rmdir", directory);
    if (result >= 0 || result === -2) return;
    try {
      for (const inner of subdirectories(directory)) deleteDirectory(inner);
      if (Date.now() > until) {
        call("rmdir", directory);
        return;
      }
    } catch (error) {
      if (hasErrno(error, "ENOENT")) return;
      throw error;
    }
    sleep(pollMs);
  }
}

const sleeper = new Int32Array(new SharedArrayBuffer(4));

/** Blocks; used only where a verb has nothing else to do. */
export function sleep(milliseconds: number): void {
  Atomics.wait(sleeper, 0, 0, milliseconds);
}
