/**
 * A machine with our agent inside: booted, connected, ready to run programs and processes.
 *
 * ```
 * backend + kernel + modules ─ Vm ─ vsock ─ agent (PID 1) ─ RemoteKernel, HostPorts
 * ```
 */
import { AF_VSOCK, encodeElf } from "../linux/index.ts";
import { type VirtioDevice, Vsock } from "./devices/index.ts";
import {
  encodeRehearsal,
  GuestError,
  type HostPorts,
  type PendingConnection,
  planAgent,
  planWake,
  powerOff,
  REHEARSAL_FILE,
  RemoteKernel,
  rehearse,
} from "./guest/index.ts";
import { encodeInitramfs, type InitramfsEntry } from "./guest/initramfs.ts";
import { rehearseGuestRoot } from "./guest-root.ts";
import type { CpuBackend, CpuReport, StopReason } from "./machine/index.ts";
import {
  loadSnapshot,
  restoreMachine,
  runWithSnapshot,
  type SnapshotConfig,
} from "./snapshot/index.ts";
import { type Disk, Vm, type VmParts } from "./vm.ts";
import { acceptOne, CONTROL_PORT, vsockAddress, vsockPorts } from "./vsock-ports.ts";

export interface GuestKernel {
  /** A bzImage or an ELF vmlinux. */
  readonly image: Uint8Array;
  /** What it does not have built in, in the order of loading. */
  readonly modules: readonly { readonly name: string; readonly bytes: Uint8Array }[];
}

export interface SandboxConfig {
  readonly backend: CpuBackend;
  readonly kernel: GuestKernel;
  readonly disks?: readonly Disk[];
  readonly devices?: readonly VirtioDevice[];
  /** Behind our own kernel parameters, so that these win. */
  readonly commandLine?: string;
  readonly snapshot?: SnapshotConfig;
  readonly onConsole?: (bytes: Uint8Array) => void;
  /** More files for the first root. */
  readonly files?: readonly InitramfsEntry[];
  /** How long the agent may take to call back. */
  readonly readyTimeoutMs?: number;
}

/** What is asked of a machine, in this process or in a confined one of its own. */
export interface SandboxVm {
  readonly machine: { stop(reason: StopReason): void };
  /** The last lines the guest wrote to any console. */
  readonly consoleTail: string;
  describeCrash(): Promise<string>;
  /** What the CPU has counted; undefined where the processor is not ours (KVM). */
  stats(): Promise<CpuReport | undefined>;
}

/** A machine that runs, and whose agent will dial. */
export interface StartedMachine extends AsyncDisposable {
  readonly vm: SandboxVm;
  readonly host: HostPorts;
  readonly ended: Promise<StopReason>;
}

export interface Sandbox extends AsyncDisposable {
  readonly vm: SandboxVm;
  readonly kernel: RemoteKernel;
  readonly host: HostPorts;
  /** How the machine ended. */
  readonly ended: Promise<StopReason>;
  /** Pulls the plug: for a guest that has nothing left to write. */
  unplug(): Promise<void>;
}

/** The guest stopped, or was silent for too long, before its agent called back. */
export class GuestNotReadyError extends Error {
  override readonly name = "GuestNotReadyError";
  readonly hint = "Boot it with --vm-console to see what it says";
  readonly console: string;
  constructor(why: string, console: string) {
    const lines = console.trimEnd().split("\n").slice(-CONSOLE_LINES).join("\n");
    super(`Cannot use the guest: ${why}${lines === "" ? "" : `; its console says:\n${lines}`}`);
    this.console = console;
  }
}

const CONSOLE_LINES = 20;
const READY_TIMEOUT_MS = 60_000;
/** A restored agent has only to wake up. */
const RESTORED_TIMEOUT_MS = 20_000;

/**
 * quiet: each line on a serial console is some hundred exits. no_timer_check, reboot, 8250: probing
 * that costs time and finds nothing. panic=-1: a crash ends the machine instead of hanging.
 * random.trust_cpu: getrandom() must not wait for entropy. pci=off: there is none, which else takes 90
 * accesses to ports to find out.
 */
const KERNEL_PARAMETERS =
  "console=hvc0 quiet panic=-1 reboot=k 8250.nr_uarts=0 no_timer_check tsc=reliable random.trust_cpu=on cryptomgr.notests pci=off";

/** Boots the guest and waits for its agent; throws GuestNotReadyError, BootError, KernelImageError. */
export async function startSandbox(config: SandboxConfig): Promise<Sandbox> {
  const vsock = new Vsock();
  const listen = () => acceptOne(vsock, CONTROL_PORT);
  const control = listen();
  const { snapshot } = config;
  const parts: VmParts = {
    backend: config.backend,
    devices: [vsock, ...(config.devices ?? [])],
    disksLater: snapshot !== undefined,
    ...(config.disks === undefined ? {} : { disks: config.disks }),
    ...(config.onConsole === undefined ? {} : { onConsole: config.onConsole }),
  };
  const vm =
    snapshot?.kind === "restore"
      ? await restoreMachine(parts, loadSnapshot(snapshot, config.backend.memory.sizeBytes))
      : await boot(config, parts);
  const ended = runWithSnapshot(vm, vsock, {
    use: snapshot,
    port: CONTROL_PORT,
    onSaved: (result) => snapshot?.onSaved?.(result),
  });
  const machine: StartedMachine = {
    vm,
    host: vsockPorts(vsock),
    ended,
    [Symbol.asyncDispose]: () => vm[Symbol.asyncDispose](),
  };
  return await connectAgent(machine, control, { ...config, listen });
}

