/** `spec`: writes a config.json to start from. */
import type { Mount, RuntimeConfig } from "../../oci/index.ts";
import { exists, writeText } from "../files.ts";
import { ociVersion } from "../state.ts";
import { parseOptions } from "./command-line.ts";
import type { VerbContext } from "./context.ts";

export function spec(args: readonly string[], _context: VerbContext): number {
  const options = parseOptions(args, { bundle: "text", rootless: "boolean" }, { b: "bundle" });
  const path = `${options.text("bundle") ?? "."}/config.json`;
  if (exists(path)) throw new Error("File config.json exists. Remove it first");
  const config = options.flag("rootless") ? rootless(exampleConfig()) : exampleConfig();
  writeText(path, `${JSON.stringify(config, undefined, "\t")}\n`, 0o666);
  return 0;
}

const capabilities = ["CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE"];

// biome-ignore format: table
const mounts: readonly Mount[] = [
  { destination: "/proc", type: "proc", source: "proc" },
  { destination: "/dev", type: "tmpfs", source: "tmpfs",
    options: ["nosuid", "strictatime", "mode=755", "size=65536k"] },
  { destination: "/dev/pts", type: "devpts", source: "devpts",
    options: ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"] },
  { destination: "/dev/shm", type: "tmpfs", source: "shm",
    options: ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"] },
  { destination: "/dev/mqueue", type: "mqueue", source: "mqueue",
    options: ["nosuid", "noexec", "nodev"] },
  { destination: "/sys", type: "sysfs", source: "sysfs",
    options: ["nosuid", "noexec", "nodev", "ro"] },
  { destination: "/sys/fs/cgroup", type: "cgroup", source: "cgroup",
    options: ["nosuid", "noexec", "nodev", "relatime", "ro"] },
];

// biome-ignore format: table
export const maskedPaths: readonly string[] = [
  "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats",
  "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi",
];

// biome-ignore format: table
export const readonlyPaths: readonly string[] = [
  "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger",
];

export function exampleConfig(): RuntimeConfig {
  return {
    ociVersion,
    process: {
      terminal: true,
      user: { uid: 0, gid: 0 },
      args: ["sh"],
      env: ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
      cwd: "/",
      capabilities: { bounding: capabilities, effective: capabilities, permitted: capabilities },
      rlimits: [{ type: "RLIMIT_NOFILE", hard: 1024, soft: 1024 }],
      noNewPrivileges: true,
    },
    root: { path: "rootfs", readonly: true },
    hostname: "manyworlds",
    mounts,
    linux: {
      resources: { devices: [{ allow: false, access: "rwm" }] },
      namespaces: [
        { type: "pid" },
        { type: "network" },
        { type: "ipc" },
        { type: "uts" },
        { type: "mount" },
        { type: "cgroup" },
      ],
      maskedPaths,
      readonlyPaths,
    },
  };
}

/** For an ordinary user: their own ID becomes root, and what they may not do is left out. */
function rootless(config: RuntimeConfig): RuntimeConfig {
  const { resources: _, namespaces = [], ...linux } = config.linux ?? {};
  const host = { uid: process.geteuid?.() ?? 0, gid: process.getegid?.() ?? 0 };
  return {
    ...config,
    mounts: (config.mounts ?? [])
      .map((mount) => ({
        ...mount,
        ...(mount.options === undefined
          ? {}
          : { options: mount.options.filter((option) => !/^[ug]id=/.test(option)) }),
      }))
      .map((mount) =>
        mount.type === "sysfs"
          ? {
              ...mount,
              type: "none",
              source: "/sys",
              options: ["rbind", "nosuid", "noexec", "nodev", "ro"],
            }
          : mount,
      ),
    linux: {
      ...linux,
      namespaces: [...namespaces.filter(({ type }) => type !== "network"), { type: "user" }],
      uidMappings: [{ containerID: 0, hostID: host.uid, size: 1 }],
      gidMappings: [{ containerID: 0, hostID: host.gid, size: 1 }],
    },
  };
}
