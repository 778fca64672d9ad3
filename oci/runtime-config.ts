/**
 * config.json of a bundle, as types: OCI runtime-spec 1.3.0, config.md, config-linux.md and
 * config-vm.md (1.2 is a subset). Solaris', Windows', z/OS' and FreeBSD's sections are left out.
 *
 * Numbers are what JSON.parse returns; 64-bit fields note where more than 2^53 is meaningful.
 */
import type { Annotations } from "./descriptor.ts";
import type { IdMapping, Linux } from "./runtime-config-linux.ts";

/** config.md, "Specification version" to "Annotations". */
export interface RuntimeConfig {
  readonly ociVersion: string;
  readonly process?: Process;
  readonly root?: Root;
  readonly hostname?: string;
  readonly domainname?: string;
  readonly mounts?: readonly Mount[];
  readonly hooks?: Hooks;
  readonly annotations?: Annotations;
  readonly linux?: Linux;
  readonly vm?: VirtualMachine;
}

/** config.md, "Root". */
export interface Root {
  /** Absolute, or relative to the bundle. */
  readonly path: string;
  readonly readonly?: boolean;
}

/** config.md, "Mounts". */
export interface Mount {
  /** Absolute inside the container; relative ones are taken from "/". */
  readonly destination: string;
  readonly type?: string;
  /** A device, a name, or a path relative to the bundle for bind mounts. */
  readonly source?: string;
  readonly options?: readonly string[];
  /** For idmapped mounts; both or neither. */
  readonly uidMappings?: readonly IdMapping[];
  readonly gidMappings?: readonly IdMapping[];
}

/** config.md, "Process" and "POSIX process". */
export interface Process {
  readonly terminal?: boolean;
  /** Characters; ignored without `terminal`. */
  readonly consoleSize?: ConsoleSize;
  /** Absolute path inside the container. */
  readonly cwd: string;
  readonly env?: readonly string[];
  /** Required for `start`; absent in a bundle that is only created. */
  readonly args?: readonly string[];
  readonly commandLine?: string;
  readonly user?: User;
  readonly rlimits?: readonly Rlimit[];
  readonly capabilities?: Capabilities;
  readonly apparmorProfile?: string;
  readonly selinuxLabel?: string;
  readonly noNewPrivileges?: boolean;
  /** Absent: unchanged, which differs from 0. */
  readonly oomScoreAdj?: number;
  readonly scheduler?: Scheduler;
  readonly ioPriority?: IoPriority;
  readonly execCPUAffinity?: ExecCpuAffinity;
}

export interface ConsoleSize {
  readonly height: number;
  readonly width: number;
}

/** config.md, "User". */
export interface User {
  readonly uid: number;
  readonly gid: number;
  readonly umask?: number;
  readonly additionalGids?: readonly number[];
  readonly username?: string;
}

/** Limits are uint64: RLIM_INFINITY (2^64 - 1) arrives as 18446744073709552000. */
export interface Rlimit {
  readonly type: string;
  readonly soft: number;
  readonly hard: number;
}

/** Names as in capabilities(7): "CAP_CHOWN". */
export interface Capabilities {
  readonly bounding?: readonly string[];
  readonly effective?: readonly string[];
  readonly inheritable?: readonly string[];
  readonly permitted?: readonly string[];
  readonly ambient?: readonly string[];
}

export type SchedulerPolicy =
  | "SCHED_OTHER"
  | "SCHED_FIFO"
  | "SCHED_RR"
  | "SCHED_BATCH"
  | "SCHED_ISO"
  | "SCHED_IDLE"
  | "SCHED_DEADLINE";

export type SchedulerFlag =
  | "SCHED_FLAG_RESET_ON_FORK"
  | "SCHED_FLAG_RECLAIM"
  | "SCHED_FLAG_DL_OVERRUN"
  | "SCHED_FLAG_KEEP_POLICY"
  | "SCHED_FLAG_KEEP_PARAMS"
  | "SCHED_FLAG_UTIL_CLAMP_MIN"
  | "SCHED_FLAG_UTIL_CLAMP_MAX";

/** sched_setattr(2); runtime, deadline and period are nanoseconds. */
export interface Scheduler {
  readonly policy: SchedulerPolicy;
  readonly nice?: number;
  readonly priority?: number;
  readonly flags?: readonly SchedulerFlag[];
  readonly runtime?: number;
  readonly deadline?: number;
  readonly period?: number;
}

/** ioprio_set(2). */
export interface IoPriority {
  readonly class: "IOPRIO_CLASS_RT" | "IOPRIO_CLASS_BE" | "IOPRIO_CLASS_IDLE";
  readonly priority: number;
}

/** CPU lists as in cpuset: "0-3,7". For `exec` only. */
export interface ExecCpuAffinity {
  readonly initial?: string;
  readonly final?: string;
}

/** config.md, "POSIX-platform hooks"; run in the order of the fields. */
export interface Hooks {
  /** Deprecated since 1.0.2, still called. */
  readonly prestart?: readonly Hook[];
  readonly createRuntime?: readonly Hook[];
  readonly createContainer?: readonly Hook[];
  readonly startContainer?: readonly Hook[];
  readonly poststart?: readonly Hook[];
  readonly poststop?: readonly Hook[];
}

export interface Hook {
  readonly path: string;
  /** Including argv[0], as in execv(3). */
  readonly args?: readonly string[];
  readonly env?: readonly string[];
  /** Seconds, greater than zero. */
  readonly timeout?: number;
}

/** config-vm.md. */
export interface VirtualMachine {
  readonly hypervisor?: { readonly path: string; readonly parameters?: readonly string[] };
  readonly kernel: {
    readonly path: string;
    readonly parameters?: readonly string[];
    readonly initrd?: string;
  };
  readonly image?: {
    readonly path: string;
    readonly format: "raw" | "qcow2" | "vdi" | "vmdk" | "vhd";
  };
  readonly hwConfig?: VirtualHardware;
}

/** config-vm.md, "HWConfig" (1.3). */
export interface VirtualHardware {
  readonly deviceTree?: string;
  readonly vcpus?: number;
  /** Bytes. */
  readonly memory?: number;
  readonly dtdevs?: readonly string[];
  readonly iomems?: readonly {
    readonly firstGFN?: number;
    readonly firstMFN?: number;
    readonly nrMFNs?: number;
  }[];
  readonly irqs?: readonly number[];
}

/** runtime.md, "State". */
export interface ContainerState {
  readonly ociVersion: string;
  readonly id: string;
  readonly status: "creating" | "created" | "running" | "stopped" | (string & {});
  readonly pid?: number;
  readonly bundle: string;
  readonly annotations?: Annotations;
}
