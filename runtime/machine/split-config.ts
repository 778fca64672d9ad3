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
import type { Linux, NamespaceType, Process, Resources, RuntimeConfig } from "../../oci/index.ts";
import { capabilityNames } from "../capabilities.ts";
import { checkGuest, isGuestDevice } from "./check-guest.ts";
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
  const { devices: _devices, pids: _pids, memory, unified, ...rest } = resources;
  const others = { ...rest, ...(unified !== undefined && { unified: pick(unified, false) }) };
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

/** Those of cgroup v2's files that say what the container's processes may have. */
function pick(unified: NonNullable<Resources["unified"]>, inGuest: boolean) {
  const isGuests = (file: string) => /^(memory|pids|cgroup)\./.test(file);
  return Object.fromEntries(Object.entries(unified).filter(([file]) => isGuests(file) === inGuest));
}

function guestResources({ memory, pids, devices, unified }: Resources): Resources {
  return {
    ...(memory !== undefined && { memory }),
    ...(pids !== undefined && { pids }),
    ...(devices !== undefined && { devices }),
    ...(unified !== undefined && { unified: pick(unified, true) }),
  };
}

const inGuest: readonly NamespaceType[] = ["mount", "pid", "ipc", "uts", "cgroup"];

function guestHalf(config: RuntimeConfig): RuntimeConfig {
  const { hooks: _hooks, process, linux = {}, mounts = [], hostname, ...others } = config;
  const hasTime = linux.namespaces?.some(({ type }) => type === "time") === true;
  const name = hostname || podHostname(config);
  return {
    ...others,
    ...(name !== undefined && { hostname: name }),
    mounts,
    ...(process !== undefined && { process: guestProcess(process) }),
    linux: {
      ...guestSettings(linux),
      namespaces: [...inGuest, ...(hasTime ? (["time"] as const) : [])].map((type) => ({ type })),
      resources: guestResources(linux.resources ?? {}),
    },
  };
}

/** Labels of the host's security module mean nothing to another kernel. */
export function guestProcess(process: Process): Process {
  const { apparmorProfile: _a, selinuxLabel: _s, ...rest } = process;
  return rest;
}

function guestSettings(linux: Linux): Linux {
  const devices = linux.devices?.filter(isGuestDevice);
  const { sysctl, seccomp, rootfsPropagation, maskedPaths, readonlyPaths, personality } = linux;
  const { timeOffsets } = linux;
  return {
    ...(devices !== undefined && { devices }),
    ...(sysctl !== undefined && { sysctl }),
    ...(seccomp !== undefined && { seccomp }),
    ...(rootfsPropagation !== undefined && { rootfsPropagation }),
    ...(maskedPaths !== undefined && { maskedPaths }),
    ...(readonlyPaths !== undefined && { readonlyPaths }),
    ...(personality !== undefined && { personality }),
    ...(timeOffsets !== undefined && { timeOffsets }),
  };
}

/** A container of a pod has its sandbox's name, which the engine also puts into its environment. */
function podHostname({ annotations, process }: RuntimeConfig): string | undefined {
  if (!isInPod(annotations)) return undefined;
  return process?.env?.find((text) => text.startsWith("HOSTNAME="))?.slice("HOSTNAME=".length);
}
