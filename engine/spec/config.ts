/**
 * The OCI configuration of a container, from image, options and facts about host and image. A pure
 * function: what `explain --format config` prints is exactly what runs.
 */
import type {
  Capabilities,
  ContainerConfig,
  Linux,
  Namespace,
  Process,
  Rlimit,
  RuntimeConfig,
  Seccomp,
} from "../../oci/index.ts";
import type { ContainerOptions } from "../options.ts";
import { chooseCapabilities } from "./capabilities.ts";
import { type HostDevice, makeDeviceNodes } from "./devices.ts";
import { makeArguments, makeEnvironment } from "./environment.ts";
import { makeMounts, type NetworkFiles } from "./mounts.ts";
import { maskedPaths, readonlyPaths } from "./paths.ts";
import { makeResources, type ResourceFacts } from "./resources.ts";
import { adaptRootless, type RootlessIds } from "./rootless.ts";
import type { Account } from "./users.ts";

const OCI_VERSION = "1.2.0";
const SOFT_OPEN_FILES = 1024; // select(2) and old programs that close every descriptor

/** What the plan needs to know and may not look up itself. */
export interface Facts extends ResourceFacts {
  readonly id: string;
  /** Where the runtime finds the root file system; relative to the bundle, or absolute. */
  readonly rootfs: string;
  readonly hostname: string;
  readonly account: Account;
  readonly files: NetworkFiles;
  /** Our own capabilities. */
  readonly held: readonly string[];
  /** Hard limit of open files that we may pass on. */
  readonly maxOpenFiles: number;
  /** docker's default profile for these capabilities; undefined where the kernel has no seccomp. */
  readonly seccomp: (capabilities: readonly string[]) => Seccomp | undefined;
  /** Devices that --privileged brings in, in addition to those asked for. */
  readonly devices: readonly HostDevice[];
  readonly cgroupsPath: string;
  /** Present when we are not root. */
  readonly rootless?: RootlessIds;
}

export function makeConfig(
  image: ContainerConfig,
  options: ContainerOptions,
  facts: Facts,
): RuntimeConfig {
  const capabilities = chooseCapabilities(options, facts.held);
  const { annotations, domainname } = options;
  const config: RuntimeConfig = {
    ociVersion: OCI_VERSION,
    process: makeProcess(image, options, facts, capabilities),
    root: { path: facts.rootfs, readonly: options.readOnly ?? false },
    ...(options.uts !== "host" && { hostname: facts.hostname }),
    ...(domainname !== undefined && { domainname }),
    mounts: makeMounts(options, facts.files),
    ...(annotations !== undefined && { annotations }),
    linux: makeLinux(options, facts, capabilities),
  };
  return facts.rootless === undefined
    ? config
    : adaptRootless(config, facts.rootless, options.devices);
}

function makeProcess(
  image: ContainerConfig,
  options: ContainerOptions,
  facts: Facts,
  names: readonly string[],
): Process {
  const { home, ...user } = facts.account;
  const { hostname } = facts;
  const { apparmor } = options.security ?? {};
  const confined = apparmor !== undefined && apparmor !== "unconfined" && !options.privileged;
  return {
    terminal: options.tty ?? false,
    user,
    args: makeArguments(image, options),
    env: makeEnvironment(image, options, { hostname, home }),
    cwd: options.workdir ?? (image.WorkingDir || "/"),
    capabilities: makeCapabilities(names, user.uid),
    rlimits: makeRlimits(options, facts.maxOpenFiles),
    noNewPrivileges: options.security?.noNewPrivileges ?? false,
    ...(options.oomScoreAdj !== undefined && { oomScoreAdj: options.oomScoreAdj }),
    ...(confined && { apparmorProfile: apparmor }),
  };
}

/** Without ambient or inheritable ones (CVE-2022-24769); a user other than root starts with none. */
function makeCapabilities(names: readonly string[], uid: number): Capabilities {
  const own = uid === 0 ? names : [];
  return { bounding: names, permitted: own, effective: own, inheritable: [], ambient: [] };
}

/** JavaScript engines raise our own soft limit of open files, so it is always set back. */
function makeRlimits({ ulimits = [] }: ContainerOptions, maxOpenFiles: number): Rlimit[] {
  const limits = new Map<string, Rlimit>();
  const soft = Math.min(SOFT_OPEN_FILES, maxOpenFiles);
  limits.set("nofile", { type: "RLIMIT_NOFILE", soft, hard: maxOpenFiles });
  for (const { name, soft: own, hard } of ulimits) {
    const type = `RLIMIT_${name.toUpperCase()}`;
    limits.set(name, { type, soft: toLimit(own), hard: toLimit(hard) });
  }
  return [...limits.values()];
}

function toLimit(value: number): number {
  return value === -1 ? 2 ** 64 : value; // RLIM_INFINITY as JSON numbers carry it
}

function makeLinux(
  options: ContainerOptions,
  facts: Facts,
  capabilities: readonly string[],
): Linux {
  const { privileged = false, security = {}, sysctls } = options;
  const open = privileged || security.systemPathsUnconfined === true;
  const unconfined = privileged || security.seccomp === "unconfined";
  const seccomp = unconfined ? undefined : facts.seccomp(capabilities);
  return {
    namespaces: makeNamespaces(options),
    resources: makeResources(options, facts),
    devices: makeDeviceNodes(facts.devices),
    cgroupsPath: facts.cgroupsPath,
    ...(sysctls !== undefined && { sysctl: sysctls }),
    ...(seccomp !== undefined && { seccomp }),
    ...(open ? {} : { maskedPaths, readonlyPaths }),
    ...(needsSharedRoot(options) && { rootfsPropagation: "rslave" }),
  };
}

function makeNamespaces(options: ContainerOptions): Namespace[] {
  const { network = "none", pid, ipc, uts, cgroupns } = options;
  return [
    { type: "mount" },
    ...(network === "host" ? [] : [{ type: "network" } as const]),
    ...(uts === "host" ? [] : [{ type: "uts" } as const]),
    ...(pid === "host" ? [] : [{ type: "pid" } as const]),
    ...(ipc === "host" ? [] : [{ type: "ipc" } as const]),
    ...(cgroupns === "host" ? [] : [{ type: "cgroup" } as const]),
  ];
}

/** Mounts that come from the host later are seen only when the root is not private. */
function needsSharedRoot({ mounts = [] }: ContainerOptions): boolean {
  return mounts.some(({ type, ...rest }) => {
    const propagation = "propagation" in rest ? rest.propagation : undefined;
    return type === "bind" && /shared|slave/.test(propagation ?? "");
  });
}
