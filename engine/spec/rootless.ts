/**
 * What changes when we are not root: a user namespace in which we are. With ranges in /etc/subuid
 * and /etc/subgid the image's other users exist too; without, there is only root, which suffices
 * for most images and needs no set-up at all.
 */
import type { IdMapping, Mount, RuntimeConfig } from "../../oci/index.ts";
import { ContainerError } from "../errors.ts";
import type { DeviceOption } from "../options.ts";
import { hostFile } from "./host.ts";

export interface IdRange {
  readonly start: number;
  readonly count: number;
}

export interface RootlessIds {
  readonly uid: number;
  readonly gid: number;
  /** Further IDs that newuidmap and newgidmap let us use; both or neither. */
  readonly users?: IdRange;
  readonly groups?: IdRange;
}

/** Our own IDs, and our ranges when the helpers that map them are installed. */
export function readRootlessIds(hasHelpers: boolean, names: readonly string[]): RootlessIds {
  const own = { uid: process.geteuid?.() ?? 0, gid: process.getegid?.() ?? 0 };
  const users = hasHelpers ? findRange(hostFile("/etc/subuid"), names) : undefined;
  const groups = hasHelpers ? findRange(hostFile("/etc/subgid"), names) : undefined;
  return users === undefined || groups === undefined ? own : { ...own, users, groups };
}

/** subuid(5): "NAME-OR-ID:START:COUNT". */
export function findRange(text: string, names: readonly string[]): IdRange | undefined {
  for (const line of text.split("\n")) {
    const [name = "", start, count] = line.trim().split(":");
    const range = { start: Number(start), count: Number(count) };
    if (!names.includes(name) || !(range.start > 0) || !(range.count > 0)) continue;
    return range;
  }
  return undefined;
}

/** @param devices what --device named: nodes cannot be made, so the host's are mounted */
export function adaptRootless(
  config: RuntimeConfig,
  ids: RootlessIds,
  devices: readonly DeviceOption[] = [],
): RuntimeConfig {
  refuseLimits(config);
  const uidMappings = mapIds(ids.uid, ids.users);
  const gidMappings = mapIds(ids.gid, ids.groups);
  const user = config.process?.user;
  if (user !== undefined) {
    checkMapped("user", user.uid, uidMappings);
    checkMapped("group", user.gid, gidMappings);
  }
  const { resources: _none, cgroupsPath: _nowhere, namespaces = [], ...linux } = config.linux ?? {};
  const own = new Set(namespaces.map(({ type }) => type));
  const named = new Set(devices.map(({ target }) => target));
  const process = config.process && {
    ...config.process,
    ...(user && { user: withoutGroups(user) }),
  };
  return {
    ...config,
    ...(process !== undefined && { process }),
    mounts: [
      ...(config.mounts ?? []).flatMap((mount) => adaptMount(mount, own)),
      ...devices.map(({ source, target }) => hostMount(source, target, "bind")),
    ],
    linux: {
      ...linux,
      ...(linux.devices && { devices: linux.devices.filter(({ path }) => !named.has(path)) }),
      namespaces: [{ type: "user" }, ...namespaces.filter(({ type }) => type !== "cgroup")],
      uidMappings,
      gidMappings,
    },
  };
}

function mapIds(own: number, range: IdRange | undefined): readonly IdMapping[] {
  const self = { containerID: 0, hostID: own, size: 1 };
  return range === undefined
    ? [self]
    : [self, { containerID: 1, hostID: range.start, size: range.count }];
}

function checkMapped(what: string, id: number, mappings: readonly IdMapping[]): void {
  const known = mappings.some(
    ({ containerID, size }) => id >= containerID && id < containerID + size,
  );
  if (known) return;
  throw new ContainerError(`Cannot run as ${what} ${id}: without root, only root exists inside`, {
    hint: "leave --user out, or install uidmap and get a range in /etc/subuid (manyworlds doctor)",
  });
}

/** setgroups(2) is forbidden in such a namespace (user_namespaces(7)). */
function withoutGroups<T extends { readonly additionalGids?: readonly number[] }>(user: T) {
  const { additionalGids: _dropped, ...rest } = user;
  return rest;
}

/** Limits that were asked for are never silently left out. */
function refuseLimits({ linux }: RuntimeConfig): void {
  const { memory, cpu, pids } = linux?.resources ?? {};
  if (memory === undefined && cpu === undefined && pids === undefined) return;
  throw new ContainerError("Cannot limit memory, CPUs or processes without root", {
    hint: "run as root, or leave the limits out",
  });
}

function adaptMount(mount: Mount, own: ReadonlySet<string>): Mount[] {
  const { type, destination } = mount;
  if (type === "cgroup") return [];
  // only IDs that are mapped can own the terminals
  if (type === "devpts") {
    return [{ ...mount, options: (mount.options ?? []).filter((option) => option !== "gid=5") }];
  }
  const quiet = ["rbind", "nosuid", "noexec", "nodev"];
  // the kernel gives a new sysfs only to those who own the network namespace,
  if (type === "sysfs" && !own.has("network")) {
    return [hostMount("/sys", destination, ...quiet, "ro")];
  }
  // and a new proc to those who own the PID namespace
  if (type === "proc" && !own.has("pid")) return [hostMount("/proc", destination, ...quiet)];
  return [mount];
}

function hostMount(source: string, destination: string, ...options: string[]): Mount {
  return { destination, type: "bind", source, options };
}
