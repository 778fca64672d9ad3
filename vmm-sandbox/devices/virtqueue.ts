/**
 * A split virtqueue, device side. VIRTIO 1.2 §2.7.
 *
 * ```
 * descriptor table   16 bytes each: address u64, length u32, flags u16, next u16
 * available ring     flags u16, idx u16, ring[size] u16, used_event u16
 * used ring          flags u16, idx u16, ring[size] {id u32, len u32}, avail_event u16
 * ```
 *
 * The guest is hostile. Rules kept here, so that no device has to: size and addresses are frozen
 * when the queue is made; every descriptor is read once; descriptors resolve to RAM only; a chain
 * has at most `size` descriptors and less than 4 GiB; the index may not run ahead by more than
 * `size`; a head that is in flight may not come again. A broken rule is a `QueueError`: the
 * transport then stops the device until the driver resets it.
 */
import type { GuestMemory } from "../machine/guest-memory.ts";

export interface QueueAddresses {
  readonly descriptors: number;
  readonly available: number;
  readonly used: number;
}

export interface QueueOptions extends QueueAddresses {
  /** A power of two up to 32768. */
  readonly size: number;
  readonly eventIdx: boolean;
  readonly indirect: boolean;
  /** Raises the used-buffer interrupt. */
  readonly interrupt: () => void;
  /** Asks for another `poll` of this queue soon: it has had its share for now. */
  readonly again: () => void;
  /** Where a restored queue goes on. */
  readonly state?: QueueState;
}

export interface QueueState {
  readonly nextAvailable: number;
  readonly nextUsed: number;
}

export interface Segment {
  readonly address: number;
  readonly sizeBytes: number;
}

/** One request: what the device reads, then what it writes. */
export interface DescriptorChain {
  readonly head: number;
  readonly readable: readonly Segment[];
  readonly writable: readonly Segment[];
  readonly readableBytes: number;
  readonly writableBytes: number;
}

/** The driver broke the rules of a queue. */
export class QueueError extends Error {
  override readonly name = "QueueError";
}

const DESCRIPTOR_BYTES = 16;
const F_NEXT = 1;
const F_WRITE = 2;
const F_INDIRECT = 4;
const NO_INTERRUPT = 1;
const NO_NOTIFY = 1;
/** §2.7.5.2: the descriptors of a chain describe at most 2^32 bytes. */
const MAX_CHAIN_BYTES = 2 ** 32;
/** Requests served before other work of the thread gets its turn. */
const MAX_BATCH = 1024;

export class Virtqueue {
  readonly size: number;
  readonly #memory: GuestMemory;
  readonly #options: QueueOptions;
  readonly #inFlight: Uint8Array;
  #nextAvailable: number;
  #nextUsed: number;
  /** Used index at the last decision about an interrupt. §2.7.7.2 */
  #decidedUsed: number;
  #open = true;

  /** Throws QueueError when the rings are misaligned or not in RAM. */
  constructor(memory: GuestMemory, options: QueueOptions) {
    checkLayout(memory, options);
    this.size = options.size;
    this.#memory = memory;
    this.#options = options;
    this.#inFlight = new Uint8Array(options.size);
    this.#nextAvailable = options.state?.nextAvailable ?? 0;
    this.#nextUsed = options.state?.nextUsed ?? 0;
    this.#decidedUsed = this.#nextUsed;
  }

  /** False after a reset: completions of older requests must not touch guest memory. */
  get open(): boolean {
    return this.#open;
  }

  close(): void {
    this.#open = false;
  }

