/**
 * The software CPU as a machine's CPUs: its vCPU runs on a thread of its own, over memory that it
 * shares with the device thread.
 *
 * ```
 * device thread (main)                           vCPU thread (software-vcpu-worker.ts)
 *   RAM ◄──────────── one shared WebAssembly.Memory ───────────► CPU, APICs
 *   lines, kicks, written pages ──── host channel ────► at the next look
 *   bells ◄───────────────────────── host channel ────── doorbells, without waiting
 *   registers ◄───────────────────── mailbox ─────────── PIO and MMIO, waiting
 *                                    compiler's thread (region/region-worker.ts)
 *   RAM and records ──────────────────────────────────► reads them; requests and modules by a port
 * ```
 * Needs no native code: with it, memory that the guest gives up goes back to the host.
 */
import { hasNativeCode, syscall } from "../../linux/index.ts";
import { startWorker } from "../host/start-worker.ts";
import type { Bell, CpuBackend, CpuState, VcpuRegisters } from "../machine/cpu-backend.ts";
import type { CpuReport } from "../machine/cpu-report.ts";
import { MAILBOX_BYTES } from "../machine/exit-mailbox.ts";
import { GuestMemory } from "../machine/guest-memory.ts";
import type { InterruptController, InterruptLine } from "../machine/interrupts.ts";
import { IO_APIC_PINS } from "../machine/layout.ts";
import type { Machine } from "../machine/machine.ts";
import type { VmExit } from "../machine/vcpu.ts";
import { type RegisterChanges, VcpuThread } from "../machine/vcpu-thread.ts";
import { HostChannel, MAX_BELLS } from "./host-channel.ts";
import {
  type RegionConnection,
  type RegionThread,
  startRegionThread,
} from "./region/compiler-thread.ts";
import { layout, state } from "./state.ts";
import { createCpuMemory } from "./system/cpu-memory.ts";
import type { IoApicState } from "./system/io-apic.ts";

export interface SoftwareSetup {
  readonly memory: WebAssembly.Memory;
  readonly ramBytes: number;
  readonly channel: SharedArrayBuffer;
  readonly mailbox: SharedArrayBuffer;
  /** To the thread that compiles hot code; without one the vCPU's own does. */
  readonly regions?: RegionConnection;
  /** saved-code.ts */
  readonly code?: SharedArrayBuffer;
}

export type SoftwareCommand =
  | { readonly kind: "bells"; readonly bells: readonly Pick<Bell, "address" | "value">[] }
  | { readonly kind: "report" | "save code" }
  | { readonly kind: "save chips" }
  | { readonly kind: "restore chips"; readonly chips: IoApicState };

export interface SoftwareOptions {
  readonly memorySizeBytes: number;
  /** What `saveCode` gave, for a machine that is restored to that moment. */
  readonly code?: SharedArrayBuffer | undefined;
}

const MADV_DONTNEED = 4;

interface Asking {
  readonly resolve: (report: CpuReport) => void;
  readonly reject: (error: unknown) => void;
}

const FUEL = (layout.state + state.fuel) >> 2;

export class SoftwareBackend implements CpuBackend, InterruptController {
  readonly name = "software";
  readonly cpus = 1;
  readonly memory: GuestMemory;
  readonly #cpuWords: Int32Array;
  readonly #bells: Bell[] = [];
  readonly #lines: readonly InterruptLine[];
  readonly #thread: VcpuThread<SoftwareCommand>;
  readonly #compiler: RegionThread | undefined;
  readonly #channel: HostChannel;
  #isRunning = false;
  /** Who waits for a report of the running vCPU. */
  #asking: Asking[] = [];

