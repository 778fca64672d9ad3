/** What the verbs do where a container runs in a machine. */
import { type Fd, SIGKILL, syscall } from "../../linux/index.ts";
import type { Process, Resources, RuntimeConfig } from "../../oci/index.ts";
import { freezeCgroup, signalCgroup } from "../cgroups/cgroup.ts";
import type { SystemdDriver } from "../cgroups/systemd/scope.ts";
import { StatusError } from "../errors.ts";
import { type ExecedProcess, execInContainer } from "../exec.ts";
import { readLink } from "../files.ts";
import { wantWholeProcess } from "../frozen/subject.ts";
import { resolveRoot } from "../root-facts.ts";
import type { Container, MachineRecord } from "../state.ts";
import { checkConfig } from "../validate.ts";
import type { Bundle } from "../verbs/bundle.ts";
import { checkCommand } from "./check-command.ts";
import { checkGuestProcess } from "./check-guest.ts";
import { askMachine } from "./client.ts";
import { guestProcess, splitConfig } from "./split-config.ts";
import { type IsolationWish, wantsMachine } from "./wish.ts";

/** Hidden verbs of the command: what keeps a machine, and what stands for a process in it. */
export const KEEPER_VERB = "vm-keeper";
export const RELAY_VERB = "vm-relay";
/** A keeper that answers at all answers sooner; killing does not wait longer. */
const KILL_PATIENCE_SECONDS = 8;

type Environment = Readonly<Record<string, string | undefined>>;

export interface MachineContext {
  readonly id: string;
  readonly stateRoot: string;
  readonly env: Environment;
  readonly isolation: IsolationWish;
  /** Words that execute this program again. */
  readonly self: readonly string[];
  /** Descriptors that the caller wants to hand to the container. */
  readonly preserveFds: number;
}

/** The configuration to make here, and what runs in a machine when one is wanted. */
export function chooseHalf(
  { config, path }: Bundle,
  { id, stateRoot, env, isolation, self, preserveFds }: MachineContext,
): { readonly config: RuntimeConfig; readonly machine?: MachineRecord } {
  const wish = wantsMachine(config, isolation);
  if (wish === undefined) return { config };
  wantWholeProcess();
  if (preserveFds > 0)
    throw new Error(
      "Cannot pass descriptors to a virtual machine (--preserve-fds, LISTEN_FDS): use a shared directory or the network",
    );
  const root = stateRoot.startsWith("/") ? stateRoot : `${readLink("/proc/self/cwd")}/${stateRoot}`;
  const keeper = { args: [...self, KEEPER_VERB, root, id], env: ownVariables(env) };
  const { host, guest } = splitConfig(config, keeper);
  checkConfig({ ...config, ...(guest.process !== undefined && { process: guest.process }) });
  checkCommand(guest, resolveRoot(config, path));
  return { config: host, machine: { ...wish, guest } };
}

/** Where the guest's kernel lies, and for the engine of a user their directories. */
function ownVariables(env: Environment): readonly string[] {
  const names = Object.keys(env).filter((name) => name.startsWith("MANYWORLDS_"));
  return [...names, "HOME", "XDG_DATA_HOME", "PATH"].flatMap((name) =>
    env[name] === undefined ? [] : [`${name}=${env[name]}`],
  );
}

export interface MachineExecOptions {
  readonly process: Process;
  readonly self: readonly string[];
  readonly console?: Fd;
  readonly systemd?: SystemdDriver;
}

/**
 * The process runs when this returns; ours beside it, in the container's cgroup and with its streams,
 * lives and ends as that one does.
 */
export function execInMachine(container: Container, options: MachineExecOptions): ExecedProcess {
  const { process, self, console, systemd } = options;
  if (container.status === "stopped" || container.pid === 0)
    throw new StatusError("cannot exec in a stopped container");
  if (container.status === "paused")
    throw new StatusError("cannot exec in a paused container (use --ignore-paused to override)");
  checkGuestProcess(process);
  using connection = askMachine(container, {
    kind: "process",
    process: guestProcess(process),
  });
  const terminal = process.terminal === true;
  return execInContainer(container, {
    process: {
      args: [...self, RELAY_VERB, String(connection.number)],
      cwd: "/",
      terminal,
      ...(process.consoleSize !== undefined && { consoleSize: process.consoleSize }),
    },
    handed: connection,
    ...(console !== undefined && { console }),
    ...(systemd !== undefined && { systemd }),
  });
}

/** A process in a machine takes every signal there is, also those that ours could not pass on. */
export function killMachine(container: Container, signal: number): void {
  const { pid, status } = container;
  if (pid === 0) throw new StatusError("container not running");
  if (status === "running") {
    try {
      askMachine(container, { kind: "kill", signal }, KILL_PATIENCE_SECONDS).close();
      return;
    } catch (error) {
      // It is about to end, or does not answer.
      if (!(error instanceof StatusError)) throw error;
    }
  }
  if (status === "paused" && signal !== SIGKILL)
    throw new StatusError("container not running: it is paused, and takes SIGKILL alone");
  if (syscall("kill", pid, signal) === -3) throw new StatusError("container not running");
  if (signal === SIGKILL) pullPlug(container);
}

/** Ends all processes that a machine has here, at once. */
export function pullPlug({ cgroup, status }: Container): void {
  if (cgroup === undefined) return;
  signalCgroup(cgroup, SIGKILL);
  if (status === "paused") freezeCgroup(cgroup, false);
}

/** Throws when the guest cannot have so much. Returns what the guest was told. */
export function limitGuest(container: Container, { memory, pids }: Resources): void {
  const amounts = {
    ...(memory?.limit && { memory: memory.limit }),
    ...(pids?.limit && { pids: pids.limit }),
  };
  if (Object.keys(amounts).length > 0) askMachine(container, { kind: "limit", ...amounts }).close();
}
