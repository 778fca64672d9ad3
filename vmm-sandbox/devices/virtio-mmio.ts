/**
 * The virtio-mmio transport, version 2: registers, the status state machine, interrupts.
 * VIRTIO 1.2 §4.2.
 *
 * The driver's path is one-way: RESET → ACKNOWLEDGE → DRIVER → FEATURES_OK → DRIVER_OK. Features
 * can be written only in DRIVER, queues only between FEATURES_OK and DRIVER_OK; at DRIVER_OK the
 * queues are built from what the registers then held and nothing changes them any more. Whatever
 * does not fit is ignored and counted. Only writing 0 leads back.
 */
import type { AccessSize, BusDevice } from "../machine/bus.ts";
import { type GuestMemory, GuestMemoryError } from "../machine/guest-memory.ts";
import type { InterruptLine } from "../machine/interrupts.ts";
import { CONFIG_CHANGE, PendingInterrupts, USED_BUFFER } from "./pending-interrupts.ts";
import {
  VIRTIO_F_EVENT_IDX,
  VIRTIO_F_INDIRECT_DESC,
  VIRTIO_F_VERSION_1,
  type VirtioDevice,
} from "./virtio-device.ts";
import { registers, status } from "./virtio-registers.ts";
import { QueueError, type QueueState, Virtqueue } from "./virtqueue.ts";

const VENDOR = 0x4d57_4d57; // "WMWM"

const AFTER_DRIVER = status.ACKNOWLEDGE | status.DRIVER;
const AFTER_FEATURES = AFTER_DRIVER | status.FEATURES_OK;
const RUNNING = AFTER_FEATURES | status.DRIVER_OK;

interface QueueRegisters {
  size: number;
  ready: boolean;
  descriptors: [low: number, high: number];
  available: [low: number, high: number];
  used: [low: number, high: number];
}

export interface TransportState {
  readonly status: number;
  readonly driverFeatures: bigint;
  readonly interruptStatus: number;
  readonly configGeneration: number;
  readonly selectors: readonly [device: number, driver: number, queue: number];
  readonly queues: readonly (QueueRegisters & { readonly rings?: QueueState })[];
  readonly device: unknown;
}

export class VirtioMmio implements BusDevice {
  readonly device: VirtioDevice;
  readonly line: InterruptLine;
  /** Register accesses that the driver should not have made. */
  violations = 0;
  /** Why the device stopped and wants a reset, for the crash report. */
  failure: string | undefined = undefined;
  /** Called when the driver is done with setting up, so that ioeventfds can be bound. */
  onActivate: (() => void) | undefined = undefined;
  readonly #memory: GuestMemory;
  readonly #offered: bigint;
  #status = 0;
  #driverFeatures = 0n;
  #deviceFeaturesSel = 0;
  #driverFeaturesSel = 0;
  #queueSel = 0;
  readonly #pending: PendingInterrupts;
  #configGeneration = 0;
  #registers: QueueRegisters[];
  #queues: (Virtqueue | undefined)[] = [];

  constructor(
    device: VirtioDevice,
    memory: GuestMemory,
    line: InterruptLine,
    pending: Int32Array | undefined = undefined,
  ) {
    this.#pending = new PendingInterrupts(pending);
    this.device = device;
    this.#memory = memory;
    this.line = line;
    this.#offered =
      device.features | VIRTIO_F_VERSION_1 | VIRTIO_F_EVENT_IDX | VIRTIO_F_INDIRECT_DESC;
    this.#registers = device.queueSizes.map(emptyQueue);
  }

  get status(): number {
    return this.#status;
  }