function boot(config: SandboxConfig, parts: VmParts): Promise<Vm> {
  return Vm.create({
    ...parts,
    kernel: config.kernel.image,
    initrd: encodeFirstRoot(config),
    commandLine: kernelCommandLine(config),
  });
}

export function kernelCommandLine({
  commandLine = "",
}: Pick<SandboxConfig, "commandLine">): string {
  return [KERNEL_PARAMETERS, commandLine].join(" ").trim();
}

interface AgentAccess extends Pick<SandboxConfig, "readyTimeoutMs" | "snapshot"> {
  /** Waits for the agent's next call. */
  readonly listen: () => PendingConnection;
}

/** Waits for the agent to dial; the machine is the sandbox's from here on, also when this fails. */
export async function connectAgent(
  machine: StartedMachine,
  control: PendingConnection,
  access: AgentAccess,
): Promise<Sandbox> {
  const { readyTimeoutMs, snapshot } = access;
  const isRestored = snapshot?.kind === "restore";
  const timeoutMs = readyTimeoutMs ?? (isRestored ? RESTORED_TIMEOUT_MS : READY_TIMEOUT_MS);
  const { vm, ended } = machine;
  try {
    const kernel = await firstOf(openAgent(control, machine.host, access), ended, timeoutMs);
    return new RunningSandbox(machine, kernel);
  } catch (error) {
    const tail = vm.consoleTail;
    vm.machine.stop({ kind: "stopped" });
    await ended;
    await machine[Symbol.asyncDispose]();
    throw error instanceof NotReady || error instanceof GuestError
      ? new GuestNotReadyError(error.message, tail)
      : error;
  } finally {
    control[Symbol.dispose]();
  }
}

/** A machine that is to be saved practises first; it is saved while the agent dials again. */
async function openAgent(
  control: PendingConnection,
  host: HostPorts,
  { snapshot, listen }: AgentAccess,
): Promise<RemoteKernel> {
  const kernel = await RemoteKernel.open(await control.connection);
  if (snapshot === undefined) return kernel;
  if (snapshot.kind === "save") {
    await rehearse(kernel, host, rehearseGuestRoot()).catch(() => undefined); // it boots as ever
    using again = listen();
    await kernel.redial();
    return await RemoteKernel.open(await again.connection);
  }
  const { failure } = await kernel.run(planWake(Date.now()));
  if (failure === undefined) return kernel;
  throw new GuestError(`Cannot wake the guest: ${failure.call} failed with ${failure.errno}`);
}

/** /init is the agent; it loads the modules and dials us. */
export function encodeFirstRoot(config: Pick<SandboxConfig, "kernel" | "files">): Uint8Array {
  const modules = config.kernel.modules.map(({ name, bytes }) => ({
    path: `modules/${name}.ko`,
    bytes,
  }));
  const agent = planAgent({
    family: AF_VSOCK,
    address: vsockAddress(CONTROL_PORT),
    modules: modules.map(({ path }) => `/${path}`),
    farewell: powerOff,
  });
  const folders = ["dev", "proc", "sys", "run", "tmp", "modules"];
  return encodeInitramfs([
    ...folders.map((path): InitramfsEntry => ({ path, type: "directory" })),
    { path: "dev/console", type: "character", major: 5, minor: 1 },
    { path: "dev/urandom", type: "character", major: 1, minor: 9 },
    { path: "init", type: "file", mode: 0o755, data: encodeElf(agent) },
    { path: REHEARSAL_FILE, type: "file", mode: 0o755, data: encodeRehearsal() },
    ...modules.map(({ path, bytes }): InitramfsEntry => ({ path, type: "file", data: bytes })),
    ...(config.files ?? []),
  ]);
}

class NotReady extends Error {}

/** The connection, unless the machine ends first or nobody calls in time. */
async function firstOf<T>(
  connection: Promise<T>,
  ended: Promise<StopReason>,
  timeoutMs: number,
): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    const message = `its agent did not call back within ${timeoutMs / 1000} s`;
    timer = setTimeout(() => reject(new NotReady(message)), timeoutMs);
  });
  const stopped = ended.then((reason) => {
    throw new NotReady(`it stopped before its agent called back (${describeStop(reason)})`);
  });
  try {
    return await Promise.race([connection, stopped, late]);
  } finally {
    clearTimeout(timer);
    stopped.catch(() => undefined); // the machine ends later, which is no failure any more
  }
}

export function describeStop(reason: StopReason): string {
  return reason.kind === "crash" ? reason.why : reason.kind;
}

class RunningSandbox implements Sandbox {
  readonly kernel: RemoteKernel;
  readonly #machine: StartedMachine;

  constructor(machine: StartedMachine, kernel: RemoteKernel) {
    this.#machine = machine;
    this.kernel = kernel;
  }

  get vm(): SandboxVm {
    return this.#machine.vm;
  }

  get host(): HostPorts {
    return this.#machine.host;
  }

  get ended(): Promise<StopReason> {
    return this.#machine.ended;
  }

  async unplug(): Promise<void> {
    this.vm.machine.stop({ kind: "stopped" });
    await this.ended;
    await this.#machine[Symbol.asyncDispose]();
  }

  /** The guest powers off when its agent loses us; a guest that does not is stopped. */
  async [Symbol.asyncDispose](): Promise<void> {
    const timer = setTimeout(() => this.vm.machine.stop({ kind: "stopped" }), POWER_OFF_TIMEOUT_MS);
    const closed = this.kernel.close().catch(() => undefined); // it may have crashed
    await Promise.race([closed, this.ended]); // or have been stopped, and then nobody answers
    await this.ended;
    clearTimeout(timer);
    await this.#machine[Symbol.asyncDispose]();
  }
}

const POWER_OFF_TIMEOUT_MS = 5000;
