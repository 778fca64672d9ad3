/** Facts about the host that a container's plan needs, each read when it is asked for. */
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { availableParallelism, hostname } from "node:os";
import { join } from "node:path";
import {
  call,
  cap_user_data,
  cap_user_header,
  LINUX_CAPABILITY_VERSION_3,
  RLIMIT_NOFILE,
  rlimit64,
} from "../../linux/index.ts";
import { ContainerError } from "../errors.ts";
import type { ContainerOptions, DeviceOption } from "../options.ts";
import { namesOfMask } from "./capabilities.ts";
import type { HostDevice } from "./devices.ts";

/** Our effective capabilities: capget(2), faster than reading /proc. */
export function heldCapabilities(): readonly string[] {
  const header = cap_user_header.encode({ version: LINUX_CAPABILITY_VERSION_3, pid: 0 });
  const data = new Uint8Array(2 * cap_user_data.sizeBytes);
  call("capget", header, data);
  const low = cap_user_data.decode(data).effective;
  const high = cap_user_data.decode(data, cap_user_data.sizeBytes).effective;
  return namesOfMask((BigInt(high) << 32n) | BigInt(low));
}

/** Hard limit of open files. */
export function maxOpenFiles(): number {
  const limit = new Uint8Array(rlimit64.sizeBytes);
  call("prlimit64", 0, RLIMIT_NOFILE, 0, limit);
  return Number(rlimit64.decode(limit).rlim_max);
}

export function cpuCount(): number {
  return availableParallelism();
}

/** Whether memory and swap can be limited together. */
export function hasSwapLimit(): boolean {
  return (
    existsSync("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes") ||
    (existsSync("/sys/fs/cgroup/cgroup.controllers") && existsSync("/proc/swaps"))
  );
}

export function hostName(): string {
  return hostname();
}

export function kernelRelease(): string {
  return readFileSync("/proc/sys/kernel/osrelease", "utf8").trim();
}

/** A small file of the host, or "" when there is none. */
export function hostFile(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

const MAX_DEVICES = 4096;
/** Made by the container's own mounts. */
const ownDevices = /^\/dev\/(pts|shm|fd|mqueue|console|ptmx|core|std(in|out|err))(\/|$)/;

/** Devices of --device, and with --privileged all of the host's. */
export function readDevices(
  options: Pick<ContainerOptions, "devices" | "privileged">,
): readonly HostDevice[] {
  const asked = (options.devices ?? []).flatMap(readAsked);
  if (!options.privileged) return asked;
  const targets = new Set(asked.map(({ target }) => target));
  // One by one, so that nothing is read below /dev/shm, where anybody may put anything.
  const all = childrenOf({ source: "/dev", target: "/dev", access: "rwm" })
    .filter(({ target }) => !ownDevices.test(target))
    .flatMap(walkDevices);
  return [...asked, ...all.filter(({ target }) => !targets.has(target))];
}

function readAsked(option: DeviceOption): readonly HostDevice[] {
  const { source } = option;
  const found = walkDevices(option);
  if (found.length > 0) return found;
  const problem = existsSync(source) ? "it is no device" : "the host has no such file";
  throw new ContainerError(`Cannot add the device "${source}": ${problem}`, {
    hint: "expected a device file of the host, or a directory of them",
  });
}

/** The device itself, or all below a directory. */
function walkDevices({ source, target, access }: DeviceOption): HostDevice[] {
  const found: HostDevice[] = [];
  const queue: DeviceOption[] = [{ source, target, access }];
  for (
    let next = queue.pop();
    next !== undefined && found.length < MAX_DEVICES;
    next = queue.pop()
  ) {
    const stat = statSync(next.source, { throwIfNoEntry: false });
    if (stat === undefined) continue;
    if (stat.isDirectory()) queue.push(...childrenOf(next));
    else if (stat.isCharacterDevice() || stat.isBlockDevice()) {
      const { mode, uid, gid, rdev } = stat;
      const type = stat.isBlockDevice() ? "b" : "c";
      found.push({ type, ...splitDevice(rdev), mode, uid, gid, target: next.target, access });
    }
  }
  return found;
}

function childrenOf({ source, target, access }: DeviceOption): DeviceOption[] {
  return readdirSync(source, { withFileTypes: true })
    .filter((entry) => !entry.isSymbolicLink())
    .map(({ name }) => ({ source: join(source, name), target: join(target, name), access }));
}

/** makedev(3): 12 bits of major, 20 of minor, interleaved. */
function splitDevice(rdev: number): { major: number; minor: number } {
  const device = BigInt(rdev);
  const major = ((device >> 8n) & 0xfffn) | ((device >> 32n) & ~0xfffn);
  const minor = (device & 0xffn) | ((device >> 12n) & ~0xffn & 0xffffffffn);
  return { major: Number(major), minor: Number(minor) };
}
