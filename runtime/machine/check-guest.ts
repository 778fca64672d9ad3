/**
 * What a container may ask for and no machine can give: refused by name, before anything is made. All
 * fields of config.json and what becomes of them: docs/machine-config.md. Pure.
 */
import {
  type Linux,
  type LinuxDevice,
  type Mount,
  type Namespace,
  type Process,
  type RuntimeConfig,
  SpecError,
} from "../../oci/index.ts";
import { parseMountOptions } from "../launch/mount-options.ts";
import { isInPod } from "./wish.ts";

/** Throws SpecError. */
export function checkGuest(config: RuntimeConfig): void {
  checkNamespaces(config);
  checkDevices(config.linux ?? {});
  checkHooks(config);
  checkResources(config.linux?.resources ?? {});
  checkMachine(config);
  if (config.linux?.seccomp?.listenerPath)
    throw refusal("linux.seccomp.listenerPath", "names an agent that cannot see the guest");
  (config.mounts ?? []).forEach(checkMount);
  if (config.process !== undefined) checkGuestProcess(config.process);
}

/** Of the first process, and of one that `exec` asks for. */
export function checkGuestProcess({ execCPUAffinity: affinity }: Process): void {
  if (affinity?.initial || affinity?.final)
    throw refusal("process.execCPUAffinity", "names CPUs of the host, and the guest has its own");
}

function checkDevices(linux: Linux): void {
  const foreign = (linux.devices ?? []).find((device) => !isGuestDevice(device));
  if (foreign === undefined || seesEveryDevice(linux)) return;
  const problem = `has "${foreign.path}", and the host's devices are not the guest's`;
  throw refusal("linux.devices", problem);
}

/** What every Linux has: null, zero, full, random, urandom, kmsg, tty, fuse, net/tun. */
// biome-ignore format: table
const guestDevices = new Set([
  "c 1:3", "c 1:5", "c 1:7", "c 1:8", "c 1:9", "c 1:11", "c 5:0", "c 10:229", "c 10:200",
]);

/** A pipe is nobody's. */
export function isGuestDevice({ type, major, minor }: LinuxDevice): boolean {
  return type === "p" || guestDevices.has(`${type === "u" ? "c" : type} ${major}:${minor}`);
}

/** A privileged container gets every device there is; which ones, its engine has only listed. */
function seesEveryDevice({ resources }: Linux): boolean {
  return (resources?.devices ?? []).some(
    ({ allow, type, major, minor, access = "" }) =>
      allow && (type ?? "a") === "a" && (major ?? -1) < 0 && (minor ?? -1) < 0 && access === "rwm",
  );
}

function checkHooks({ hooks }: RuntimeConfig): void {
  if ((hooks?.startContainer?.length ?? 0) > 0)
    throw refusal("hooks.startContainer", "would run in the guest, which has not the host's files");
}

function checkResources({ memory, network }: NonNullable<Linux["resources"]>): void {
  if (memory?.disableOOMKiller === true)
    throw refusal("linux.resources.memory.disableOOMKiller", "is not to be had in the guest");
  if ((memory?.kernelTCP ?? 0) > 0)
    throw refusal("linux.resources.memory.kernelTCP", "limits sockets of the host's kernel");
  if (network?.classID || (network?.priorities?.length ?? 0) > 0)
    throw refusal(
      "linux.resources.network",
      "marks packets of the host's sockets, not the guest's",
    );
}

/** config-vm.md: of this machine, what its owner may choose. */
function checkMachine({ vm }: RuntimeConfig): void {
  if (vm === undefined) return;
  const { hypervisor, kernel, image, hwConfig = {} } = vm;
  const { vcpus: _v, memory: _m, ...others } = hwConfig;
  const [hardware] = Object.keys(others);
  if (hypervisor !== undefined) throw refusal("vm.hypervisor", "names another one than manyworlds");
  if (image !== undefined) throw refusal("vm.image", "is for a machine without a root.path");
  if (kernel?.initrd !== undefined) throw refusal("vm.kernel.initrd", "would replace our agent");
  if ((kernel?.parameters?.length ?? 0) > 0)
    throw refusal("vm.kernel.parameters", "are ours to choose");
  if (hardware !== undefined)
    throw refusal(`vm.hwConfig.${hardware}`, "is hardware that these machines have not");
}

export function isBind({ type, options }: Mount): boolean {
  return type === "bind" || options?.includes("bind") || options?.includes("rbind") || false;
}

/** File systems that a kernel has in itself: every other needs a device, a directory or a server. */
// biome-ignore format: table
const kernelFileSystems = new Set([
  "proc", "sysfs", "tmpfs", "ramfs", "devpts", "devtmpfs", "mqueue", "cgroup", "cgroup2",
  "hugetlbfs", "securityfs", "debugfs", "tracefs", "configfs", "bpf", "fusectl", "pstore",
  "binfmt_misc",
]);

function checkMount(mount: Mount, index: number): void {
  const { runtime } = parseMountOptions(mount.options);
  if (mount.uidMappings !== undefined || runtime.has("idmap") || runtime.has("ridmap"))
    throw refusal(`mounts[${index}]`, "maps IDs, which directories shared with a guest do not");
  if (isBind(mount)) {
    const travels = mount.options?.find((option) => /^r?(shared|slave)$/.test(option));
    if (travels === undefined) return;
    const problem = `have "${travels}": mounts do not travel between the host and the guest`;
    throw refusal(`mounts[${index}].options`, problem);
  }
  if (mount.type !== undefined && !kernelFileSystems.has(mount.type) && !isRemount(mount))
    throw refusal(
      `mounts[${index}].type`,
      `is "${mount.type}", whose source is the host's: bind a directory where the host has mounted it`,
    );
}

function isRemount({ options }: Mount): boolean {
  return options?.includes("remount") === true;
}

function checkNamespaces({ linux = {}, annotations }: RuntimeConfig): void {
  const namespaces = new Map<string, Namespace>(
    (linux.namespaces ?? []).map((namespace) => [namespace.type, namespace]),
  );
  if (namespaces.has("user"))
    throw refusal("linux.namespaces", "has a user namespace, which machines have not yet");
  for (const type of ["pid", "ipc", "uts", "network", "mount"] as const)
    if (!namespaces.has(type))
      throw refusal(
        "linux.namespaces",
        `has no ${type} namespace: a machine shares none with the host`,
      );
  for (const type of ["pid", "ipc", "uts", "mount", "time"] as const) {
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
