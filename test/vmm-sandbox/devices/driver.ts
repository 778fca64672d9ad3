/**
 * A driver for tests: what a guest's virtio-mmio driver does, on plain memory, able to lie.
 */

import type { VirtioDevice } from "../../../vmm-sandbox/devices/virtio-device.ts";
import { VirtioMmio } from "../../../vmm-sandbox/devices/virtio-mmio.ts";
import { registers } from "../../../vmm-sandbox/devices/virtio-registers.ts";
import type { InterruptLine } from "../../../vmm-sandbox/machine/index.ts";
import { GuestMemory } from "../../../vmm-sandbox/machine/index.ts";

export interface Buffer {
  readonly address: number;
  readonly sizeBytes: number;
  readonly write?: boolean;
}

export const MEMORY_BYTES = 0x40_0000;
/** Queues are laid out from here, one page of each part per queue; data is the test's from 1 MiB. */
const RINGS = 0x1000;

export class TestDriver {
  readonly memory: GuestMemory;
  readonly transport: VirtioMmio;
  interrupts = 0;
  readonly queueSize: number;
  readonly #free: number[] = [];
  readonly #seenUsed: number[] = [];

  constructor(
    device: VirtioDevice,
    options: { queueSize?: number; buffer?: ArrayBufferLike } = {},
  ) {
    this.queueSize = options.queueSize ?? 16;
    this.memory = GuestMemory.over(options.buffer ?? new ArrayBuffer(MEMORY_BYTES), MEMORY_BYTES);
    const line: InterruptLine = { gsi: 5, trigger: () => void this.interrupts++ };
    this.transport = new VirtioMmio(device, this.memory, line);
  }

  get(register: keyof typeof registers): number {
    return this.transport.read(registers[register], 4);
  }

  set(register: keyof typeof registers, value: number): void {
    this.transport.write(registers[register], 4, value >>> 0);
  }

  /** VIRTIO 1.2 §3.1.1, accepting everything offered except `without`. */
  start(without = 0n): this {
    this.set("Status", 0);
    this.set("Status", 1);
    this.set("Status", 3);
    let offered = 0n;
    for (const half of [0, 1]) {
      this.set("DeviceFeaturesSel", half);
      offered |= BigInt(this.get("DeviceFeatures")) << BigInt(32 * half);
    }
    const wanted = offered & ~without;
    for (const half of [0, 1]) {
      this.set("DriverFeaturesSel", half);
      this.set("DriverFeatures", Number((wanted >> BigInt(32 * half)) & 0xffff_ffffn));
    }
    this.set("Status", 11);
    this.transport.device.queueSizes.forEach((_, queue) => {
      this.set("QueueSel", queue);
      this.set("QueueNum", this.queueSize);
      this.set("QueueDescLow", this.rings(queue).descriptors);
      this.set("QueueDriverLow", this.rings(queue).available);
      this.set("QueueDeviceLow", this.rings(queue).used);
      this.set("QueueReady", 1);
      this.#free[queue] = 0;
      this.#seenUsed[queue] = 0;
    });
    this.set("Status", 15);
    return this;
  }

  rings(queue: number) {
    const base = RINGS + queue * 0x6000;
    return { descriptors: base, available: base + 0x3000, used: base + 0x4000 };
  }

  writeDescriptor(
    table: number,
    index: number,
    address: number,
    sizeBytes: number,
    flags: number,
    next: number,
  ): void {
    const at = table + index * 16;
    this.memory.writeU64(at, BigInt(address));
    this.memory.writeU32(at + 8, sizeBytes);
    this.memory.writeU16(at + 12, flags);
    this.memory.writeU16(at + 14, next);
  }

  /** Makes a chain available in the next free descriptors; returns its head. */
  add(queue: number, buffers: readonly Buffer[]): number {
    const start = this.#free[queue] ?? 0;
    buffers.forEach((buffer, i) => {
      const index = (start + i) % this.queueSize;
      const more = i < buffers.length - 1;
      const flags = (buffer.write === true ? 2 : 0) | (more ? 1 : 0);
      this.writeDescriptor(
        this.rings(queue).descriptors,
        index,
        buffer.address,
        buffer.sizeBytes,
        flags,
        (index + 1) % this.queueSize,
      );
    });
    this.#free[queue] = (start + buffers.length) % this.queueSize;
    this.publish(queue, start);
    return start;
  }

  publish(queue: number, head: number): void {
    const { available } = this.rings(queue);
    const index = this.memory.loadU16(available + 2);
    this.memory.writeU16(available + 4 + (index % this.queueSize) * 2, head);
    this.memory.storeU16(available + 2, (index + 1) & 0xffff);
  }

  kick(queue: number): void {
    this.set("QueueNotify", queue);
  }

  /** Used entries that came since the last call. */
  used(queue: number): { id: number; length: number }[] {
    const { used } = this.rings(queue);
    const entries = [];
    const index = this.memory.loadU16(used + 2);
    for (let at = this.#seenUsed[queue] ?? 0; at !== index; at = (at + 1) & 0xffff) {
      const entry = used + 4 + (at % this.queueSize) * 8;
      entries.push({ id: this.memory.readU32(entry), length: this.memory.readU32(entry + 4) });
    }
    this.#seenUsed[queue] = index;
    return entries;
  }
}
