/**
 * The device thread's handle on a vCPU's thread, whatever CPU runs there.
 *
 * ```
 * us → worker   one command at a time: run, get, set, save, restore, end, or the backend's own
 * worker → us   ready once; while it runs, access (look into the mailbox), call (the backend's own
 *               doorbells) and told (what the backend asked for without stopping it); done or failed
 * ```
 */
import type { Worker } from "node:worker_threads";
import type { VcpuRegisters } from "./cpu-backend.ts";
import { serveMailbox } from "./exit-mailbox.ts";
import type { Machine } from "./machine.ts";
import type { GeneralRegisters, SystemRegisters, VcpuState, VmExit } from "./vcpu.ts";

export interface RegisterChanges {
  readonly general?: Partial<GeneralRegisters>;
  readonly system?: Partial<SystemRegisters>;
}

export type Command<Own = never> =
  | { readonly kind: "run" | "get" | "save" | "end" }
  | { readonly kind: "set"; readonly registers: RegisterChanges }
  | { readonly kind: "restore"; readonly state: VcpuState }
  | Own;

export type Reply =
  | { readonly kind: "ready"; readonly ready: unknown }
  | { readonly kind: "access" }
  | { readonly kind: "call" }
  | { readonly kind: "told"; readonly what: unknown }
  | { readonly kind: "done"; readonly result: unknown }
  | { readonly kind: "failed"; readonly error: unknown };

interface Waiting {
  readonly resolve: (result: unknown) => void;
  readonly reject: (error: unknown) => void;
}

export interface VcpuThreadOptions {
  readonly worker: Worker;
  readonly mailbox: SharedArrayBuffer;
  /** What the vCPU's "ready" brought. */
  readonly onReady?: (ready: unknown) => void;
  readonly onCall?: () => void;
  readonly onTold?: (what: unknown) => void;
  /** Makes the vCPU's `run` return soon; only between "ready" and "end". */
  readonly kick: () => void;
}

export class VcpuThread<Own extends { readonly kind: string } = never> {
  readonly #options: VcpuThreadOptions;
  readonly #ready: Promise<unknown>;
  #machine: Machine | undefined = undefined;
  #isUp = false;
  #waiting: Waiting | undefined = undefined;
  #died: unknown;

  constructor(options: VcpuThreadOptions) {
    this.#options = options;
    const { worker } = options;
    worker.on("message", (reply: Reply) => this.#receive(reply));
    worker.on("error", (error) => this.#fail(error));
    worker.on("exit", () => this.#fail(new Error("The vCPU's thread ended unexpectedly")));
    this.#ready = this.#wait();
    this.#ready.catch(() => undefined); // reported by attach
  }

  /** Whose registers the vCPU's accesses reach; resolves when the vCPU is there. */
  async attach(machine: Machine): Promise<void> {
    this.#machine = machine;
    await this.#ready;
  }

  async run(): Promise<VmExit> {
    // SAFE: here and below, the worker answers each command with this type.
    return (await this.send({ kind: "run" })) as VmExit;
  }

  async getRegisters(): Promise<VcpuRegisters> {
    return (await this.send({ kind: "get" })) as VcpuRegisters;
  }

  async setRegisters(registers: RegisterChanges): Promise<void> {
    await this.send({ kind: "set", registers });
  }

  async save(): Promise<VcpuState> {
    return (await this.send({ kind: "save" })) as VcpuState;
  }

  async restore(state: VcpuState): Promise<void> {
    await this.send({ kind: "restore", state });
  }

  kick(): void {
    if (this.#isUp) this.#options.kick();
  }

  async end(): Promise<void> {
    // One that could not start has nothing to end.
    const started = await this.#ready.then(
      () => true,
      () => false,
    );
    this.#isUp = false;
    if (started) await this.send({ kind: "end" }).catch(() => undefined); // it may have died
    await this.#options.worker.terminate();
  }

  send(command: Command<Own>): Promise<unknown> {
    const answer = this.#wait();
    if (this.#died === undefined) this.#options.worker.postMessage(command);
    else this.#fail(this.#died);
    return answer;
  }

  #wait(): Promise<unknown> {
    if (this.#waiting !== undefined)
      throw new Error("Cannot command a vCPU while it runs: pause it first");
    return new Promise((resolve, reject) => {
      this.#waiting = { resolve, reject };
    });
  }

  #receive(reply: Reply): void {
    if (reply.kind === "access") {
      if (this.#machine !== undefined) serveMailbox(this.#options.mailbox, this.#machine);
      return;
    }
    if (reply.kind === "call") {
      this.#options.onCall?.();
      return;
    }
    if (reply.kind === "told") {
      this.#options.onTold?.(reply.what);
      return;
    }
    const waiting = this.#waiting;
    this.#waiting = undefined;
    if (reply.kind === "ready") {
      this.#isUp = true;
      this.#options.onReady?.(reply.ready);
      waiting?.resolve(undefined);
    } else if (reply.kind === "done") waiting?.resolve(reply.result);
    else waiting?.reject(reply.error);
  }

  #fail(error: unknown): void {
    this.#died ??= error;
    this.#isUp = false;
    const waiting = this.#waiting;
    this.#waiting = undefined;
    waiting?.reject(this.#died);
  }
}
