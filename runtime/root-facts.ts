/** What the runtime can tell a plan about a root file system before it is the container's. */

import { AT_FDCWD, Fd, O_CLOEXEC, O_PATH, open_how, syscall } from "../linux/index.ts";
import type { RuntimeConfig } from "../oci/index.ts";
import { unescapeOctal } from "./cgroups/hierarchies.ts";
import { LaunchError } from "./errors.ts";
import { readLink, readLinkIfThere, readText, realPath } from "./files.ts";
import type { RootMount } from "./launch/plan.ts";
import { howInRoot } from "./launch/row-list.ts";

/** What is known of the root before the container has it. Whoever asks closes what `keep` is given. */
export function rootResolver(
  rootfs: string,
  rootMount: RootMount | undefined,
  keep: (root: Fd) => void,
): (path: string) => string | undefined {
  if (rootMount !== undefined) return rootMount.resolve ?? (() => undefined);
  const root = Fd.from("openat", AT_FDCWD, rootfs, O_PATH | O_CLOEXEC);
  keep(root);
  return resolverIn(rootfs, root);
}

/** Looks a path up as the container will: the kernel resolves it below the root. */
function resolverIn(rootfs: string, root: Fd): (path: string) => string | undefined {
  const known = new Map<string, string | undefined>();
  return (path) => {
    if (known.has(path)) return known.get(path);
    const found = syscall("openat2", root, path, howInRoot(O_PATH), open_how.sizeBytes);
    const place = found < 0 ? undefined : placeBelow(Fd.take(found), rootfs);
    known.set(path, place);
    return place;
  };
}

const linkLimit = 40;

/**
 * Replaces symlinks in a path by what they say, as far as it exists. A hint about what to make:
 * the kernel resolves what we make again, below the root.
 */
export function expandLinks(rootfs: string, path: string): string {
  const done: string[] = [];
  const todo = path.split("/").filter(Boolean);
  for (let links = 0; todo.length > 0; ) {
    const part = todo.shift() ?? "";
    if (part === "." || part === "") continue;
    if (part === "..") done.pop();
    else {
      const target = readLinkIfThere(`${rootfs}/${[...done, part].join("/")}`);
      if (target === undefined || ++links > linkLimit) done.push(part);
      else {
        if (target.startsWith("/")) done.length = 0;
        todo.unshift(...target.split("/").filter(Boolean));
      }
    }
  }
  return `/${done.join("/")}`;
}

function placeBelow(found: Fd, rootfs: string): string | undefined {
  using place = found;
  const link = readLink(`/proc/self/fd/${place.number}`);
  if (rootfs === "/") return link;
  return link.startsWith(`${rootfs}/`) ? link.slice(rootfs.length) : undefined;
}

/** proc(5), mountinfo: the mount that a path lies on; of several in one place the last counts. */
export function mountPointOf(path: string, mountinfo = readText("/proc/self/mountinfo")): string {
  let found = "/";
  for (const line of mountinfo.split("\n")) {
    const point = unescapeOctal(line.split(" ")[4] ?? "");
    const holds = point === path || path.startsWith(point === "/" ? point : `${point}/`);
    if (point !== "" && holds && point.length >= found.length) found = point;
  }
  return found;
}

/** The bundle's root file system, absolute and without symlinks. */
export function resolveRoot({ root }: RuntimeConfig, bundle: string): string {
  if (root === undefined) throw new LaunchError("root must be specified in config.json");
  const path = root.path.startsWith("/") ? root.path : `${bundle}/${root.path}`;
  try {
    return realPath(path);
  } catch (cause) {
    throw new LaunchError(`invalid rootfs: stat ${path}: no such file or directory`, 125, {
      cause,
    });
  }
}
