/**
 * Rows that make the mounts of config.json (runtime-spec 1.3 config.md, "Mounts").
 *
 * A destination is opened once, inside the root, and mounted on through its descriptor: new file
 * systems with fchdir and mount("."), binds with open_tree and move_mount. No path inside the
 * container is ever resolved twice, so nothing can be swapped in between (CVE-2021-30465).
 */
import {
  type Argument,
  AT_EMPTY_PATH,
  AT_FDCWD,
  AT_RECURSIVE,
  MOUNT_ATTR_IDMAP,
  MOVE_MOUNT_F_EMPTY_PATH,
  MOVE_MOUNT_T_EMPTY_PATH,
  MS_BIND,
  MS_NODEV,
  MS_NOEXEC,
  MS_NOSUID,
  MS_RDONLY,
  MS_REC,
  MS_REMOUNT,
  mount_attr,
  O_DIRECTORY,
  O_PATH,
  OPEN_TREE_CLOEXEC,
  OPEN_TREE_CLONE,
} from "../../linux/index.ts";
import { type Mount, SpecError } from "../../oci/index.ts";
import type { Destinations, RootFacts } from "./destinations.ts";
import { type MountAttributes, type ParsedOptions, parseMountOptions } from "./mount-options.ts";
import type { RowList } from "./row-list.ts";

/** What must be known of the host to plan a mount. */
export interface MountFacts extends RootFacts {
  /** Whether the source of a bind mount is a directory. */
  isDirectory(source: string): boolean;
  /** Whether the source of a bind mount is the kernel's /proc. */
  isProcfs(source: string): boolean;
  /** What was prepared for mounts that need more than rows. */
  readonly prepared?: ReadonlyMap<Mount, PreparedMount>;
  /** How cgroups look to this container; undefined without cgroups. */
  readonly cgroups: CgroupMounts | undefined;
}

/** Descriptors made by the runtime. */
export interface PreparedMount {
  /** The user namespace whose maps an idmapped mount takes. */
  readonly userNamespace?: number;
  /** The maps hold for the mounts below as well. */
  readonly deep?: boolean;
  /** A mount that only has to be put in its place. */
  readonly tree?: number;
}

export type CgroupMounts =
  | { readonly version: 2; readonly bindSource?: string }
  | {
      readonly version: 1;
      /** Name of the directory in /sys/fs/cgroup, its mount options, and what to bind instead. */
      readonly hierarchies: readonly {
        readonly name: string;
        readonly options: string;
        readonly bindSource: string;
      }[];
      /** Other names of hierarchies that hold several controllers. */
      readonly links: readonly { readonly name: string; readonly target: string }[];
      /** The container has a cgroup namespace, so mounting shows just its own part. */
      readonly namespaced: boolean;
    };

const statModeOffset = 24;
const statSize = 144;

export function planMounts(
  rows: RowList,
  root: Argument,
  destinations: Destinations,
  mounts: readonly Mount[],
  facts: MountFacts,
): void {
  for (const mount of mounts) {
    planMount(rows, root, destinations, mount, facts);
    destinations.mounted(mount.destination, isBind(mount) ? "bind" : (mount.type ?? "none"));
  }
}

/** Made read-only at the very end: until then things are created in them. */
export function isSealedLater(mount: Mount): boolean {
  const { flags } = parseMountOptions(mount.options);
  const { destination, type } = mount;
  return (flags & MS_RDONLY) !== 0 && (destination === "/dev" || type === "tmpfs");
}

export function isBind(mount: Mount): boolean {
  return mount.type === "bind" || (parseMountOptions(mount.options).flags & MS_BIND) !== 0;
}

function planMount(
  rows: RowList,
  root: Argument,
  destinations: Destinations,
  mount: Mount,
  facts: MountFacts,
): void {
  const options = parseMountOptions(mount.options);
  const isCgroup = mount.type === "cgroup" || mount.type === "cgroup2";
  if (isCgroup && facts.cgroups === undefined && !isBind(mount)) return; // the kernel has none
  checkProc(destinations.placeOf(mount.destination), mount, facts);
  const prepared = facts.prepared?.get(mount);
  if (prepared?.tree !== undefined) planPrepared(rows, destinations, mount, options, prepared.tree);
  else if (isBind(mount)) planBind(rows, destinations, mount, options, facts);
  else if (isCgroup) planCgroupMount(rows, root, destinations, mount, options, facts);
  else planFileSystem(rows, root, destinations, mount, options);
  for (const propagation of options.propagations) {
    const there = rows.openInRoot(root, mount.destination, O_PATH);
    setAttributes(
      rows,
      there,
      { set: 0, clear: 0 },
      (propagation & MS_REC) !== 0,
      propagation & ~MS_REC,
    );
  }
}

