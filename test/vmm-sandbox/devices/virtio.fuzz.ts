/**
 * A hostile driver: random registers, descriptors and bells, most of them nearly right, against a
 * device. Structure-aware, from a seed, so that a failure can be repeated.
 *
 * What must hold: nothing is thrown, and a red zone that no descriptor offers for writing keeps
 * its bytes.
 */
import assert from "node:assert/strict";
import type { VirtioDevice } from "../../../vmm-sandbox/devices/virtio-device.ts";
import { VirtioMmio } from "../../../vmm-sandbox/devices/virtio-mmio.ts";
import { registers } from "../../../vmm-sandbox/devices/virtio-registers.ts";
import { GuestMemory } from "../../../vmm-sandbox/machine/index.ts";

const MEMORY_BYTES = 0x4_0000;
const RINGS = 0x1000;
const RING_STRIDE = 0x3000;
/** Indirect tables: never offered for writing, or a device's own data would become descriptors. */
const TABLES = 0xc000;
const DATA = 0x1_0000;
const DATA_END = 0x3_0000;
const RED_ZONE = DATA_END;
const RED = 0xaa;

/** Writes what a real driver of this device might put into a request. */
export type Forge = (bytes: Uint8Array, random: Random) => void;

export interface Subject {
  readonly make: () => VirtioDevice;
  readonly forge: Forge;
}

export class Random {
  #state: number;
  constructor(seed: number) {
    this.#state = (seed * 2654435761) | 1;
  }
  below(limit: number): number {
    this.#state ^= this.#state << 13;
    this.#state ^= this.#state >>> 17;
    this.#state ^= this.#state << 5;
    return (this.#state >>> 0) % limit;
  }
  pick<T>(choices: readonly [T, ...T[]]): T {
    return choices[this.below(choices.length)] ?? choices[0];
  }
  chance(percent: number): boolean {
    return this.below(100) < percent;
  }
}

export class HostileDriver {
  readonly #memory = GuestMemory.over(new ArrayBuffer(MEMORY_BYTES), MEMORY_BYTES);
  readonly #random: Random;
  readonly #subject: Subject;
  readonly #redZone: Uint8Array;
  /** Requests that the device finished: a driver that reaches nothing proves nothing. */
  served = 0;
  #transport: VirtioMmio;
  #sizes: number[] = [];
  #available: number[] = [];

  constructor(subject: Subject, seed: number) {
    this.#random = new Random(seed);
    this.#subject = subject;
    this.#memory.fill(RED_ZONE, MEMORY_BYTES - RED_ZONE, RED);
    this.#redZone = this.#memory.copyOut(RED_ZONE, MEMORY_BYTES - RED_ZONE);
    this.#transport = this.#plug();
    this.#start();
  }

  /** One action of the driver, and the checks. */
  step(): void {
    const what = this.#random.below(100);
    if (what < 50) this.#request();
    else if (what < 80) this.#ring();
    else if (what < 88) this.#poke();
    else if (what < 92) this.#scribble();
    else if (what < 97) this.#start();
    else if (what < 98) this.#moveOn();
    else this.#transport.read(this.#random.below(0x200), this.#random.pick([1, 2, 4]));
    const now = this.#memory.window(RED_ZONE, this.#redZone.length);
    assert.ok(
      Buffer.compare(now, this.#redZone) === 0,
      "the device wrote where nothing was offered",
    );
  }

  #plug(): VirtioMmio {
    return new VirtioMmio(this.#subject.make(), this.#memory, { gsi: 5, trigger() {} });
  }

  #set(register: number, value: number): void {
    this.#transport.write(register, 4, value >>> 0);
  }

