/** A machine that the OCI runtime's keeper holds: its first process, others, signals, limits, its end. */
import { constants } from "node:os";
import type { Process, RuntimeConfig } from "../../oci/index.ts";
import {
  type Container,
  type ExecRequest,
  executionError,
  type LimitRequest,
  message,
  type ProcessRequest,
} from "../../runtime/index.ts";
import {
  type GuestLaunch,
  type GuestProcess,
  GuestRefusal,
  startGuestProcess,
} from "../../vmm-sandbox/index.ts";
import { ContainerError } from "../errors.ts";
import type { BundleShares } from "./bundle-shares.ts";
import { joinFlags, shellStatus } from "./container.ts";
import { planGuestExec, planGuestLimits } from "./guest-launch.ts";
import type { ContainerMachine } from "./machine.ts";
import type { MachineDoor } from "./monitor-socket.ts";
import type { NamespaceNetwork } from "./namespace-network.ts";

const { SIGKILL } = constants.signals;
const KILL_PATIENCE_MS = 3000;
/** The machine broke down, and its process with it. */
const MACHINE_FAILED = 125;

export interface KeptMachineParts {
  readonly container: Container;
  readonly bundle: BundleShares;
  readonly machine: ContainerMachine;
  readonly network: NamespaceNetwork;
  readonly memoryBytes: number;
  readonly process: GuestProcess;
}

export class KeptMachine implements MachineDoor {
  readonly container: Container;
  readonly process: GuestProcess;
  readonly #parts: KeptMachineParts;
  readonly #status: Promise<number>;
  #isStopped = false;

  constructor(parts: KeptMachineParts) {
    this.#parts = parts;
    this.container = parts.container;
    this.process = parts.process;
    this.#status = this.#awaitProcess();
  }

  get terminal(): boolean {
    return this.#parts.bundle.config.process?.terminal === true;
  }

  async exec(request: ExecRequest | ProcessRequest): Promise<GuestProcess> {
    if (request.kind === "exec")
      throw new ContainerError("Cannot run this: expected the whole process, as OCI's exec has it");
    const { bundle, machine } = this.#parts;
    // Labels of the host's security module mean nothing to the guest's kernel.
    const { apparmorProfile: _a, selinuxLabel: _s, oomScoreAdj: _o, ...process } = request.process;
    const config = { ...bundle.config, process: process satisfies Process };
    const target = { pid: this.process.pid, flags: joinFlags };
    return await startProcess(machine, planGuestExec(config, process, machine, target), config);
  }

  /** SIGKILL ends the machine when its guest does not react. */
  async kill(signal: number): Promise<void> {
    const sent = this.process.kill(signal).catch(() => undefined); // it is ending already
    if (signal !== SIGKILL) return await sent;
    let timer: NodeJS.Timeout | undefined;
    const patience = new Promise<void>((resolve) => {
      timer = setTimeout(() => {
        this.#isStopped = true;
        this.#parts.machine.sandbox.vm.machine.stop({ kind: "stopped" });
        resolve();
      }, KILL_PATIENCE_MS);
    });
    await Promise.race([this.#status, patience]);
    clearTimeout(timer);
  }

  async limit({ memory, pids }: LimitRequest): Promise<void> {
    const { machine, memoryBytes } = this.#parts;
    if (!machine.cgroups)
      throw new ContainerError("Cannot change limits: the guest's kernel has no cgroups");
    if (memory !== undefined && memory > memoryBytes)
      throw new ContainerError(
        `Cannot set a memory limit of ${memory} bytes: the machine was made with ${memoryBytes}`,
        { hint: "create the container with the limit that it will need" },
      );
    const { failure } = await machine.sandbox.kernel.run(planGuestLimits({ memory, pids }));
    if (failure !== undefined)
      throw new ContainerError(
        `Cannot change limits in the guest: ${failure.note ?? failure.call} failed with ${failure.errno}`,
      );
  }

  /** Until the process has ended and its output is out; then the machine is switched off. */
  async run(carry: (status: Promise<number>) => Promise<void>): Promise<number> {
    const { machine, network } = this.#parts;
    try {
      await carry(this.#status);
      return await this.#status;
    } finally {
      // The guest may have writes outstanding: those take a clean power-off.
      await machine[Symbol.asyncDispose]();
      network[Symbol.dispose]();
      await Promise.all([process.stdout, process.stderr].map(flushed));
    }
  }

  async #awaitProcess(): Promise<number> {
    const { ended } = this.#parts.machine.sandbox;
    const status = await Promise.race([
      this.process.exited.catch(() => undefined), // its machine has ended
      ended.then(() => undefined),
    ]);
    if (status !== undefined) return shellStatus(status);
    if (this.#isStopped) return shellStatus(SIGKILL);
    process.stderr.write(`${await this.#describeEnd()}\n`);
    return MACHINE_FAILED;
  }

  async #describeEnd(): Promise<string> {
    const { sandbox } = this.#parts.machine;
    const reason = await sandbox.ended;
    const why =
      reason.kind === "crash"
        ? await sandbox.vm.describeCrash().catch(() => reason.why)
        : `it ended by ${reason.kind}`;
    return `The virtual machine of "${this.container.id}" ended: ${why}`;
  }
}

function flushed(stream: NodeJS.WriteStream): Promise<void> {
  return new Promise((resolve) => {
    stream.write("", () => resolve());
  });
}

/** Errors in runc's words: engines read them. */
export async function startProcess(
  { sandbox }: ContainerMachine,
  launch: GuestLaunch,
  config: RuntimeConfig,
): Promise<GuestProcess> {
  try {
    return await startGuestProcess(sandbox.kernel, sandbox.host, launch);
  } catch (error) {
    if (error instanceof GuestRefusal && error.code === message.notExecuted)
      throw executionError(config, error.value);
    throw error;
  }
}
