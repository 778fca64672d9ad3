/** KVM as a machine's CPUs: the VM, a thread per vCPU, doorbells as ioeventfds. */

import { Fd } from "../../linux/index.ts";
import { Poller } from "../host/poller.ts";
import { Waker } from "../host/waker.ts";
import type { Bell, CpuBackend, CpuState, VcpuRegisters } from "../machine/cpu-backend.ts";
import type { GuestMemory } from "../machine/guest-memory.ts";
import type { InterruptController } from "../machine/interrupts.ts";
import type { Machine } from "../machine/machine.ts";
import type { VmExit } from "../machine/vcpu.ts";
import type { RegisterChanges } from "../machine/vcpu-thread.ts";
import { type ChipState, restoreChips, saveChips } from "./chips.ts";
import { InterruptStatus } from "./interrupt-status.ts";
import { KvmVcpu } from "./vcpu.ts";
import { KvmVcpuThread } from "./vcpu-thread.ts";
import { KvmVm } from "./vm.ts";

export interface KvmOptions {
  readonly memorySizeBytes: number;
  readonly cpus: number;
  /** Of /dev/kvm, or an open descriptor, which is the VM's from then on. */
  readonly path?: string | number;
}

export class KvmBackend implements CpuBackend {
  readonly name = "kvm";
  readonly cpus: number;
  readonly #vm: KvmVm;
  readonly #waker: Waker;
  readonly #poller: Poller;
  readonly #status = new InterruptStatus();
  readonly #unbind: (() => void)[] = [];
  #threads: readonly KvmVcpuThread[] = [];

  /** Throws KvmUnavailableError. */
  constructor(options: KvmOptions) {
    this.cpus = options.cpus;
    this.#vm = new KvmVm(options);
    this.#waker = new Waker();
    this.#poller = new Poller(this.#waker);
  }

  get memory(): GuestMemory {
    return this.#vm.memory;
  }

  get interrupts(): InterruptController {
    return this.#vm;
  }

  mapFile(fd: unknown, fileOffset: number, guestAddress: number, sizeBytes: number): boolean {
    return fd instanceof Fd && this.#vm.mapFile(fd, fileOffset, guestAddress, sizeBytes);
  }

  discard(guestAddress: number, sizeBytes: number): void {
    this.#vm.discard(guestAddress, sizeBytes);
  }

  async attach(machine: Machine): Promise<void> {
    this.#threads = Array.from(
      { length: this.cpus },
      (_, index) =>
        new KvmVcpuThread(
          new KvmVcpu(this.#vm, index, this.cpus, machine),
          this.#waker,
          this.#status,
        ),
    );
    for (const thread of this.#threads) machine.addVcpu(thread);
  }

  async setEntry(registers: RegisterChanges): Promise<void> {
    this.#threads[0]?.vcpu.setRegisters(registers);
  }

  bindBell({ address, value, ring }: Bell): void {
    const fd = this.#vm.bindBell(address, value);
    const unwatch = this.#poller.watch(fd, ring);
    this.#unbind.push(() => {
      unwatch();
      this.#vm.unbindBell(fd, address, value);
    });
  }

  /** Devices come in the order of their registers. */
  shareInterruptStatus(base: number): Int32Array {
    return this.#status.claim(base);
  }

  unbindBells(): void {
    for (const unbind of this.#unbind.splice(0)) unbind();
  }

  /** One vCPU that fails ends the others too. */
  async run(): Promise<readonly VmExit[]> {
    const runs = this.#threads.map(async (thread) => {
      const exit = await thread.run();
      if (exit.reason !== "kicked") this.pause();
      return exit;
    });
    return await Promise.all(runs);
  }

  pause(): void {
    for (const thread of this.#threads) thread.kick();
  }

  async registers(vcpu: number): Promise<VcpuRegisters> {
    const thread = this.#threads[vcpu];
    if (thread === undefined)
      throw new RangeError(`Cannot read vCPU ${vcpu}: expected 0 to ${this.cpus - 1}`);
    return thread.vcpu.getRegisters();
  }

  async save(): Promise<CpuState> {
    return {
      vcpus: this.#threads.map(({ vcpu }) => vcpu.save()),
      chips: saveChips(this.#vm.fd),
    };
  }

  async restore({ vcpus, chips }: CpuState): Promise<void> {
    if (vcpus.length !== this.cpus) {
      throw new RangeError(`Cannot restore ${vcpus.length} vCPUs: expected ${this.cpus}`);
    }
    // SAFE: `save` made it.
    restoreChips(this.#vm.fd, chips as ChipState);
    vcpus.forEach((state, index) => {
      this.#threads[index]?.vcpu.restore(state);
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.unbindBells();
    this.#poller[Symbol.dispose]();
    await Promise.all(this.#threads.map((thread) => thread.end()));
    this.#waker[Symbol.dispose]();
    this.#status[Symbol.dispose]();
    this.#vm[Symbol.dispose]();
  }
}
