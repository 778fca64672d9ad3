/**
 * The device thread's handle on a vCPU's thread.
 *
 * ```
 * us → worker   one command at a time: run, get, set, save, restore, end
 * worker → us   ready once; access (look into the mailbox) while it runs; done or failed
 * ```
 */
import type { Worker } from "node:worker_threads";
import { startWorker } from "../host/start-worker.ts";
import type { VcpuRegisters } from "../machine/cpu-backend.ts";
import type { Machine } from "../machine/machine.ts";
import type { GeneralRegisters, SystemRegisters, VcpuState, VmExit } from "../machine/vcpu.ts";
import { MAILBOX_BYTES, serveMailbox } from "./exit-mailbox.ts";
import { type KickTarget, kickVcpu } from "./kick-signal.ts";
import type { PortableHandle } from "./vm.ts";

export interface ThreadSetup {
  readonly vm: PortableHandle;
  readonly index: number;
  readonly count: number;
  readonly mailbox: SharedArrayBuffer;
}

export interface RegisterChanges {
  readonly general?: Partial<GeneralRegisters>;
  readonly system?: Partial<SystemRegisters>;
}

export type Command =
  | { readonly kind: "run" | "get" | "save" | "end" }
  | { readonly kind: "set"; readonly registers: RegisterChanges }
  | { readonly kind: "restore"; readonly state: VcpuState };

export type Reply =
  | { readonly kind: "ready"; readonly kickTarget: KickTarget }
  | { readonly kind: "access" }
  | { readonly kind: "done"; readonly result: unknown }
  | { readonly kind: "failed"; readonly error: unknown };

interface Waiting {
  readonly resolve: (result: unknown) => void;
  readonly reject: (error: unknown) => void;
}

export class VcpuThread {
  readonly #worker: Worker;
  readonly #mailbox = new SharedArrayBuffer(MAILBOX_BYTES);
  readonly #ready: Promise<unknown>;
  #machine: Machine | undefined = undefined;
  #kickTarget: KickTarget | undefined = undefined;
  #waiting: Waiting | undefined = undefined;

  constructor(vm: PortableHandle, index: number, count: number) {
    const workerData: ThreadSetup = { vm, index, count, mailbox: this.#mailbox };
    this.#worker = startWorker(new URL("./vcpu.worker.ts", import.meta.url), { workerData });
    this.#worker.on("message", (reply: Reply) => this.#receive(reply));
    this.#worker.on("error", (error) => this.#waiting?.reject(error));
    this.#ready = this.#wait();
    this.#ready.catch(() => undefined); // reported by attach
  }

  /** Whose registers the vCPU's accesses reach; resolves when the vCPU is there. */
  async attach(machine: Machine): Promise<void> {
    this.#machine = machine;
    await this.#ready;
  }

  async run(): Promise<VmExit> {
    // SAFE: here and below, vcpu.worker.ts answers each command with this type.
    return (await this.#send({ kind: "run" })) as VmExit;
  }

  async getRegisters(): Promise<VcpuRegisters> {
    return (await this.#send({ kind: "get" })) as VcpuRegisters;
  }

  async setRegisters(registers: RegisterChanges): Promise<void> {
    await this.#send({ kind: "set", registers });
  }

  async save(): Promise<VcpuState> {
    return (await this.#send({ kind: "save" })) as VcpuState;
  }

  async restore(state: VcpuState): Promise<void> {
    await this.#send({ kind: "restore", state });
  }

  kick(): void {
    if (this.#kickTarget !== undefined) kickVcpu(this.#kickTarget);
  }

  async end(): Promise<void> {
    // One that could not start has nothing to end.
    const started = await this.#ready.then(
      () => true,
      () => false,
    );
    this.#kickTarget = undefined;
    if (started) await this.#send({ kind: "end" });
    await this.#worker.terminate();
  }

  #send(command: Command): Promise<unknown> {
    const answer = this.#wait();
    this.#worker.postMessage(command);
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
      if (this.#machine !== undefined) serveMailbox(this.#mailbox, this.#machine);
      return;
    }
    const waiting = this.#waiting;
    this.#waiting = undefined;
    if (reply.kind === "ready") {
      this.#kickTarget = reply.kickTarget;
      waiting?.resolve(undefined);
    } else if (reply.kind === "done") waiting?.resolve(reply.result);
    else waiting?.reject(reply.error);
  }
}
