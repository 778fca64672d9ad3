/** What a runtime may leave behind: state, mounts, cgroups. Found after each row, then removed. */
import { existsSync, readdirSync, readFileSync, rmdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { syscall } from "../../linux/index.ts";
import type { Machine } from "./machine.ts";
import { usesCgroupV1 } from "./machine.ts";
import { until } from "./processes.ts";

interface Place {
  readonly machine: Machine;
  readonly directory: string;
  readonly stateRoot: string;
  readonly cgroupsPath: string;
  readonly cgroupStem: string;
}

const MNT_DETACH = 2;

export function findLeftovers(place: Place): readonly string[] {
  const found: string[] = [];
  for (const name of readdirSync(place.stateRoot)) {
    if (name.startsWith(".")) continue;
    const inside = readdirSync(join(place.stateRoot, name), { recursive: true });
    if (inside.length > 0) found.push(`state of "${name}" (${inside.slice(0, 4).join(", ")})`);
  }
  for (const mount of mountsBelow(place.directory)) found.push(`mount on ${mount}`);
  for (const cgroup of cgroupsOf(place)) found.push(`cgroup ${cgroup}`);
  return found;
}

export function clearLeftovers(place: Place): void {
  for (const mount of [...mountsBelow(place.directory)].reverse())
    syscall("umount2", mount, MNT_DETACH);
  for (const cgroup of cgroupsOf(place)) removeCgroup(cgroup);
}

function mountsBelow(directory: string): readonly string[] {
  return readFileSync("/proc/self/mountinfo", "utf8")
    .split("\n")
    .map((line) => (line.split(" ")[4] ?? "").replaceAll("\\040", " "))
    .filter((target) => target.startsWith(`${directory}/`));
}

/** The directories that the trial's cgroups path, or one that starts with it, has anywhere. */
export function cgroupsOf({ machine, cgroupStem }: Place): readonly string[] {
  const hierarchies = new Set(machine.cgroupV1.values());
  if (machine.cgroup2) hierarchies.add(machine.cgroup2.path);
  const slash = cgroupStem.lastIndexOf("/");
  const own = cgroupStem.slice(slash + 1);
  return [...hierarchies].flatMap((path) => {
    const parent = join(path, cgroupStem.slice(0, slash));
    if (!existsSync(parent)) return [];
    return readdirSync(parent)
      .filter((name) => name === own || name.startsWith(`${own}-`) || name.startsWith(`${own}.`))
      .map((name) => join(parent, name));
  });
}

function removeCgroup(path: string): void {
  thaw(path);
  for (const entry of readdirSync(path, { withFileTypes: true }))
    if (entry.isDirectory()) removeCgroup(join(path, entry.name));
  for (const pid of readFileSync(join(path, "cgroup.procs"), "utf8").split("\n").filter(Boolean)) {
    try {
      process.kill(Number(pid), "SIGKILL");
    } catch {
      // It has just ended.
    }
  }
  try {
    rmdirSync(path);
  } catch {
    // Processes are still ending; the finding is reported all the same.
  }
}

/** What is frozen does not die under cgroup v1. */
function thaw(path: string): void {
  const [v1, v2] = [join(path, "freezer.state"), join(path, "cgroup.freeze")];
  if (existsSync(v1)) writeFileSync(v1, "THAWED");
  else if (existsSync(v2)) writeFileSync(v2, "0");
}

/** Where a controller's files of this trial's cgroup are: v1's hierarchy, else cgroup2. */
export function cgroupDirectory(place: Place, controller: string): string {
  const v1 = place.machine.cgroupV1.get(controller);
  const base = v1 ?? place.machine.cgroup2?.path ?? "/sys/fs/cgroup";
  return join(base, place.cgroupsPath);
}

export async function cgroupGone(place: Place): Promise<void> {
  await until("the cgroups are gone", () => cgroupsOf(place).length === 0);
}

export function freezerState(place: Place): string {
  const file = usesCgroupV1(place.machine) ? "freezer.state" : "cgroup.freeze";
  return readFileSync(join(cgroupDirectory(place, "freezer"), file), "utf8").trim();
}
