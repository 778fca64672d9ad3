/** The OCI configuration of a container that runs in a machine: as on a host, with a guest's facts. */
import type { ContainerConfig, RuntimeConfig } from "../../oci/index.ts";
import { GUEST_ROOTFS } from "../../vmm-sandbox/index.ts";
import { ContainerError } from "../errors.ts";
import type { BindMount, ContainerOptions } from "../options.ts";
import { allCapabilities } from "../spec/capabilities.ts";
import { makeConfig } from "../spec/config.ts";
import { readSeccomp } from "../spec/facts.ts";
import type { Account } from "../spec/users.ts";

/** Files that the engine writes, at their places in the guest. */
export const guestFiles = {
  hosts: "/run/manyworlds/hosts",
  resolvConf: "/run/manyworlds/resolv.conf",
  hostname: "/run/manyworlds/hostname",
} as const;

/** fs.nr_open of a new kernel. */
const MAX_OPEN_FILES = 1_048_576;

export interface GuestSpec {
  readonly id: string;
  readonly hostname: string;
  readonly account: Account;
  readonly cpus: number;
  /** Where a bind mount's source lies in the guest. */
  readonly sourceOf: (mount: BindMount) => string;
}

export function makeGuestConfig(
  image: ContainerConfig,
  options: ContainerOptions,
  spec: GuestSpec,
): RuntimeConfig {
  const { id, hostname, account, cpus, sourceOf } = spec;
  const mounts = (options.mounts ?? []).map((mount) =>
    mount.type === "bind" ? withoutPropagation({ ...mount, source: sourceOf(mount) }) : mount,
  );
  const config = makeConfig(
    image,
    { ...options, mounts },
    {
      id,
      rootfs: GUEST_ROOTFS,
      hostname,
      account,
      files: guestFiles,
      held: allCapabilities,
      maxOpenFiles: MAX_OPEN_FILES,
      devices: [],
      cgroupsPath: "/container",
      cpuCount: cpus,
      swapLimit: false,
      seccomp: (capabilities) => {
        const path = options.security?.seccomp;
        return path === undefined ? undefined : readSeccomp(path, capabilities);
      },
    },
  );
  return options.network === "passt" ? inGuestNetwork(config) : config;
}

/** The guest's own network is the container's. */
function inGuestNetwork(config: RuntimeConfig): RuntimeConfig {
  const namespaces = config.linux?.namespaces?.filter(({ type }) => type !== "network") ?? [];
  return { ...config, linux: { ...config.linux, namespaces } };
}

/** Mounts of the host do not travel into a guest. */
function withoutPropagation({ propagation: _host, ...mount }: BindMount): BindMount {
  return mount;
}

/** What a container may ask of its host, and a machine has not. */
export function checkGuestOptions(options: ContainerOptions): void {
  const refuse = (flag: string, why: string, hint: string): never => {
    throw new ContainerError(`Cannot use ${flag} with a virtual machine: ${why}`, { hint });
  };
  const container = "leave it out, or use --isolation container";
  if ((options.devices ?? []).length > 0)
    refuse("--device", "the host's devices are not the guest's", container);
  for (const name of ["pid", "ipc", "uts", "cgroupns"] as const)
    if (options[name] === "host")
      refuse(`--${name} host`, "it shares no kernel with the host", container);
  if (options.network === "host")
    refuse("--network host", "it shares no kernel with the host", container);
  if (options.cpusetCpus !== undefined || options.cpusetMems !== undefined)
    refuse("--cpuset-cpus and --cpuset-mems", "its CPUs are virtual", "use --cpus, or taskset(1)");
  const apparmor = options.security?.apparmor;
  if (apparmor !== undefined && apparmor !== "unconfined")
    refuse("an AppArmor profile", "the guest's kernel has none", "leave it out");
}
