/** A machine that the OCI runtime's keeper holds: its first process, others, signals, limits, its end. */
import type { Container, ExecRequest, LimitRequest, ProcessRequest } from "../../runtime/index.ts";
import type { GuestProcess } from "../../vmm-sandbox/index.ts";
import { ContainerError } from "../errors.ts";
import type { BundleShares } from "./bundle-shares.ts";
import { FirstProcess, joinFlags, launchProcess } from "./first-process.ts";
import { planGuestExec } from "./guest-launch.ts";
import { planGuestLimits } from "./guest-limits.ts";
import type { ContainerMachine } from "./machine.ts";
import { describeFailure, type MachineDoor } from "./monitor-socket.ts";
import type { NamespaceNetwork } from "./namespace-network.ts";

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
  readonly #parts: KeptMachineParts;
  readonly #first: FirstProcess;

  constructor(parts: KeptMachineParts) {
    this.#parts = parts;
    const { container, process: guest, machine } = parts;
    this.container = container;
    this.#first = new FirstProcess(guest, machine.sandbox, container.id);
  }

  get process(): GuestProcess {
    return this.#first.guest;
  }

  get terminal(): boolean {
    return this.#parts.bundle.config.process?.terminal === true;
  }

  async exec(request: ExecRequest | ProcessRequest): Promise<GuestProcess> {
    if (request.kind === "exec")
      throw new ContainerError("Cannot run this: expected the whole process, as OCI's exec has it");
    const { bundle, machine } = this.#parts;
    const { process } = request;
    const config = { ...bundle.config, process };
    const target = { pid: this.process.pid, flags: joinFlags(config) };
    const launch = planGuestExec(config, process, machine, target);
    return await launchProcess(machine.sandbox, launch, config);
  }

  kill(signal: number): Promise<void> {
    return this.#first.kill(signal);
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
    const status = this.#first.status.catch(reportEnd);
    try {
      await carry(status);
      return await status;
    } finally {
      // The guest may have writes outstanding: those take a clean power-off.
      await machine[Symbol.asyncDispose]();
      network[Symbol.dispose]();
      await Promise.all([process.stdout, process.stderr].map(flushed));
    }
  }
}

function reportEnd(error: unknown): number {
  const { message, causes } = describeFailure(error);
  process.stderr.write(`${[message, ...causes].join(": ")}\n`);
  return MACHINE_FAILED;
}

function flushed(stream: NodeJS.WriteStream): Promise<void> {
  return new Promise((resolve) => {
    stream.write("", () => resolve());
  });
}
