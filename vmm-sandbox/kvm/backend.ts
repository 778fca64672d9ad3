/** KVM as a machine's CPUs: the VM, a thread per vCPU, doorbells as ioeventfds. */

import { Fd } from "../../linux/index.ts";
import { Poller } from "../host/poller.ts";
import { startWorker } from "../host/start-worker.ts";
import type { Bell, CpuBackend, CpuState, VcpuRegisters } from "../machine/cpu-backend.ts";
import { MAILBOX_BYTES } from "../machine/exit-mailbox.ts";
import type { GuestMemory } from "../machine/guest-memory.ts";
import type { InterruptController } from "../machine/interrupts.ts";
import type { Machine } from "../machine/machine.ts";
import type { VmExit } from "../machine/vcpu.ts";
import { type RegisterChanges, VcpuThread } from "../machine/vcpu-thread.ts";
import { type ChipState, restoreChips, saveChips } from "./chips.ts";
import { type KickTarget, kickVcpu } from "./kick-signal.ts";
import { KvmVm, type PortableHandle, portable } from "./vm.ts";

/** What a vCPU's thread is started with. */
export interface ThreadSetup {
  readonly vm: PortableHandle;
  readonly index: number;
  readonly count: number;
  readonly mailbox: SharedArrayBuffer;
}

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
  readonly #poller: Poller;
  readonly #unbind: (() => void)[] = [];
  readonly #threads: readonly VcpuThread[];

  /** Throws KvmUnavailableError. */
  constructor(options: KvmOptions) {
    this.cpus = options.cpus;
    this.#vm = new KvmVm(options);
    const handle = portable(this.#vm);
    // Threads take their time to start: they do so while the kernel is being loaded.
    this.#threads = Array.from({ length: options.cpus }, (_, index) =>
      startThread({ vm: handle, index, count: options.cpus }),
    );
    this.#poller = new Poller();
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
    await Promise.all(this.#threads.map((thread) => thread.attach(machine)));
    for (const thread of this.#threads) machine.addVcpu(thread);
  }

  async setEntry(registers: RegisterChanges): Promise<void> {
    await this.#threads[0]?.setRegisters(registers);
  }

  bindBell({ address, value, ring }: Bell): void {
    const fd = this.#vm.bindBell(address, value);
    const unwatch = this.#poller.watch(fd, ring);
    this.#unbind.push(() => {
      unwatch();
      this.#vm.unbindBell(fd, address, value);
    });
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
    return await thread.getRegisters();
  }

  async save(): Promise<CpuState> {
    const vcpus = await Promise.all(this.#threads.map((thread) => thread.save()));
    return { vcpus, chips: saveChips(this.#vm.fd) };
  }

  async restore({ vcpus, chips }: CpuState): Promise<void> {
    if (vcpus.length !== this.cpus) {
      throw new RangeError(`Cannot restore ${vcpus.length} vCPUs: expected ${this.cpus}`);
    }
    // SAFE: `save` made it.
    restoreChips(this.#vm.fd, chips as ChipState);
    await Promise.all(vcpus.map((state, index) => this.#threads[index]?.restore(state)));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.unbindBells();
    await this.#poller[Symbol.asyncDispose]();
    await Promise.all(this.#threads.map((thread) => thread.end()));
    this.#vm[Symbol.dispose]();
  }
}

function startThread(setup: Omit<ThreadSetup, "mailbox">): VcpuThread {
  const workerData: ThreadSetup = { ...setup, mailbox: new SharedArrayBuffer(MAILBOX_BYTES) };
  const path = "vmm-sandbox/kvm/kvm-vcpu-worker.ts";
  let target: KickTarget | undefined;
  return new VcpuThread({
    worker: startWorker(path, import.meta.url, { workerData }),
    mailbox: workerData.mailbox,
    // SAFE: kvm-vcpu-worker.ts is ready with this.
    onReady: (ready) => {
      target = ready as KickTarget;
    },
    kick: () => {
      if (target !== undefined) kickVcpu(target);
    },
  });
}