  /** How many requests the driver has made available and nobody popped. */
  pending(): number {
    const index = this.#memory.loadU16(this.#options.available + 2);
    const count = (index - this.#nextAvailable) & 0xffff;
    if (count > this.size) {
      throw new QueueError(
        `Cannot follow the available index from ${this.#nextAvailable} to ${index}: expected at most ${this.size} new entries`,
      );
    }
    return count;
  }

  /** The next request, or undefined. Notifications stay off; see `poll`. */
  pop(): DescriptorChain | undefined {
    if (!this.#open || this.pending() === 0) return undefined;
    const slot = this.#nextAvailable & (this.size - 1);
    const head = this.#memory.readU16(this.#options.available + 4 + slot * 2);
    if (head >= this.size) {
      throw new QueueError(`Cannot use descriptor ${head}: expected less than ${this.size}`);
    }
    if (this.#inFlight[head] !== 0) {
      throw new QueueError(
        `Cannot use descriptor ${head} again: its first request is not finished`,
      );
    }
    const chain = this.#walk(head);
    this.#inFlight[head] = 1;
    this.#nextAvailable = (this.#nextAvailable + 1) & 0xffff;
    return chain;
  }

  /** Takes the last popped request back, because the device cannot serve it yet. */
  unpop(chain: DescriptorChain): void {
    this.#inFlight[chain.head] = 0;
    this.#nextAvailable = (this.#nextAvailable - 1) & 0xffff;
  }

  /** Asks to be notified of the next request; true when one came meanwhile. */
  expect(): boolean {
    this.#setNotifications(true);
    return this.#open && this.pending() > 0;
  }

  /**
   * Runs `serve` for each request until there is none or it returns false ("cannot go on yet",
   * the request is put back), with the driver's notifications off meanwhile, then signals once.
   */
  poll(serve: (chain: DescriptorChain) => boolean | undefined): void {
    this.#setNotifications(false);
    for (let served = 0; ; served++) {
      if (served === MAX_BATCH) {
        this.#options.again();
        break;
      }
      const chain = this.pop();
      if (chain === undefined) {
        // A request may have come between the last look and this: look again after enabling.
        this.#setNotifications(true);
        if (!this.#open || this.pending() === 0) break;
        this.#setNotifications(false);
        continue;
      }
      if (serve(chain) === false) {
        this.unpop(chain);
        this.#setNotifications(true);
        break;
      }
    }
    this.signal();
  }

  /** Returns a request to the driver; `writtenBytes` counts from the start of its writable part. */
  push(chain: DescriptorChain, writtenBytes: number): void {
    if (!this.#open) return;
    for (const { address, sizeBytes } of chain.writable) this.#memory.written(address, sizeBytes);
    const slot = this.#nextUsed & (this.size - 1);
    const entry = this.#options.used + 4 + slot * 8;
    this.#memory.writeU32(entry, chain.head);
    this.#memory.writeU32(entry + 4, Math.min(writtenBytes, chain.writableBytes));
    this.#inFlight[chain.head] = 0;
    this.#nextUsed = (this.#nextUsed + 1) & 0xffff;
    // Sequentially consistent: the entry above is visible before the index.
    this.#memory.storeU16(this.#options.used + 2, this.#nextUsed);
  }

  /** Interrupts the driver if it wants to hear of what was pushed since the last call. */
  signal(): void {
    if (!this.#open || this.#nextUsed === this.#decidedUsed) return;
    const before = this.#decidedUsed;
    this.#decidedUsed = this.#nextUsed;
    if (this.#wantsInterrupt(before)) this.#options.interrupt();
  }

  save(): QueueState {
    return { nextAvailable: this.#nextAvailable, nextUsed: this.#nextUsed };
  }

  /** §2.7.7.2: with EVENT_IDX, only when the used index passed `used_event`. */
  #wantsInterrupt(before: number): boolean {
    if (!this.#options.eventIdx) {
      return (this.#memory.loadU16(this.#options.available) & NO_INTERRUPT) === 0;
    }
    const event = this.#memory.loadU16(this.#options.available + 4 + this.size * 2);
    return ((this.#nextUsed - event - 1) & 0xffff) < ((this.#nextUsed - before) & 0xffff);
  }

  /** §2.7.10: asks the driver for notifications, or not to bother. */
  #setNotifications(wanted: boolean): void {
    if (!this.#open) return;
    if (this.#options.eventIdx) {
      // Not wanted: leave the event index behind; the driver passed it already.
      if (wanted) {
        this.#memory.storeU16(this.#options.used + 4 + this.size * 8, this.#nextAvailable);
      }
      return;
    }
    this.#memory.storeU16(this.#options.used, wanted ? 0 : NO_NOTIFY);
  }

  #walk(head: number): DescriptorChain {
    const readable: Segment[] = [];
    const writable: Segment[] = [];
    let readableBytes = 0;
    let writableBytes = 0;
    let table: Table = { address: this.#options.descriptors, count: this.size, indirect: false };
    let index = head;
    for (let left = this.size; ; ) {
      const descriptor = this.#read(table, index);
      if ((descriptor.flags & F_INDIRECT) !== 0) {
        table = this.#enter(table, descriptor);
        index = 0;
        continue;
      }
      if (left-- === 0) {
        throw new QueueError(`Cannot follow a chain of more than ${this.size} descriptors`);
      }
      const { address, sizeBytes } = descriptor;
      if (!this.#memory.contains(address, sizeBytes)) {
        throw new QueueError(
          `Cannot use a buffer of ${sizeBytes} bytes at 0x${address.toString(16)}: expected it inside RAM`,
        );
      }
      if ((descriptor.flags & F_WRITE) !== 0) {
        writable.push({ address, sizeBytes });
        writableBytes += sizeBytes;
      } else if (writable.length > 0) {
        // §2.7.4.2: readable parts come first.
        throw new QueueError("Cannot use a chain with a readable descriptor behind a writable one");
      } else {
        readable.push({ address, sizeBytes });
        readableBytes += sizeBytes;
      }
      if (readableBytes + writableBytes > MAX_CHAIN_BYTES) {
        throw new QueueError("Cannot use a chain of more than 4 GiB");
      }
      if ((descriptor.flags & F_NEXT) === 0) break;
      index = descriptor.next;
    }
    return { head, readable, writable, readableBytes, writableBytes };
  }

  /** §2.7.5.3 indirect descriptors: one table, not nested, nothing behind it in the main table. */
  #enter(table: Table, descriptor: Descriptor): Table {
    const { address, sizeBytes, flags } = descriptor;
    if (!this.#options.indirect) {
      throw new QueueError("Cannot use an indirect descriptor: the feature was not negotiated");
    }
    if (table.indirect || (flags & F_NEXT) !== 0) {
      throw new QueueError("Cannot use a nested or continued indirect descriptor");
    }
    if (
      sizeBytes === 0 ||
      sizeBytes % DESCRIPTOR_BYTES !== 0 ||
      !this.#memory.contains(address, sizeBytes)
    ) {
      throw new QueueError(
        `Cannot use an indirect table of ${sizeBytes} bytes at 0x${address.toString(16)}: expected a multiple of 16 inside RAM`,
      );
    }
    return { address, count: sizeBytes / DESCRIPTOR_BYTES, indirect: true };
  }

  /** Reads a descriptor's four words once; the guest may change them a moment later. */
  #read(table: Table, index: number): Descriptor {
    if (index >= table.count) {
      throw new QueueError(`Cannot use descriptor ${index}: expected less than ${table.count}`);
    }
    const at = table.address + index * DESCRIPTOR_BYTES;
    const low = this.#memory.readU32(at);
    const high = this.#memory.readU32(at + 4);
    const sizeBytes = this.#memory.readU32(at + 8);
    const tail = this.#memory.readU32(at + 12);
    return {
      // Above 2^52 the sum is inexact, but far outside any RAM too.
      address: high * 2 ** 32 + low,
      sizeBytes,
      flags: tail & 0xffff,
      next: tail >>> 16,
    };
  }
}

interface Table {
  readonly address: number;
  readonly count: number;
  readonly indirect: boolean;
}

interface Descriptor {
  readonly address: number;
  readonly sizeBytes: number;
  readonly flags: number;
  readonly next: number;
}

/** §2.7: alignment 16, 2 and 4; sizes 16n, 6+2n and 6+8n. */
function checkLayout(memory: GuestMemory, options: QueueOptions): void {
  const { size } = options;
  if (!Number.isInteger(size) || size < 1 || size > 32768 || (size & (size - 1)) !== 0) {
    throw new QueueError(
      `Cannot use a queue of ${size} entries: expected a power of two up to 32768`,
    );
  }
  const parts = [
    ["descriptor table", options.descriptors, 16, 16 * size],
    ["available ring", options.available, 2, 6 + 2 * size],
    ["used ring", options.used, 4, 6 + 8 * size],
  ] as const;
  for (const [what, address, alignment, sizeBytes] of parts) {
    if (address % alignment !== 0 || !memory.contains(address, sizeBytes)) {
      throw new QueueError(
        `Cannot use the ${what} at 0x${address.toString(16)}: expected ${sizeBytes} bytes of RAM aligned to ${alignment}`,
      );
    }
  }
}