  constructor({ memorySizeBytes: ramBytes, code }: SoftwareOptions) {
    const memory = createCpuMemory(ramBytes);
    const channel = HostChannel.create(ramBytes);
    this.#channel = channel;
    this.#cpuWords = new Int32Array(memory.buffer);
    this.memory = GuestMemory.over(memory.buffer, ramBytes, layout.ram);
    this.memory.onWrite = (address, sizeBytes) => channel.written(address, sizeBytes);
    this.#lines = Array.from({ length: IO_APIC_PINS }, (_, gsi) => ({
      gsi,
      trigger: () => {
        channel.triggerLine(gsi);
        this.#hurry();
      },
    }));
    const mailbox = new SharedArrayBuffer(MAILBOX_BYTES);
    // A machine that is restored lives for a command or two, not worth a thread's start.
    this.#compiler = code === undefined ? startRegionThread(memory, ramBytes) : undefined;
    const regions = this.#compiler?.connection;
    const workerData: SoftwareSetup = {
      memory,
      ramBytes,
      channel: channel.buffer,
      mailbox,
      ...(regions !== undefined && { regions }),
      ...(code !== undefined && { code }),
    };
    const transferList = regions === undefined ? [] : [regions.port];
    const path = "vmm-sandbox/translator/software-vcpu-worker.ts";
    this.#thread = new VcpuThread({
      worker: startWorker(path, import.meta.url, { workerData, transferList }),
      mailbox,
      // SAFE: the worker tells nothing but reportOf()'s.
      onTold: (report) => this.#tell(report as CpuReport),
      onCall: () => channel.takeBells((bell) => this.#bells[bell]?.ring()),
      kick: () => {
        channel.kick();
        this.#hurry();
      },
    });
  }

  get interrupts(): InterruptController {
    return this;
  }

  line(gsi: number): InterruptLine {
    const line = this.#lines[gsi];
    if (line === undefined)
      throw new RangeError(
        `Cannot use interrupt line ${gsi}: expected 0 to ${this.#lines.length - 1}`,
      );
    return line;
  }

  /** A WebAssembly memory never gets smaller, but its pages can go, and come back as zeros. */
  discard(guestAddress: number, sizeBytes: number): void {
    const pages = this.memory.window(guestAddress, sizeBytes);
    if (hasNativeCode() && syscall("madvise", pages, sizeBytes, MADV_DONTNEED) === 0) return;
    pages.fill(0);
  }

  async attach(machine: Machine): Promise<void> {
    await Promise.all([this.#thread.attach(machine), this.#compiler?.ready]);
    await this.#sendBells();
    machine.addVcpu(this.#thread);
  }

  async setEntry(registers: RegisterChanges): Promise<void> {
    await this.#thread.setRegisters(registers);
  }

  /** Before `attach`. */
  bindBell(bell: Bell): void {
    if (this.#bells.length >= MAX_BELLS)
      throw new RangeError(`Cannot bind more than ${MAX_BELLS} doorbells`);
    this.#bells.push(bell);
  }

  unbindBells(): void {
    this.#bells.length = 0;
  }

  async run(): Promise<readonly VmExit[]> {
    this.#isRunning = true;
    try {
      return [await this.#thread.run()];
    } finally {
      this.#isRunning = false;
      await this.#answer();
    }
  }

  pause(): void {
    this.#thread.kick();
  }

  async registers(vcpu: number): Promise<VcpuRegisters> {
    if (vcpu !== 0) throw new RangeError(`Cannot read vCPU ${vcpu}: expected 0`);
    return await this.#thread.getRegisters();
  }

  async save(): Promise<CpuState> {
    const vcpus = [await this.#thread.save()];
    return { vcpus, chips: await this.#thread.send({ kind: "save chips" }) };
  }

  async restore({ vcpus: [vcpu, ...more], chips }: CpuState): Promise<void> {
    if (vcpu === undefined || more.length > 0)
      throw new RangeError(`Cannot restore ${more.length + (vcpu ? 1 : 0)} vCPUs: expected 1`);
    // SAFE: a state comes from `save` of this class; io-apic.ts checks its size.
    await this.#thread.send({ kind: "restore chips", chips: chips as IoApicState });
    await this.#thread.restore(vcpu);
  }

  async saveCode(): Promise<Uint8Array> {
    // SAFE: the thread answers this command with encodeCode()'s.
    return (await this.#thread.send({ kind: "save code" })) as Uint8Array;
  }

  /** What the CPU has counted since it began, whether it runs or not. */
  async report(): Promise<CpuReport> {
    if (this.#isRunning)
      return await new Promise((resolve, reject) => {
        this.#asking.push({ resolve, reject });
        this.#channel.askReport();
        this.#hurry();
      });
    // SAFE: the thread answers this command with reportOf()'s.
    return (await this.#thread.send({ kind: "report" })) as CpuReport;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.unbindBells();
    await this.#thread.end();
    await this.#compiler?.end();
  }

  #tell(report: CpuReport): void {
    for (const { resolve } of this.#asking.splice(0)) resolve(report);
  }

  /** The vCPU came to rest before it saw that somebody asks. */
  async #answer(): Promise<void> {
    if (this.#asking.length === 0) return;
    try {
      this.#tell(await this.report());
    } catch (error) {
      for (const { reject } of this.#asking.splice(0)) reject(error);
    }
  }

  async #sendBells(): Promise<void> {
    const bells = this.#bells.map(({ address, value }) => ({ address, value }));
    await this.#thread.send({ kind: "bells", bells });
  }

  /**
   * Running code looks up when its fuel is gone. The vCPU's own count may win the race: then it
   * looks up at the end of its slice.
   */
  #hurry(): void {
    Atomics.store(this.#cpuWords, FUEL, 0);
  }
}
