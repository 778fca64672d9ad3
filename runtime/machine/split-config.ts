/**
 * A container in a machine has two halves, each with a configuration of its own.
 *
 * ```
 * config.json ─┬─ host   our process that keeps the machine: cgroup, network namespace, hooks, terminal
 *              └─ guest  what runs in the machine: everything else
 * ```
 * So the host half is a container like any other for whoever starts, signals, freezes, measures or
 * removes it. Pure.
 */
import {
  type Linux,
  type LinuxDevice,
  type Mount,
  type Namespace,
  type NamespaceType,
  type Process,
  type Resources,
  type RuntimeConfig,
  SpecError,
} from "../../oci/index.ts";
import { capabilityNames } from "../capabilities.ts";
import { parseMountOptions } from "../launch/mount-options.ts";
import { isInPod } from "./wish.ts";

const MiB = 2 ** 20;
/** What the machine itself takes, beside what the container was granted: decision 135. */
export const MACHINE_MEMORY_BYTES = 512 * MiB;

export interface SplitConfig {
  readonly host: RuntimeConfig;
  readonly guest: RuntimeConfig;
}

/** What the host half executes. */
export interface KeeperCommand {
  readonly args: readonly string[];
  readonly env: readonly string[];
}

/** Throws SpecError for what no machine can do. */
export function splitConfig(config: RuntimeConfig, keeper: KeeperCommand): SplitConfig {
  checkGuest(config);
  return { host: hostHalf(config, keeper), guest: guestHalf(config) };
}

function hostHalf(config: RuntimeConfig, keeper: KeeperCommand): RuntimeConfig {
  const { process, linux = {}, ociVersion, annotations, hooks, root } = config;
  const { resources, cgroupsPath, intelRdt, memoryPolicy, netDevices } = linux;
  const every = [...capabilityNames];
  return {
    ociVersion,
    ...(root !== undefined && { root }),
    ...(annotations !== undefined && { annotations }),
    ...(hooks !== undefined && { hooks }),
    ...(process !== undefined && {
      process: {
        ...keeper,
        cwd: "/",
        terminal: process.terminal === true,
        ...(process.consoleSize !== undefined && { consoleSize: process.consoleSize }),
        ...(process.oomScoreAdj !== undefined && { oomScoreAdj: process.oomScoreAdj }),
        user: { uid: 0, gid: 0 },
        capabilities: { bounding: every, permitted: every, effective: every },
      },
    }),
    linux: {
      namespaces: (linux.namespaces ?? []).filter(({ type }) => type === "network"),
      ...(cgroupsPath !== undefined && { cgroupsPath }),
      ...(resources !== undefined && { resources: hostResources(resources) }),
      ...(intelRdt !== undefined && { intelRdt }),
      ...(memoryPolicy !== undefined && { memoryPolicy }),
      ...(netDevices !== undefined && { netDevices }),
    },
  };
}

/**
 * The cgroup holds the machine, not the container's processes: memory has the machine's on top, the
 * number of processes is counted inside, and what devices there are is the guest's affair.
 */
export function hostResources(resources: Resources): Resources {
  const { devices: _devices, pids: _pids, memory, ...others } = resources;
  if (memory === undefined) return others;
  const more = (bytes: number | undefined): number | undefined =>
    bytes === undefined || bytes <= 0 ? bytes : bytes + MACHINE_MEMORY_BYTES;
  const [limit, swap] = [more(memory.limit), more(memory.swap)];
  const { reservation, swappiness, disableOOMKiller, useHierarchy, checkBeforeUpdate } = memory;
  return {
    ...others,
    memory: {
      ...(limit !== undefined && { limit }),
      ...(swap !== undefined && { swap }),
      ...(reservation !== undefined && { reservation }),
      ...(swappiness !== undefined && { swappiness }),
      ...(disableOOMKiller !== undefined && { disableOOMKiller }),
      ...(useHierarchy !== undefined && { useHierarchy }),
      ...(checkBeforeUpdate !== undefined && { checkBeforeUpdate }),
    },
  };
}

const inGuest: readonly NamespaceType[] = ["mount", "pid", "ipc", "uts", "cgroup"];

function guestHalf(config: RuntimeConfig): RuntimeConfig {
  const { hooks: _hooks, process, linux = {}, mounts = [], hostname, ...others } = config;
  const { memory, pids } = linux.resources ?? {};
  const name = hostname || podHostname(config);
  return {
    ...others,
    ...(name !== undefined && { hostname: name }),
    mounts,
    ...(process !== undefined && { process: guestProcess(process) }),
    linux: {
      ...guestSettings(linux),
      namespaces: inGuest.map((type) => ({ type })),
      resources: {
        ...(memory !== undefined && { memory }),
        ...(pids !== undefined && { pids }),
      },
    },
  };
}

