/** What running containers may leave behind on a machine, as names that can be compared. */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";

export type Leftovers = ReadonlySet<string>;

/** Mounts of this namespace, cgroup directories, and what our state folder holds. */
export function takeStock(root: string): Leftovers {
  const found = new Set<string>();
  for (const line of readFileSync("/proc/self/mountinfo", "utf8").split("\n")) {
    const target = line.split(" ")[4];
    if (target !== undefined) found.add(`mount ${target}`);
  }
  for (const path of foldersBelow("/sys/fs/cgroup", 6)) found.add(`cgroup ${path}`);
  for (const path of entriesBelow(root, 2)) found.add(`state ${path}`);
  return found;
}

export function newSince(before: Leftovers, after: Leftovers): readonly string[] {
  return [...after].filter((name) => !before.has(name));
}

function foldersBelow(folder: string, depth: number): readonly string[] {
  if (depth === 0) return [];
  const folders: string[] = [];
  for (const entry of list(folder)) {
    if (!entry.isDirectory()) continue;
    const path = join(folder, entry.name);
    folders.push(path, ...foldersBelow(path, depth - 1));
  }
  return folders;
}

function entriesBelow(folder: string, depth: number): readonly string[] {
  if (depth === 0) return [];
  return list(folder).flatMap((entry) => {
    const path = join(folder, entry.name);
    return entry.isDirectory() ? [path, ...entriesBelow(path, depth - 1)] : [path];
  });
}

function list(folder: string) {
  try {
    return readdirSync(folder, { withFileTypes: true });
  } catch {
    return []; // Removed since its parent was read, as cgroups of others are all the time.
  }
}