  /** The whole way to DRIVER_OK, with most offered features. */
  #start(): void {
    const random = this.#random;
    this.#memory.fill(RINGS, DATA - RINGS, 0);
    for (const status of [0, 1, 3]) this.#set(registers.Status, status);
    for (const half of [0, 1]) {
      this.#set(registers.DeviceFeaturesSel, half);
      this.#set(registers.DriverFeaturesSel, half);
      const offered = this.#transport.read(registers.DeviceFeatures, 4);
      // Without indirect descriptors or event index now and then.
      const dropped =
        half === 0 && random.chance(30) ? random.pick([1 << 28, 1 << 29, 3 << 28]) : 0;
      this.#set(registers.DriverFeatures, offered & ~dropped);
    }
    this.#set(registers.Status, 11);
    this.#sizes = this.#transport.device.queueSizes.map(() => random.pick([1, 2, 8, 16, 64]));
    this.#available = this.#sizes.map(() => 0);
    this.#sizes.forEach((size, queue) => {
      const base = this.#rings(queue);
      this.#set(registers.QueueSel, queue);
      this.#set(registers.QueueNum, random.chance(3) ? random.below(70_000) : size);
      this.#set(registers.QueueDescLow, base);
      this.#set(registers.QueueDriverLow, random.chance(2) ? this.#address() : base + 0x1000);
      this.#set(registers.QueueDeviceLow, base + 0x2000);
      this.#set(registers.QueueReady, 1);
    });
    this.#set(registers.Status, 15);
  }

  #rings(queue: number): number {
    return RINGS + queue * RING_STRIDE;
  }

  #address(): number {
    const random = this.#random;
    if (random.chance(97)) return DATA + random.below(DATA_END - DATA);
    return random.pick([0xd000_0050, MEMORY_BYTES - 1, MEMORY_BYTES, 0xffff_ffff, 2 ** 40, 0]);
  }

  #length(): number {
    return this.#random.pick([
      0,
      1,
      12,
      16,
      44,
      60,
      512,
      513,
      1024,
      4096,
      this.#random.below(9000),
      this.#random.chance(5) ? 0xffff_ffff : 4140,
    ]);
  }

  /** A chain, perhaps indirect, perhaps broken; made available, perhaps wrongly. */
  #request(): void {
    const random = this.#random;
    const queue = random.below(this.#sizes.length);
    const size = this.#sizes[queue] ?? 1;
    const table = this.#rings(queue);
    const head = random.chance(98) ? random.below(size) : random.below(65536);
    if (random.chance(25)) {
      const indirect = TABLES + random.below(0x3f0) * 16;
      const count = 1 + random.below(6);
      this.#chain(indirect, 0, count, count);
      this.#describe(
        table,
        head % size,
        indirect,
        count * 16 + (random.chance(5) ? 1 : 0),
        random.pick([4, 4, 4, 4, 5, 6]),
        0,
      );
    } else this.#chain(table, head % size, 1 + random.below(Math.min(5, size)), size);
    const available = this.#rings(queue) + 0x1000;
    const index = this.#available[queue] ?? 0;
    this.#memory.writeU16(available + 4 + (index % size) * 2, head);
    this.#available[queue] = (index + (random.chance(99) ? 1 : random.below(65536))) & 0xffff;
    this.#memory.storeU16(available + 2, this.#available[queue] ?? 0);
    if (random.chance(20)) this.#memory.storeU16(available + 4 + size * 2, random.below(65536));
  }

  #chain(table: number, head: number, count: number, size: number): void {
    const random = this.#random;
    const readable = random.below(count + 1);
    for (let i = 0; i < count; i++) {
      const index = (head + i) % size;
      const wanted = i >= readable !== random.chance(2);
      const nested = random.chance(1);
      const address = nested ? TABLES + random.below(0x3f0) * 16 : this.#address();
      // Nothing of the red zone, and no table or ring, is ever offered for writing.
      const write = wanted && !nested && (address >= DATA || address === 0) && !inRedZone(address);
      const length = nested ? 32 : this.#length();
      const end = address < RINGS ? RINGS : DATA_END;
      const kept = address < end && address + length > end ? end - address : length;
      if (!write) this.#forge(address, kept);
      const flags = (write ? 2 : 0) | (i < count - 1 ? 1 : 0) | (nested ? 4 : 0);
      this.#describe(
        table,
        index,
        address,
        kept,
        flags,
        random.chance(98) ? (head + i + 1) % size : random.below(65536),
      );
    }
  }

  #forge(address: number, length: number): void {
    if (address < DATA || address + length > DATA_END) return;
    const bytes = new Uint8Array(Math.min(length, 64));
    this.#subject.forge(bytes, this.#random);
    this.#memory.copyIn(address, bytes);
  }

  #describe(
    table: number,
    index: number,
    address: number,
    length: number,
    flags: number,
    next: number,
  ): void {
    const at = table + index * 16;
    this.#memory.writeU64(at, BigInt(address));
    this.#memory.writeU32(at + 8, length);
    this.#memory.writeU16(at + 12, flags);
    this.#memory.writeU16(at + 14, next);
  }

  #ring(): void {
    const random = this.#random;
    const queue = random.chance(98) ? random.below(this.#sizes.length) : random.below(0x1_0000);
    const used = this.#rings(queue % this.#sizes.length) + 0x2000 + 2;
    const before = this.#memory.readU16(used);
    this.#set(registers.QueueNotify, queue);
    if (this.#memory.readU16(used) !== before) this.served++;
  }

  /** Any register, any width, interesting values. */
  #poke(): void {
    const random = this.#random;
    const offset = random.chance(70) ? random.pick(offsets) : random.below(0x300);
    const value = random.pick([0, 1, 2, 3, 11, 15, 64, 128, 0xffff_ffff, random.below(2 ** 31)]);
    this.#transport.write(offset, random.pick([4, 4, 4, 2, 1]), value);
  }

  /** Changes available rings and chain links under the device, as another vCPU would. */
  #scribble(): void {
    const random = this.#random;
    const base = this.#rings(random.below(this.#sizes.length));
    if (random.chance(50)) {
      this.#memory.writeU8(base + 0x1000 + random.below(0x100), random.below(256));
      return;
    }
    const at = base + random.below(64) * 16;
    if (random.chance(50)) this.#memory.writeU8(at + 12, random.below(4));
    else this.#memory.writeU16(at + 14, random.below(70));
  }

  /** Save and restore in a new device. */
  #moveOn(): void {
    const state = structuredClone(this.#transport.save());
    this.#transport.write(registers.Status, 4, 0);
    this.#transport = this.#plug();
    this.#transport.restore(state);
  }
}

function inRedZone(address: number): boolean {
  return address >= RED_ZONE && address < MEMORY_BYTES;
}

const [first = 0, ...rest] = Object.values(registers);
const offsets: readonly [number, ...number[]] = [first, ...rest];
