/** What a comparison finds out: plain data, fit for JSON. Samples are kept; summaries are derived. */
import type { CpuReport } from "../vmm-sandbox/index.ts";
import type { MachineFacts } from "./machine.ts";
import type { WorkloadName } from "./probe.ts";

export type RungKind = "bare" | "ours" | "peer";

export interface Comparison {
  readonly version: string;
  readonly date: string;
  readonly machine: MachineFacts;
  readonly image: string;
  /** What was run beside the probe; empty when nothing was asked for. */
  readonly command: readonly string[];
  readonly quick: boolean;
  /** Someone or something ended it early: what had been measured is here. */
  readonly interrupted: boolean;
  readonly tookMs: number;
  /** In the order of the ladder: no isolation first, peers last. */
  readonly rungs: readonly RungResult[];
  /** What the software CPU counted while a guest booted and the probe worked in it. */
  readonly guest?: CpuReport;
}

export interface RungResult {
  readonly name: string;
  readonly kind: RungKind;
  readonly description: string;
  /** Why it was not measured, or not to the end. */
  readonly missing?: Missing;
  /** How it was run, where it is not as everybody would. */
  readonly notes: readonly string[];
  readonly start: StartSamples;
  readonly work: Readonly<Partial<Record<WorkloadName, readonly number[]>>>;
  /** Errno of each workload that could not run. */
  readonly workFailed: Readonly<Partial<Record<WorkloadName, string>>>;
  /** The way to this machine that its round trips and streams took. */
  readonly network?: { readonly way: string; readonly missing?: Missing };
  readonly memory?: MemoryUse;
  readonly density?: Density;
  readonly boundary?: Boundary;
  readonly phases?: readonly Phase[];
}

export interface Missing {
  readonly reason: string;
  readonly cure?: string;
}

/** Milliseconds; the same index is the same sample. */
export interface StartSamples {
  /** From before fork to the first instruction of the process inside. */
  readonly firstInstruction: readonly number[];
  /** How that was seen: by the clock that both share, or by the first output that arrived. */
  readonly seenBy: "clock" | "output";
  /** Until the command was waited for. */
  readonly whole: readonly number[];
  /** Processor time of the command and of what it waited for. */
  readonly cpu: readonly number[];
  /** The user's command, as a whole. */
  readonly command: readonly number[];
}

export interface MemoryUse {
  /** Proportional set size of every process that the world consists of, while its process waits. */
  readonly pssKiB: number;
  /** Of that, what no other process shares. */
  readonly privateKiB: number;
  readonly processes: readonly { readonly name: string; readonly pssKiB: number }[];
}

export interface Density {
  /** Worlds that ran at the same time. */
  readonly together: number;
  /** PSS that each one more adds. */
  readonly eachKiB: number;
  readonly memoryBytes: number;
  /** How many fit in `memoryBytes`: extrapolated, never tried. */
  readonly fits: number;
}

/** What stands between the process and the host. */
export interface Boundary {
  /** Whether the process inside is one of this machine's processes, as was seen from outside. */
  readonly kernel: "shared" | "own";
  /** What uname(2) says inside. */
  readonly kernelRelease?: string;
  /** Effective capabilities of the process inside, in its user namespace. */
  readonly capabilities: readonly string[];
  /** The user that the host sees. */
  readonly hostUser: number | undefined;
  readonly noNewPrivileges: boolean;
  readonly seccomp: "none" | "strict" | "filter";
  /** System calls that reach the host's kernel, of those that this architecture has. */
  readonly reachableSyscalls: number | undefined;
  readonly knownSyscalls: number;
  readonly namespaces: readonly string[];
}

export interface Phase {
  readonly name: string;
  readonly ms: number;
}
