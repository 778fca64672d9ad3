/** Checks of file systems and control groups. */
import { mkdirSync, readdirSync, statfsSync } from "node:fs";
import { CLONE_NEWNS, CLONE_NEWUSER } from "../../linux/index.ts";
import { formatBytes } from "./bytes.ts";
import { type Finding, partly, unusable, usable } from "./finding.ts";
import { readText } from "./kernel-checks.ts";
import { tryInChild } from "./probe.ts";

const OVERLAYFS_MAGIC = 0x794c7630; // linux/magic.h
const NFS_MAGIC = 0x6969;
const FUSE_MAGIC = 0x65735546;

export function checkOverlay(stateRoot: string): Finding {
  const name = "overlayfs";
  // FSCONFIG: fsopen answers ENODEV when the file system does not exist and cannot be loaded
  const asRoot = tryInChild(CLONE_NEWNS, [["fsopen", "overlay", 0]]);
  const refused = asRoot && tryInChild(CLONE_NEWNS | CLONE_NEWUSER, [["fsopen", "overlay", 0]]);
  if (refused?.errno === "ENODEV") {
    return unusable(name, "the kernel has no overlay module", "modprobe overlay");
  }
  if (refused !== undefined) {
    const cause = `${refused.call}() failed with ${refused.errno}`;
    return unusable(name, cause, "run as root, or with Linux 5.11 or later in a user namespace");
  }
  const type = fileSystemType(stateRoot);
  if (type === OVERLAYFS_MAGIC || type === NFS_MAGIC || type === FUSE_MAGIC) {
    return unusable(
      name,
      `${stateRoot} lies on a file system that cannot hold an overlay's upper directory`,
      "put it elsewhere: manyworlds --root DIR, on ext4, xfs, btrfs or tmpfs",
    );
  }
  return usable(name, asRoot === undefined ? "as root" : "in a user namespace");
}

function fileSystemType(path: string): number | undefined {
  try {
    return statfsSync(nearest(path)).type;
  } catch {
    return undefined;
  }
}

/** The directory itself, or the closest one above it that exists. */
function nearest(path: string): string {
  for (let at = path; at !== "/"; at = at.slice(0, Math.max(1, at.lastIndexOf("/")))) {
    try {
      statfsSync(at);
      return at;
    } catch {
      // not there yet: ask its parent
    }
  }
  return "/";
}

const LOW_SPACE_BYTES = 1024 ** 3;

export function checkStateRoot(stateRoot: string): Finding {
  const name = "state root";
  try {
    mkdirSync(stateRoot, { recursive: true, mode: 0o711 });
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const cause = `cannot make ${stateRoot} (${code})`;
    return unusable(name, cause, "choose another with --root DIR or MANYWORLDS_ROOT");
  }
  const { bavail, bsize } = statfsSync(stateRoot);
  const free = bavail * bsize;
  const detail = `${stateRoot}, ${formatBytes(free)} free`;
  if (free > LOW_SPACE_BYTES) return usable(name, detail);
  return partly(name, detail, "less than 1 GiB is free", "manyworlds prune --all, or --root DIR");
}

export function checkCgroups(): Finding {
  const name = "cgroups";
  const mounts = readText("/proc/self/mountinfo")
    .split("\n")
    .flatMap((line) => {
      const [left = "", right = ""] = line.split(" - ");
      const path = left.split(" ")[4] ?? "";
      return right.startsWith("cgroup")
        ? [{ path, version: right.startsWith("cgroup2 ") ? 2 : 1 }]
        : [];
    });
  const unified = mounts.find(({ version }) => version === 2);
  const legacy = mounts
    .filter(({ version }) => version === 1)
    .map(({ path }) => path.split("/").pop());
  const v2 = unified === undefined ? [] : readText(`${unified.path}/cgroup.controllers`).split(" ");
  const controllers = new Set([...v2, ...legacy.flatMap((each) => each?.split(",") ?? [])]);
  const kind = legacy.length === 0 ? "v2" : unified === undefined ? "v1" : "v1 and v2 (hybrid)";
  if (mounts.length === 0) {
    const cure = "mount -t cgroup2 none /sys/fs/cgroup";
    return unusable(name, "no cgroup file system is mounted", cure);
  }
  const missing = ["memory", "cpu", "pids"].filter((each) => !controllers.has(each));
  const detail = `${kind}; ${[...controllers]
    .filter((each) => each !== "")
    .sort()
    .join(" ")}`;
  if (missing.length > 0) {
    const cause = `no ${missing.join(" and no ")} controller`;
    return partly(
      name,
      detail,
      cause,
      "boot with cgroup_enable=memory, or enable them in cgroup.subtree_control",
    );
  }
  return usable(name, detail);
}

export function checkNetworkNamespaceDevices(): Finding {
  const count = readdirSync("/sys/class/net").length;
  return partly(
    "network",
    `none and host; the host has ${count} interfaces`,
    "bridge networks and published ports are not built yet",
    "use --network host where the program needs the network, or --network passt in a machine",
  );
}