/** Files of /proc that lxcfs and others show instead of the kernel's; as runc. */
// biome-ignore format: table
const replaceable = new Set([
  "cpuinfo", "diskstats", "meminfo", "stat", "swaps", "uptime", "loadavg", "slabinfo",
  "sys/kernel/ns_last_pid", "sys/crypto/fips_enabled", "net/dev",
]);

/**
 * Security labels are written through /proc, so it must be the kernel's (CVE-2019-16884): only
 * procfs may be mounted there, and below it only some files.
 */
function checkProc(place: string, mount: Mount, facts: MountFacts): void {
  if (place !== "/proc" && !place.startsWith("/proc/")) return;
  if (replaceable.has(place.slice("/proc/".length))) return;
  const isProc = isBind(mount) ? facts.isProcfs(mount.source ?? "") : mount.type === "proc";
  if (place === "/proc" && isProc) return;
  throw new SpecError({
    document: "config.json",
    path: "mounts",
    problem: `has "${mount.destination}", which cannot be mounted because it is inside /proc`,
  });
}

function planFileSystem(
  rows: RowList,
  root: Argument,
  destinations: Destinations,
  mount: Mount,
  { flags, data, recursive }: ParsedOptions,
): void {
  const { destination, type = "none", source = type } = mount;
  // A symlink here would put the kernel's files where the image wants them (CVE-2019-19921).
  const isKernels = type === "proc" || type === "sysfs";
  const target = isKernels
    ? destinations.plainDirectory(destination)
    : destinations.directory(destination);
  rows.call("fchdir", [target]);
  const keepsMode = type === "tmpfs" && !namesMode(data);
  if (keepsMode)
    rows.call("newfstatat", [target, "", rows.buffer("stat", statSize), AT_EMPTY_PATH]);
  const now = isSealedLater(mount) ? flags & ~MS_RDONLY : flags;
  rows.call("mount", [source, ".", type, now, data === "" ? 0 : data], {
    note: `mount ${type} on "${destination}"`,
  });
  if (keepsMode) keepMode(rows, root, destination);
  if (recursive.set !== 0 || recursive.clear !== 0) {
    const there = rows.openInRoot(root, destination, O_PATH);
    setAttributes(rows, there, recursive, true);
  }
}

/** No regular expression: compiling the first one of a process takes a millisecond. */
function namesMode(data: string): boolean {
  return data.startsWith("mode=") || data.includes(",mode=");
}

/** A tmpfs takes on the mode of the directory below it unless it is told one, as with runc. */
function keepMode(rows: RowList, root: Argument, destination: string): void {
  rows.call("fchdir", [rows.openInRoot(root, destination, O_PATH | O_DIRECTORY)]);
  rows.call("chmod", [".", { load: "stat", offset: statModeOffset, width: 4 }]);
}

function planPrepared(
  rows: RowList,
  destinations: Destinations,
  { destination }: Mount,
  { attributes }: ParsedOptions,
  tree: number,
): void {
  setAttributes(rows, tree, attributes, false);
  attach(rows, tree, destinations.directory(destination), `mount on "${destination}"`);
}

function planBind(
  rows: RowList,
  destinations: Destinations,
  mount: Mount,
  options: ParsedOptions,
  facts: MountFacts,
): void {
  const { destination, source = "" } = mount;
  const deep = (options.flags & MS_REC) !== 0;
  const tree = rows.result("open_tree", [AT_FDCWD, source, cloneFlags(deep)], {
    note: `take "${source}" to mount it on "${destination}"`,
  });
  setAttributes(rows, tree, options.attributes, false);
  setAttributes(rows, tree, options.recursive, true);
  const prepared = facts.prepared?.get(mount);
  if (prepared?.userNamespace !== undefined) planIdMap(rows, tree, prepared);
  const target = facts.isDirectory(source)
    ? destinations.directory(destination)
    : destinations.file(destination);
  attach(rows, tree, target, `mount "${source}" on "${destination}"`);
}

