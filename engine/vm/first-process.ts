/**
 * The process that a machine was made for: how it is launched, signalled and ends, at the latest with
 * its machine.
 */
import { constants } from "node:os";
import {
  CLONE_NEWCGROUP,
  CLONE_NEWIPC,
  CLONE_NEWNET,
  CLONE_NEWNS,
  CLONE_NEWPID,
  CLONE_NEWTIME,
  CLONE_NEWUTS,
} from "../../linux/index.ts";
import type { RuntimeConfig } from "../../oci/index.ts";
import { executionError, message } from "../../runtime/index.ts";
import {
  type GuestLaunch,
  type GuestProcess,
  GuestRefusal,
  type Sandbox,
  startGuestProcess,
} from "../../vmm-sandbox/index.ts";
import { ContainerError } from "../errors.ts";

const { SIGKILL } = constants.signals;
/** A guest that reacts at all has ended a process by then. */
const KILL_PATIENCE_MS = 3000;

export class FirstProcess {
  readonly guest: GuestProcess;
  /** As a shell has it; rejects with ContainerError where the machine ended by itself. */
  readonly status: Promise<number>;
  readonly #sandbox: Sandbox;
  readonly #name: string;
  #hasEnded = false;

  /** `name` is the container's. */
  constructor(guest: GuestProcess, sandbox: Sandbox, name: string) {
    this.guest = guest;
    this.#sandbox = sandbox;
    this.#name = name;
    this.status = this.#awaitEnd();
    this.status.catch(() => undefined); // whoever waits hears of it
  }

  /** SIGKILL ends the machine when its guest does not react. */
  async kill(signal: number): Promise<void> {
    const sent = this.guest.kill(signal).catch(() => undefined); // it is ending already
    if (signal !== SIGKILL) return await sent;
    let timer: NodeJS.Timeout | undefined;
    const patience = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, KILL_PATIENCE_MS);
    });
    await Promise.race([this.status, patience]).catch(() => undefined); // it ended all the same
    clearTimeout(timer);
    if (!this.#hasEnded) this.#sandbox.vm.machine.stop({ kind: "stopped" });
  }

  async #awaitEnd(): Promise<number> {
    const { ended } = this.#sandbox;
    try {
      const status = await Promise.race([
        this.guest.exited.catch(() => undefined), // its machine has ended
        ended.then(() => undefined),
      ]);
      if (status !== undefined) return shellStatus(status);
      const reason = await ended;
      if (reason.kind === "stopped") return shellStatus(SIGKILL); // by us
      const why =
        reason.kind === "crash"
          ? await this.#sandbox.vm.describeCrash().catch(() => reason.why)
          : `it ended by ${reason.kind}`;
      throw new ContainerError(`The virtual machine of "${this.#name}" ended`, {
        cause: new Error(why),
      });
    } finally {
      this.#hasEnded = true;
    }
  }
}

/** Starts a process in the guest. Errors are in runc's words: engines read them. */
export async function launchProcess(
  { kernel, host }: Pick<Sandbox, "kernel" | "host">,
  launch: GuestLaunch,
  config: RuntimeConfig,
): Promise<GuestProcess> {
  try {
    return await startGuestProcess(kernel, host, launch);
  } catch (error) {
    if (error instanceof GuestRefusal && error.code === message.notExecuted)
      throw executionError(config, error.value);
    throw error;
  }
}

/** wait(2)'s status as a shell has it. */
export function shellStatus(status: number): number {
  const signal = status & 0x7f;
  return signal === 0 ? (status >> 8) & 0xff : 128 + signal;
}

/** The namespaces of the first process that every other one joins. */
export function joinFlags({ linux }: RuntimeConfig): number {
  const hasTime = linux?.namespaces?.some(({ type }) => type === "time") === true;
  return always | (hasTime ? CLONE_NEWTIME : 0);
}

const always =
  CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID | CLONE_NEWNET;
