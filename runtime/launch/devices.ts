/**
 * Device nodes and symlinks of /dev.
 * Source: runtime-spec 1.3 config-linux.md, "Default Devices" and "Devices"; runtime-linux.md,
 * "Dev symbolic links".
 */
import {
  type Argument,
  AT_FDCWD,
  AT_SYMLINK_NOFOLLOW,
  makeDevice,
  S_IFBLK,
  S_IFCHR,
  S_IFIFO,
  S_IFMT,
} from "../../linux/index.ts";
import type { LinuxDevice } from "../../oci/index.ts";
import type { Destinations } from "./destinations.ts";
import { attach, cloneFlags } from "./mounts.ts";
import type { RowList } from "./row-list.ts";

// biome-ignore format: table
export const defaultDevices: readonly LinuxDevice[] = [
  { type: "c", path: "/dev/null",    major: 1, minor: 3, fileMode: 0o666 },
  { type: "c", path: "/dev/random",  major: 1, minor: 8, fileMode: 0o666 },
  { type: "c", path: "/dev/full",    major: 1, minor: 7, fileMode: 0o666 },
  { type: "c", path: "/dev/tty",     major: 5, minor: 0, fileMode: 0o666 },
  { type: "c", path: "/dev/zero",    major: 1, minor: 5, fileMode: 0o666 },
  { type: "c", path: "/dev/urandom", major: 1, minor: 9, fileMode: 0o666 },
];

// biome-ignore format: table
const links: readonly (readonly [name: string, target: string])[] = [
  ["fd", "/proc/self/fd"], ["stdin", "/proc/self/fd/0"], ["stdout", "/proc/self/fd/1"],
  ["stderr", "/proc/self/fd/2"],
];

// biome-ignore format: table
const typeBits: Readonly<Record<LinuxDevice["type"], number>> = {
  c: S_IFCHR, u: S_IFCHR, b: S_IFBLK, p: S_IFIFO,
};

const defaultMode = 0o666;
/** struct stat of the kernel. */
const statSize = 144;
const statModeOffset = 24;
const statDeviceOffset = 40;

/**
 * Makes the nodes. Where mknod(2) is not for us (a user namespace), the host's node is mounted.
 * The mode is final because the program runs with an empty umask.
 */
export function planDevices(
  rows: RowList,
  destinations: Destinations,
  devices: readonly LinuxDevice[],
  how: "mknod" | "bind",
): void {
  const own = new Set(devices.map(({ path }) => path));
  const all = [...defaultDevices.filter(({ path }) => !own.has(path)), ...devices];
  for (const device of all)
    if (how === "mknod") {
      const parent = device.path.slice(0, device.path.lastIndexOf("/"));
      const isDev = parent === "/dev";
      makeNode(rows, isDev ? destinations.opened(parent) : destinations.directory(parent), device);
    } else bindNode(rows, destinations, device);
}

function makeNode(rows: RowList, parent: Argument, device: LinuxDevice): void {
  const { path, type, major = 0, minor = 0, fileMode = defaultMode, uid = 0, gid = 0 } = device;
  const name = path.slice(path.lastIndexOf("/") + 1);
  rows.call("mknodat", [parent, name, typeBits[type] | fileMode, makeDevice(major, minor)], {
    ignore: ["EEXIST"],
    note: `make the device "${path}"`,
  });
  if (!isDefault(device)) checkNode(rows, parent, name, device);
  if (uid !== 0 || gid !== 0)
    rows.call("fchownat", [parent, name, uid, gid, 0x100], { note: `give "${path}" its owner` });
}

function isDefault(device: LinuxDevice): boolean {
  return defaultDevices.some(({ path }) => path === device.path);
}

/** config-linux.md, "Devices": something else that is already there is an error. */
function checkNode(rows: RowList, parent: Argument, name: string, device: LinuxDevice): void {
  const same = rows.freshLabel("made");
  rows.gotoIfDone(same);
  const stat = rows.buffer("node_stat", statSize);
  rows.call("newfstatat", [parent, name, stat, AT_SYMLINK_NOFOLLOW]);
  const other = rows.freshLabel("other");
  const { type, major = 0, minor = 0, path } = device;
  rows.add({
    compute: [{ load: stat.buffer, offset: statModeOffset, width: 4 }, "&", S_IFMT],
    as: rows.freshLabel("node_type"),
  });
  rows.add({ jump: other, if: [{ last: true }, "!=", typeBits[type]] });
  if (type === "p") rows.goto(same);
  const number = { load: stat.buffer, offset: statDeviceOffset, width: 8 } as const;
  rows.add({ jump: same, if: [number, "==", makeDevice(major, minor)] });
  rows.label(other);
  rows.call("mknodat", [parent, name, typeBits[type], makeDevice(major, minor)], {
    note: `"${path}" is there and is not the device`,
  });
  rows.label(same);
}

function bindNode(rows: RowList, destinations: Destinations, { path }: LinuxDevice): void {
  const note = `mount the host's "${path}"`;
  const tree = rows.result("open_tree", [AT_FDCWD, path, cloneFlags(false)], { note });
  attach(rows, tree, destinations.file(path), note);
}

/** Symlinks of /dev, and /dev/ptmx, which must lead to the container's own devpts. */
export function planDeviceLinks(
  rows: RowList,
  destinations: Destinations,
  hasKcore: boolean,
): void {
  const dev = destinations.opened("/dev");
  for (const [name, target] of hasKcore ? [...links, ["core", "/proc/kcore"] as const] : links)
    rows.call("symlinkat", [target, dev, name], { ignore: ["EEXIST"] });
  if (!destinations.isNewTmpfs("/dev"))
    rows.call("unlinkat", [dev, "ptmx", 0], { ignore: ["ENOENT", "EBUSY"] });
  rows.call("symlinkat", ["pts/ptmx", dev, "ptmx"], { ignore: ["EEXIST"] });
}