  read(offset: number, sizeBytes: AccessSize): number {
    if (offset >= registers.Config) return this.#readConfig(offset - registers.Config, sizeBytes);
    if (sizeBytes !== 4) return this.#violation();
    // VIRTIO 1.2 §4.2.2.1: a shared memory region that does not exist, as ours, has length -1.
    if (offset >= registers.SHMLenLow && offset <= registers.SHMBaseHigh) return 0xffff_ffff;
    const queue = this.#registers[this.#queueSel];
    switch (offset) {
      case registers.MagicValue:
        return 0x7472_6976; // "virt"
      case registers.Version:
        return 2;
      case registers.DeviceID:
        return this.device.type;
      case registers.VendorID:
        return VENDOR;
      case registers.DeviceFeatures:
        return word(this.#offered, this.#deviceFeaturesSel);
      case registers.QueueNumMax:
        return this.device.queueSizes[this.#queueSel] ?? 0;
      case registers.QueueReady:
        return queue?.ready === true ? 1 : 0;
      case registers.InterruptStatus:
        return this.#pending.bits;
      case registers.Status:
        return this.#status;
      case registers.ConfigGeneration:
        return this.#configGeneration;
      default:
        return this.#violation();
    }
  }

  write(offset: number, sizeBytes: AccessSize, value: number): void {
    if (offset >= registers.Config) {
      this.#writeConfig(offset - registers.Config, sizeBytes, value);
      return;
    }
    if (sizeBytes !== 4) {
      this.#violation();
      return;
    }
    switch (offset) {
      case registers.DeviceFeaturesSel:
        this.#deviceFeaturesSel = value;
        break;
      case registers.DriverFeaturesSel:
        this.#driverFeaturesSel = value;
        break;
      case registers.DriverFeatures:
        this.#writeFeatures(value);
        break;
      case registers.QueueSel:
        this.#queueSel = value;
        break;
      case registers.QueueNotify:
        this.notify(value);
        break;
      case registers.InterruptACK:
        this.#pending.remove(value);
        break;
      case registers.Status:
        this.#writeStatus(value);
        break;
      default:
        this.#writeQueue(offset, value);
    }
  }

  /** The driver rang a queue's bell: here by a register, or through an ioeventfd. */
  notify(queue: number): void {
    if (this.#status !== RUNNING || this.#queues[queue] === undefined) {
      this.#violation();
      return;
    }
    this.#guard(() => this.device.notify(queue));
  }

  /** Only while no vCPU runs and no request is in flight. */
  save(): TransportState {
    return {
      status: this.#status,
      driverFeatures: this.#driverFeatures,
      interruptStatus: this.#pending.bits,
      configGeneration: this.#configGeneration,
      selectors: [this.#deviceFeaturesSel, this.#driverFeaturesSel, this.#queueSel],
      queues: this.#registers.map((queue, index) => {
        const rings = this.#queues[index]?.save();
        return { ...structuredClone(queue), ...(rings === undefined ? {} : { rings }) };
      }),
      device: this.device.save?.(),
    };
  }

  /** Brings back a saved state, then rings every bell: the guest may have rung one meanwhile. */
  restore(state: TransportState): void {
    this.#reset();
    this.#driverFeatures = state.driverFeatures;
    this.#pending.add(state.interruptStatus);
    this.#configGeneration = state.configGeneration;
    [this.#deviceFeaturesSel, this.#driverFeaturesSel, this.#queueSel] = state.selectors;
    this.#registers = state.queues.map(({ rings: _, ...queue }) => structuredClone(queue));
    this.#status = state.status;
    this.device.restore?.(state.device);
    if ((state.status & RUNNING) !== RUNNING) return;
    this.#activate(state.queues.map(({ rings }) => rings));
    if (this.#status !== RUNNING) return;
    this.#queues.forEach((queue, index) => {
      if (queue !== undefined) this.notify(index);
    });
    this.#interrupt(USED_BUFFER);
  }

  #readConfig(offset: number, sizeBytes: AccessSize): number {
    const { config } = this.device;
    let value = 0;
    for (let i = 0; i < sizeBytes; i++) value += (config[offset + i] ?? 0) * 2 ** (8 * i);
    return value;
  }

  #writeConfig(offset: number, sizeBytes: AccessSize, value: number): void {
    const inside = offset + sizeBytes <= this.device.config.length;
    if (
      !inside ||
      this.device.writeConfig === undefined ||
      (this.#status & status.FEATURES_OK) === 0
    ) {
      this.#violation();
      return;
    }
    const bytes = Uint8Array.from({ length: sizeBytes }, (_, i) => value >>> (8 * i));
    this.#guard(() => this.device.writeConfig?.(offset, bytes));
  }

  #writeFeatures(value: number): void {
    if (this.#status !== AFTER_DRIVER || this.#driverFeaturesSel > 1) {
      this.#violation();
      return;
    }
    const shift = BigInt(this.#driverFeaturesSel) * 32n;
    const kept = this.#driverFeatures & ~(0xffff_ffffn << shift);
    this.#driverFeatures = kept | (BigInt(value) << shift);
  }

  #writeQueue(offset: number, value: number): void {
    const queue = this.#registers[this.#queueSel];
    if (queue === undefined || this.#status !== AFTER_FEATURES) {
      // Linux clears QueueReady of a queue after a reset: harmless.
      if (offset !== registers.QueueReady || value !== 0 || this.#status === RUNNING)
        this.#violation();
      return;
    }
    if (offset === registers.QueueReady) {
      queue.ready = value === 1;
      return;
    }
    if (queue.ready) {
      this.#violation();
      return;
    }
    switch (offset) {
      case registers.QueueNum:
        queue.size = value;
        break;
      case registers.QueueDescLow:
        queue.descriptors[0] = value;
        break;
      case registers.QueueDescHigh:
        queue.descriptors[1] = value;
        break;
      case registers.QueueDriverLow:
        queue.available[0] = value;
        break;
      case registers.QueueDriverHigh:
        queue.available[1] = value;
        break;
      case registers.QueueDeviceLow:
        queue.used[0] = value;
        break;
      case registers.QueueDeviceHigh:
        queue.used[1] = value;
        break;
      default:
        this.#violation();
    }
  }

