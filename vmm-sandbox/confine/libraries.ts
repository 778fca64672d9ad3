/**
 * What an executable of ours needs to start: the folders of its shared libraries. Those that are
 * mapped into this process are the same, whether it is Node, Bun or the built command.
 */
import { existsSync, lstatSync, readFileSync, readlinkSync, realpathSync } from "node:fs";
import { dirname } from "node:path";
import type { RootLink } from "./launch-plan.ts";

/** Where programs name their dynamic linker, whatever the folder really is. */
const LINKER_FOLDER = "/lib64";
const LIBRARY_FOLDERS = ["/lib", "/lib64"];

/** Folders to be read at the same path in the monitor's root. */
export function libraryFolders(maps = readFileSync("/proc/self/maps", "utf8")): readonly string[] {
  const folders = new Set<string>();
  for (const line of maps.split("\n")) {
    const path = line.slice(line.indexOf("/"));
    if (/\.so(\.|$)/.test(path) && existsSync(path)) folders.add(dirname(path));
  }
  if (existsSync(LINKER_FOLDER)) folders.add(realpathSync(LINKER_FOLDER));
  return [...folders];
}

/** On most systems /lib and /lib64 are symbolic links, and so they are in the monitor's root. */
export function libraryLinks(): readonly RootLink[] {
  return LIBRARY_FOLDERS.filter((path) =>
    lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink(),
  ).map((path) => ({ path, target: readlinkSync(path) }));
}
