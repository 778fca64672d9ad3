/** What making a container takes, and what it gives. */
import type { Fd } from "../linux/index.ts";
import type { RuntimeConfig } from "../oci/index.ts";
import type { SystemdDriver } from "./cgroups/systemd/scope.ts";
import type { RootMount } from "./launch/plan.ts";
import type { EncodedFilter } from "./seccomp/compile.ts";
import type { ContainerRecord, MachineRecord } from "./state.ts";

export interface CreateOptions {
  readonly id: string;
  readonly bundle: string;
  readonly config: RuntimeConfig;
  /** Directory of all containers' state. */
  readonly stateRoot: string;
  /** "create": wait for `start`; "run": execute the command at once. */
  readonly mode: "create" | "run";
  /** Connected socket that is sent the terminal. */
  readonly console?: Fd;
  /** Become the container's 0, 1 and 2. */
  readonly stdio?: readonly [number, number, number];
  readonly preserveFds?: number;
  readonly noPivot?: boolean;
  readonly noNewKeyring?: boolean;
  readonly noCgroups?: boolean;
  /** Makes the cgroup in our place. */
  readonly systemd?: SystemdDriver;
  readonly rootMount?: RootMount;
  /** The container is killed when the thread that creates it ends, however it ends. */
  readonly dieWithParent?: boolean;
  /** PID 1 is ours: it passes signals on and reaps orphans. */
  readonly init?: boolean;
  /** Without it, us. A parent that waits for the container also has other verbs at hand. */
  readonly waitedForBy?: "parent";
  /** `config` is the host's half of a container in a machine; the mode is "create". */
  readonly machine?: MachineRecord;
  /** Other verbs will be called for it while it runs. */
  readonly detach?: boolean;
  /** A filter that is compiled already, loaded instead of linux.seccomp. */
  readonly seccompFilter?: EncodedFilter;
}

export interface CreatedContainer {
  readonly record: ContainerRecord;
  readonly directory: string;
  readonly pid: number;
  readonly pidfd: Fd;
}
