/** The bundle that rows start from: busybox as root file system, and a plain configuration. */
import { copyFileSync, linkSync, mkdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Linux, Mount, Process, RuntimeConfig } from "../../oci/index.ts";

type Mutable<T> = T extends readonly (infer U)[]
  ? Mutable<U>[]
  : T extends object
    ? { -readonly [K in keyof T]: Mutable<T[K]> }
    : T;

/** A config.json that rows edit; the sections that every bundle has are always there. */
export interface BundleConfig extends Mutable<Omit<RuntimeConfig, "linux" | "process" | "mounts">> {
  process: Mutable<Process> & { args: string[]; env: string[]; capabilities: CapabilitySets };
  mounts: Mutable<Mount>[];
  linux: Omit<Mutable<Linux>, "namespaces"> & { namespaces: { type: string; path?: string }[] };
  root: { path: string; readonly?: boolean };
}

interface CapabilitySets {
  bounding?: string[];
  effective?: string[];
  inheritable?: string[];
  permitted?: string[];
  ambient?: string[];
}

const applets =
  "[ ash awk basename cat chmod chown chrt cp cut date dd df echo env expr false find grep head " +
  "hostname id ifconfig ionice ip kill linux32 ln ls lsof mkdir mkfifo mknod mount mountpoint mv " +
  "nice nproc nsenter od pgrep ping printf ps pwd readlink realpath renice rm rmdir sed seq sh " +
  "sleep sort stat stty su sync sysctl tail taskset tee test time timeout top touch tr true " +
  "truncate tty umount uname unshare wc which whoami xargs yes";

const standardFolders =
  "bin dev etc home mnt opt proc root run sbin sys tmp usr usr/bin usr/sbin var var/tmp";

/** Copies busybox once, so that each row's root file system is links only. */
export function makeTemplate(directory: string): void {
  mkdirSync(directory, { recursive: true });
  copyFileSync("/bin/busybox", join(directory, "busybox"));
}

export function makeRootfs(template: string, rootfs: string): void {
  mkdirSync(rootfs);
  for (const folder of standardFolders.split(" ")) mkdirSync(join(rootfs, folder));
  linkSync(join(template, "busybox"), join(rootfs, "bin/busybox"));
  for (const name of applets.split(" ")) symlinkSync("busybox", join(rootfs, "bin", name));
  writeFileSync(join(rootfs, "etc/passwd"), "root:x:0:0:root:/root:/bin/sh\n");
  writeFileSync(join(rootfs, "etc/group"), "root:x:0:\n");
}

/** Undoes makeRootfs(); never follows what a container may have put there. */
export function removeTree(directory: string): void {
  rmSync(directory, { recursive: true, force: true });
}

/** What docker gives a container that asks for nothing. */
export const defaultCapabilities: readonly string[] = [
  "CAP_AUDIT_WRITE",
  "CAP_CHOWN",
  "CAP_DAC_OVERRIDE",
  "CAP_FOWNER",
  "CAP_FSETID",
  "CAP_KILL",
  "CAP_MKNOD",
  "CAP_NET_BIND_SERVICE",
  "CAP_NET_RAW",
  "CAP_SETFCAP",
  "CAP_SETGID",
  "CAP_SETPCAP",
  "CAP_SETUID",
  "CAP_SYS_CHROOT",
];

export function defaultConfig(cgroupsPath: string): BundleConfig {
  return {
    ociVersion: "1.0.2",
    process: {
      user: { uid: 0, gid: 0 },
      args: ["/bin/true"],
      env: ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
      cwd: "/",
      capabilities: {
        bounding: [...defaultCapabilities],
        effective: [...defaultCapabilities],
        permitted: [...defaultCapabilities],
      },
      noNewPrivileges: true,
    },
    root: { path: "rootfs" },
    hostname: "conformance",
    mounts: defaultMounts(),
    linux: {
      cgroupsPath,
      namespaces: ["pid", "network", "ipc", "uts", "mount"].map((type) => ({ type })),
      resources: { devices: [{ allow: false, access: "rwm" }] },
    },
  };
}

/** config-linux.md, "Default Filesystems", with the options that runc's own template has. */
// biome-ignore format: table
function defaultMounts(): Mutable<Mount>[] {
  return [
    { destination: "/proc",       type: "proc",   source: "proc" },
    { destination: "/dev",        type: "tmpfs",  source: "tmpfs",  options: ["nosuid", "strictatime", "mode=755", "size=65536k"] },
    { destination: "/dev/pts",    type: "devpts", source: "devpts", options: ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"] },
    { destination: "/dev/shm",    type: "tmpfs",  source: "shm",    options: ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"] },
    { destination: "/dev/mqueue", type: "mqueue", source: "mqueue", options: ["nosuid", "noexec", "nodev"] },
    { destination: "/sys",        type: "sysfs",  source: "sysfs",  options: ["nosuid", "noexec", "nodev", "ro"] },
  ];
}