  /** §3.1.1 driver initialisation, as a state machine. */
  #writeStatus(value: number): void {
    if (value === 0) {
      this.#reset();
      return;
    }
    if ((value & status.FAILED) !== 0) {
      this.#status |= status.FAILED;
      return;
    }
    const next = value & ~status.NEEDS_RESET;
    if (next === (this.#status & ~status.NEEDS_RESET)) return;
    if (this.#status === 0 && next === status.ACKNOWLEDGE) this.#status = next;
    else if (this.#status === status.ACKNOWLEDGE && next === AFTER_DRIVER) this.#status = next;
    else if (this.#status === AFTER_DRIVER && next === AFTER_FEATURES) this.#acceptFeatures();
    else if (this.#status === AFTER_FEATURES && next === RUNNING) {
      this.#status = RUNNING;
      this.#activate([]);
    } else this.#violation();
  }

  /** §3.1.1 step 5: the bit stays clear when the driver's choice is impossible. */
  #acceptFeatures(): void {
    const known = (this.#driverFeatures & ~this.#offered) === 0n;
    const modern = (this.#driverFeatures & VIRTIO_F_VERSION_1) !== 0n;
    if (known && modern) this.#status = AFTER_FEATURES;
    else this.#violation();
  }

  #activate(states: readonly (QueueState | undefined)[]): void {
    this.#guard(() => {
      this.#queues = this.#registers.map((queue, index) =>
        this.#openQueue(queue, index, states[index]),
      );
      this.device.activate({
        memory: this.#memory,
        queues: this.#queues,
        features: this.#driverFeatures,
        configChanged: () => this.#configChanged(),
        guard: (work) => this.#guard(work),
      });
    });
    if (this.#status === RUNNING) this.onActivate?.();
  }

  #openQueue(
    queue: QueueRegisters,
    index: number,
    state: QueueState | undefined,
  ): Virtqueue | undefined {
    if (!queue.ready) return undefined;
    const max = this.device.queueSizes[index] ?? 0;
    if (queue.size > max) {
      throw new QueueError(`Cannot use a queue of ${queue.size} entries: expected at most ${max}`);
    }
    return new Virtqueue(this.#memory, {
      size: queue.size,
      descriptors: join(queue.descriptors),
      available: join(queue.available),
      used: join(queue.used),
      eventIdx: (this.#driverFeatures & VIRTIO_F_EVENT_IDX) !== 0n,
      indirect: (this.#driverFeatures & VIRTIO_F_INDIRECT_DESC) !== 0n,
      interrupt: () => this.#interrupt(USED_BUFFER),
      again: () => setImmediate(() => this.#queues[index]?.open === true && this.notify(index)),
      ...(state === undefined ? {} : { state }),
    });
  }

  #reset(): void {
    for (const queue of this.#queues) queue?.close();
    this.#queues = [];
    this.#registers = this.device.queueSizes.map(emptyQueue);
    this.#driverFeatures = 0n;
    this.#pending.remove(USED_BUFFER | CONFIG_CHANGE);
    this.#queueSel = 0;
    this.failure = undefined;
    const wasRunning = (this.#status & status.DRIVER_OK) !== 0;
    this.#status = 0;
    if (wasRunning) this.device.reset();
  }

  /** What the guest broke stops this device until it is reset (§2.1.2); anything else is our bug. */
  #guard(work: () => void): void {
    try {
      work();
    } catch (error) {
      if (!(error instanceof QueueError || error instanceof GuestMemoryError)) throw error;
      this.failure = `${this.device.name}: ${error.message}`;
      for (const queue of this.#queues) queue?.close();
      this.#status |= status.NEEDS_RESET;
      this.#interrupt(CONFIG_CHANGE);
    }
  }

  #configChanged(): void {
    this.#configGeneration = (this.#configGeneration + 1) >>> 0;
    this.#interrupt(CONFIG_CHANGE);
  }

  #interrupt(cause: number): void {
    this.#pending.add(cause);
    this.line.trigger();
  }

  #violation(): number {
    this.violations++;
    return 0;
  }
}

function emptyQueue(): QueueRegisters {
  return { size: 0, ready: false, descriptors: [0, 0], available: [0, 0], used: [0, 0] };
}

function join([low, high]: readonly [low: number, high: number]): number {
  return high * 2 ** 32 + low;
}

function word(features: bigint, index: number): number {
  return index > 1 ? 0 : Number((features >> (BigInt(index) * 32n)) & 0xffff_ffffn);
}
