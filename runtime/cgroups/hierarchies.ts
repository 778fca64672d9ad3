/**
 * What cgroup hierarchies this machine has, and where this process lies in each.
 *
 * v2 only: one tree at /sys/fs/cgroup. v1 and hybrid: several trees, each with some controllers;
 * on a hybrid machine the v2 tree has no controllers to speak of and is left alone, as runc does.
 * Sources: cgroups(7), "/proc files"; proc(5), mountinfo.
 */
import { readText } from "../files.ts";

export interface Hierarchy {
  /** The directory's name below /sys/fs/cgroup: "memory", "cpu,cpuacct", "systemd". */
  readonly name: string;
  readonly controllers: readonly string[];
  readonly mountPoint: string;
  /** This process's cgroup, below the mount point: "" or "/a/b". */
  readonly own: string;
  /** What mount(2) wants to be told for it. */
  readonly mountOptions: string;
}

export type CgroupLayout =
  | { readonly version: 1; readonly hierarchies: readonly Hierarchy[] }
  | { readonly version: 2; readonly mountPoint: string; readonly own: string };

/** undefined where no cgroup file system is mounted. */
export function readCgroupLayout(process = "self"): CgroupLayout | undefined {
  return parseCgroupLayout(
    readText(`/proc/${process}/mountinfo`),
    readText(`/proc/${process}/cgroup`),
  );
}

export function parseCgroupLayout(mountinfo: string, cgroup: string): CgroupLayout | undefined {
  const own = parseOwnCgroups(cgroup);
  const hierarchies: Hierarchy[] = [];
  let unified: { readonly mountPoint: string; readonly own: string } | undefined;
  for (const mount of parseCgroupMounts(mountinfo)) {
    if (mount.type === "cgroup2") {
      unified ??= { mountPoint: mount.point, own: below(own.get("") ?? "/", mount.root) };
      continue;
    }
    const controllers = mount.options.filter((option) => own.has(option));
    const first = controllers[0];
    if (first === undefined || hierarchies.some(({ controllers: [one] }) => one === first))
      continue;
    hierarchies.push({
      name: mount.point.slice(mount.point.lastIndexOf("/") + 1),
      controllers,
      mountPoint: mount.point,
      own: below(own.get(first) ?? "/", mount.root),
      mountOptions: controllers.join(","),
    });
  }
  if (hierarchies.length > 0) return { version: 1, hierarchies };
  return unified === undefined ? undefined : { version: 2, ...unified };
}

/** Controller (or "name=…", or "" for v2) → path. */
function parseOwnCgroups(text: string): ReadonlyMap<string, string> {
  const own = new Map<string, string>();
  for (const line of text.split("\n")) {
    const first = line.indexOf(":");
    const second = line.indexOf(":", first + 1);
    if (second < 0) continue;
    const path = line.slice(second + 1);
    for (const name of line.slice(first + 1, second).split(",")) own.set(name, path);
  }
  return own;
}

interface CgroupMount {
  readonly type: "cgroup" | "cgroup2";
  readonly point: string;
  readonly root: string;
  readonly options: readonly string[];
}

function* parseCgroupMounts(mountinfo: string): Generator<CgroupMount> {
  for (const line of mountinfo.split("\n")) {
    const separator = line.indexOf(" - cgroup");
    if (separator < 0) continue;
    const [, , , root, point] = line.slice(0, separator).split(" ");
    const [type, , options = ""] = line.slice(separator + 3).split(" ");
    if (root === undefined || point === undefined) continue;
    if (type !== "cgroup" && type !== "cgroup2") continue;
    yield { type, root, point: unescapeOctal(point), options: options.split(",") };
  }
}

/** The path relative to what the mount shows; "" for its top. */
function below(path: string, root: string): string {
  if (root !== "/" && path.startsWith(root)) {
    const inner = path.slice(root.length);
    return inner.endsWith("/") ? inner.slice(0, -1) : inner;
  }
  return path === "/" || root !== "/" ? "" : path;
}

/** proc(5): space, tab, newline and backslash are written in octal. */
export function unescapeOctal(text: string): string {
  if (!text.includes("\\")) return text;
  return text.replace(/\\([0-7]{3})/g, (_, octal: string) =>
    String.fromCharCode(Number.parseInt(octal, 8)),
  );
}
