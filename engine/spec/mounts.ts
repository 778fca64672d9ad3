/** What is mounted in a container: docker's file systems, the three network files, the options'. */
import type { Mount } from "../../oci/index.ts";
import type { BindMount, ContainerOptions, MountOption, TmpfsMount } from "../options.ts";

const SHM_SIZE_BYTES = 64 * 1024 * 1024;

/** Host paths of the files that take the place of the image's. */
export interface NetworkFiles {
  readonly hosts: string;
  readonly resolvConf: string;
  readonly hostname: string;
}

export function makeMounts(options: ContainerOptions, files: NetworkFiles): readonly Mount[] {
  const own = options.mounts ?? [];
  const targets = new Set(own.map(({ target }) => target));
  // what the caller mounts takes the place of ours
  const base = [...systemMounts(options), ...networkMounts(files, options)].filter(
    ({ destination }) => !targets.has(destination),
  );
  // parents before children, whatever the order they were given in
  const sorted = [...own].sort((a, b) => depth(a.target) - depth(b.target));
  return [...base, ...sorted.map(toMount)];
}

function depth(path: string): number {
  return path.split("/").filter((part) => part !== "").length;
}

function systemMounts(options: ContainerOptions): Mount[] {
  const { privileged = false, shmSizeBytes = SHM_SIZE_BYTES } = options;
  const access = privileged ? "rw" : "ro";
  const quiet = ["nosuid", "noexec", "nodev"];
  const sharedIpc = options.ipc === "host";
  return [
    { destination: "/proc", type: "proc", source: "proc", options: quiet },
    {
      destination: "/dev",
      type: "tmpfs",
      source: "tmpfs",
      options: ["nosuid", "strictatime", "mode=755", "size=65536k"],
    },
    {
      destination: "/dev/pts",
      type: "devpts",
      source: "devpts",
      options: ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
    },
    { destination: "/sys", type: "sysfs", source: "sysfs", options: [...quiet, access] },
    {
      destination: "/sys/fs/cgroup",
      type: "cgroup",
      source: "cgroup",
      options: [...quiet, access],
    },
    sharedIpc
      ? bind("/dev/mqueue", "/dev/mqueue", "rbind", ...quiet)
      : { destination: "/dev/mqueue", type: "mqueue", source: "mqueue", options: quiet },
    sharedIpc
      ? bind("/dev/shm", "/dev/shm", "rbind", ...quiet)
      : {
          destination: "/dev/shm",
          type: "tmpfs",
          source: "shm",
          options: [...quiet, "mode=1777", `size=${shmSizeBytes}`],
        },
  ];
}

function networkMounts(files: NetworkFiles, { readOnly = false }: ContainerOptions): Mount[] {
  const options = ["bind", ...(readOnly ? ["ro"] : [])];
  return [
    bind(files.resolvConf, "/etc/resolv.conf", ...options),
    bind(files.hostname, "/etc/hostname", ...options),
    bind(files.hosts, "/etc/hosts", ...options),
  ];
}

function bind(source: string, destination: string, ...options: string[]): Mount {
  return { destination, type: "bind", source, options };
}

function toMount(option: MountOption): Mount {
  return option.type === "bind" ? toBind(option) : toTmpfs(option);
}

function toBind({ source, target, readOnly, propagation, nonRecursive }: BindMount): Mount {
  const flags = [nonRecursive ? "bind" : "rbind", propagation ?? "rprivate"];
  return bind(source, target, ...flags, ...(readOnly ? ["ro"] : []));
}

function toTmpfs({ target, readOnly, sizeBytes, mode, options = [] }: TmpfsMount): Mount {
  const without = new Set(options.map((option) => `no${option}`));
  const all = [
    ...["noexec", "nosuid", "nodev"].filter((option) => !without.has(option)),
    ...options,
    ...(readOnly ? ["ro"] : []),
    ...(sizeBytes === undefined ? [] : [`size=${sizeBytes}`]),
    ...(mode === undefined ? [] : [`mode=${mode.toString(8)}`]),
  ];
  return { destination: target, type: "tmpfs", source: "tmpfs", options: [...new Set(all)] };
}