/** Only a mount that lies nowhere yet can be given maps. */
function planIdMap(
  rows: RowList,
  tree: Argument,
  { userNamespace = -1, deep }: PreparedMount,
): void {
  const attributes = mount_attr.encode({ attr_set: MOUNT_ATTR_IDMAP, userns_fd: userNamespace });
  const flags = AT_EMPTY_PATH | (deep === true ? AT_RECURSIVE : 0);
  rows.call("mount_setattr", [tree, "", flags, attributes, mount_attr.sizeBytes], {
    note: "map the IDs of the mount",
  });
}

export function cloneFlags(deep: boolean): number {
  return OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (deep ? AT_RECURSIVE : 0);
}

export function attach(rows: RowList, tree: Argument, target: Argument, note: string): void {
  const flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH;
  rows.call("move_mount", [tree, "", target, "", flags], { note });
}

/** Changes attributes of the mount (or the tree of mounts) that the descriptor shows. */
export function setAttributes(
  rows: RowList,
  mount: Argument,
  { set, clear }: MountAttributes,
  deep: boolean,
  propagation = 0,
): void {
  if (set === 0 && clear === 0 && propagation === 0) return;
  const attributes = mount_attr.encode({ attr_set: set, attr_clr: clear, propagation });
  const flags = AT_EMPTY_PATH | (deep ? AT_RECURSIVE : 0);
  rows.call("mount_setattr", [mount, "", flags, attributes, mount_attr.sizeBytes]);
}

function planCgroupMount(
  rows: RowList,
  root: Argument,
  destinations: Destinations,
  mount: Mount,
  options: ParsedOptions,
  { cgroups }: MountFacts,
): void {
  if (cgroups === undefined) return;
  const { destination } = mount;
  const flags = options.flags;
  if (cgroups.version === 2) {
    const target = destinations.directory(destination);
    if (cgroups.bindSource !== undefined) {
      const tree = rows.result("open_tree", [AT_FDCWD, cgroups.bindSource, cloneFlags(false)]);
      setAttributes(rows, tree, options.attributes, false);
      attach(rows, tree, target, `mount the container's cgroup on "${destination}"`);
      return;
    }
    rows.call("fchdir", [target]);
    rows.call("mount", ["cgroup", ".", "cgroup2", flags, options.data === "" ? 0 : options.data], {
      note: `mount cgroup2 on "${destination}"`,
    });
    return;
  }
  rows.call("fchdir", [destinations.directory(destination)]);
  planCgroupHierarchies(rows, root, destination, flags, cgroups);
}

/** cgroup v1: a tmpfs with a directory for each hierarchy, as on a host. */
function planCgroupHierarchies(
  rows: RowList,
  root: Argument,
  destination: string,
  flags: number,
  cgroups: Extract<CgroupMounts, { version: 1 }>,
): void {
  const plain = MS_NOEXEC | MS_NOSUID | MS_NODEV;
  rows.call("mount", ["tmpfs", ".", "tmpfs", plain, "mode=755"], {
    note: `mount a tmpfs on "${destination}" for the cgroup hierarchies`,
  });
  const top = rows.openInRoot(root, destination, O_PATH | O_DIRECTORY);
  for (const { name, options, bindSource } of cgroups.hierarchies) {
    rows.call("fchdir", [top]);
    rows.call("mkdirat", [top, name, 0o755]);
    if (cgroups.namespaced) {
      rows.call("chdir", [name]);
      rows.call("mount", ["cgroup", ".", "cgroup", flags & ~MS_RDONLY, options], {
        note: `mount the cgroup hierarchy ${name}`,
      });
      if ((flags & MS_RDONLY) !== 0) {
        // The superblock is the host's as well: only this mount of it may become read-only.
        rows.call("fchdir", [top]);
        rows.call("mount", [0, name, 0, MS_REMOUNT | MS_BIND | flags, 0]);
      }
      continue;
    }
    rows.call("mount", [bindSource, name, 0, MS_BIND, 0], { note: `bind the cgroup of ${name}` });
    rows.call("mount", [0, name, 0, MS_REMOUNT | MS_BIND | flags, 0]);
  }
  for (const { name, target } of cgroups.links)
    rows.call("symlinkat", [target, top, name], { ignore: ["EEXIST"] });
  if ((flags & MS_RDONLY) === 0) return;
  rows.call("fchdir", [top]);
  rows.call("mount", [0, ".", 0, MS_REMOUNT | MS_BIND | MS_RDONLY | plain, 0]);
}