/** Labels of the host's security module mean nothing to another kernel. */
export function guestProcess(process: Process): Process {
  const { apparmorProfile: _a, selinuxLabel: _s, ...rest } = process;
  return rest;
}

function guestSettings(linux: Linux): Linux {
  const devices = linux.devices?.filter(isOwnDevice);
  const { sysctl, seccomp, rootfsPropagation, maskedPaths, readonlyPaths, personality } = linux;
  return {
    ...(devices !== undefined && { devices }),
    ...(sysctl !== undefined && { sysctl }),
    ...(seccomp !== undefined && { seccomp }),
    ...(rootfsPropagation !== undefined && { rootfsPropagation }),
    ...(maskedPaths !== undefined && { maskedPaths }),
    ...(readonlyPaths !== undefined && { readonlyPaths }),
    ...(personality !== undefined && { personality }),
  };
}

/** A container of a pod has its sandbox's name, which the engine also puts into its environment. */
function podHostname({ annotations, process }: RuntimeConfig): string | undefined {
  if (!isInPod(annotations)) return undefined;
  return process?.env?.find((text) => text.startsWith("HOSTNAME="))?.slice("HOSTNAME=".length);
}

export function isBind({ type, options }: Mount): boolean {
  return type === "bind" || options?.includes("bind") || options?.includes("rbind") || false;
}

function checkGuest(config: RuntimeConfig): void {
  checkNamespaces(config);
  const { linux = {}, hooks, mounts = [] } = config;
  const foreign = (linux.devices ?? []).find((device) => !isOwnDevice(device));
  if (foreign !== undefined && !seesEveryDevice(linux))
    throw refusal(
      "linux.devices",
      `has "${foreign.path}", and the host's devices are not the guest's`,
    );
  if ((hooks?.startContainer?.length ?? 0) > 0)
    throw refusal("hooks.startContainer", "would run in the guest, which has not the host's files");
  if (linux.seccomp?.listenerPath)
    throw refusal("linux.seccomp.listenerPath", "names an agent that cannot see the guest");
  mounts.forEach((mount, index) => {
    const { runtime } = parseMountOptions(mount.options);
    if (mount.uidMappings !== undefined || runtime.has("idmap") || runtime.has("ridmap"))
      throw refusal(`mounts[${index}]`, "maps IDs, which directories shared with a guest do not");
  });
}

/** What every Linux has: null, zero, full, random, urandom, kmsg, tty, fuse, net/tun. */
// biome-ignore format: table
const ownDevices = new Set([
  "c 1:3", "c 1:5", "c 1:7", "c 1:8", "c 1:9", "c 1:11", "c 5:0", "c 10:229", "c 10:200",
]);

function isOwnDevice({ type, major, minor }: LinuxDevice): boolean {
  return ownDevices.has(`${type} ${major}:${minor}`);
}

/** A privileged container gets every device there is; which ones, its engine has only listed. */
function seesEveryDevice({ resources }: Linux): boolean {
  return (resources?.devices ?? []).some(
    ({ allow, type, major, minor, access = "" }) =>
      allow && (type ?? "a") === "a" && (major ?? -1) < 0 && (minor ?? -1) < 0 && access === "rwm",
  );
}

function checkNamespaces({ linux = {}, annotations }: RuntimeConfig): void {
  const namespaces = new Map<string, Namespace>(
    (linux.namespaces ?? []).map((namespace) => [namespace.type, namespace]),
  );
  for (const type of ["user", "time"] as const)
    if (namespaces.has(type))
      throw refusal("linux.namespaces", `has a ${type} namespace, which machines have not yet`);
  for (const type of ["pid", "ipc", "uts", "network", "mount"] as const)
    if (!namespaces.has(type))
      throw refusal(
        "linux.namespaces",
        `has no ${type} namespace: a machine shares none with the host`,
      );
  for (const type of ["pid", "ipc", "uts", "mount"] as const) {
    const isShared = Boolean(namespaces.get(type)?.path);
    const isPods = (type === "ipc" || type === "uts") && isInPod(annotations);
    if (isShared && !isPods)
      throw refusal(
        "linux.namespaces",
        `joins another container's ${type} namespace: machines share no kernel`,
      );
  }
}

function refusal(path: string, problem: string): SpecError {
  return new SpecError({ document: "config.json for a virtual machine", path, problem });
}
