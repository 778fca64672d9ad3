/**
 * What a caller may ask of a container. The command line and the library both end here; strings in
 * docker's grammar ("/a:/b:ro") are taken apart before (cli/values).
 */

/** When to ask the registry for the image. */
export type PullPolicy = "always" | "missing" | "never";

export interface BindMount {
  readonly type: "bind";
  /** Absolute path on the host. */
  readonly source: string;
  readonly target: string;
  readonly readOnly?: boolean;
  /** Default "rprivate", as docker. */
  readonly propagation?: Propagation;
  /** Leave out what is mounted below the source. */
  readonly nonRecursive?: boolean;
  /** Make a missing source directory, as docker's -v does and its --mount does not. */
  readonly createSource?: boolean;
}

export interface TmpfsMount {
  readonly type: "tmpfs";
  readonly target: string;
  readonly readOnly?: boolean;
  readonly sizeBytes?: number;
  /** Permission bits of the root directory. */
  readonly mode?: number;
  /** mount(8) options such as "exec", "uid=1000"; added to docker's nosuid, nodev, noexec. */
  readonly options?: readonly string[];
}

export type MountOption = BindMount | TmpfsMount;
export type Propagation = "private" | "rprivate" | "shared" | "rshared" | "slave" | "rslave";

export interface UlimitOption {
  readonly name: string;
  readonly soft: number;
  readonly hard: number;
}

export interface DeviceOption {
  readonly source: string;
  readonly target: string;
  /** Any of "r", "w", "m". */
  readonly access: string;
}

export interface SecurityOption {
  /** "unconfined", a profile's path, or docker's default profile when absent. */
  readonly seccomp?: string;
  readonly noNewPrivileges?: boolean;
  readonly apparmor?: string;
  /** SELinux label parts, or "disable". */
  readonly label?: string;
  /** No masked and no read-only paths: docker's systempaths=unconfined. */
  readonly systemPathsUnconfined?: boolean;
}

/** How a container is made; everything absent means docker's default. */
export interface ContainerOptions {
  readonly command?: readonly string[];
  /** Replaces the image's; an empty list takes it away. */
  readonly entrypoint?: readonly string[];
  readonly hostname?: string;
  readonly domainname?: string;
  /** "NAME=value", or "NAME=" for empty; later ones win. */
  readonly env?: readonly string[];
  /** "user[:group]", names or numbers. */
  readonly user?: string;
  readonly groups?: readonly string[];
  readonly workdir?: string;
  readonly tty?: boolean;
  readonly interactive?: boolean;
  readonly init?: boolean;
  readonly readOnly?: boolean;
  readonly mounts?: readonly MountOption[];
  readonly shmSizeBytes?: number;
  /** "passt": out through the user's own sockets, for machines. */
  readonly network?: "none" | "host" | "passt";
  readonly pid?: "private" | "host";
  readonly ipc?: "private" | "host";
  readonly uts?: "private" | "host";
  readonly cgroupns?: "private" | "host";
  readonly extraHosts?: readonly { readonly host: string; readonly address: string }[];
  readonly dns?: readonly string[];
  readonly dnsSearch?: readonly string[];
  readonly dnsOptions?: readonly string[];
  readonly privileged?: boolean;
  readonly capAdd?: readonly string[];
  readonly capDrop?: readonly string[];
  readonly security?: SecurityOption;
  readonly devices?: readonly DeviceOption[];
  readonly memoryBytes?: number;
  readonly memoryReservationBytes?: number;
  /** Memory and swap together; -1 is unlimited swap. */
  readonly memorySwapBytes?: number;
  readonly cpus?: number;
  readonly cpuShares?: number;
  readonly cpusetCpus?: string;
  readonly cpusetMems?: string;
  readonly pidsLimit?: number;
  readonly oomScoreAdj?: number;
  readonly ulimits?: readonly UlimitOption[];
  readonly sysctls?: Readonly<Record<string, string>>;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly stopSignal?: string;
}
