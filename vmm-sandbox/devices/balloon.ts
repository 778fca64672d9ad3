/**
 * virtio-balloon: memory that the guest does not use goes back to the host. VIRTIO 1.2 §5.5.
 *
 * Two ways: the host sets a target and the guest hands pages over until it is reached (inflate),
 * or the guest reports its free pages on its own from time to time (page reporting). Either way
 * the pages' content is given up; touched again, they are zeros.
 *
 * ```
 * queues   0 inflate, 1 deflate: arrays of u32 page numbers    2 reporting: writable free ranges
 * config   num_pages u32 (target), actual u32, both in pages of 4 KiB
 * ```
 */
import { gather } from "./chain-bytes.ts";
import { type Driver, deviceTypes, type VirtioDevice } from "./virtio-device.ts";
import type { DescriptorChain } from "./virtqueue.ts";

/** Gives the host pages of guest RAM back; their content is lost. */
export type Discard = (guestAddress: number, sizeBytes: number) => void;

const PAGE_BYTES = 4096;
const F_DEFLATE_ON_OOM = 1n << 2n;
const F_PAGE_REPORTING = 1n << 5n;
const [INFLATE, DEFLATE, REPORTING] = [0, 1, 2];
/** Linux sends 256 page numbers at once. */
const MAX_ARRAY_BYTES = 4 * 4096;
const ACTUAL_OFFSET = 4;

export class Balloon implements VirtioDevice {
  readonly name = "balloon";
  readonly type = deviceTypes.balloon;
  /** Without statistics and hints, reporting is queue 2: the driver numbers what there is. */
  readonly features = F_DEFLATE_ON_OOM | F_PAGE_REPORTING;
  readonly queueSizes = [128, 128, 128];
  readonly config = new Uint8Array(8);
  /** Bytes given back so far, counted again when they were used in between. */
  discardedBytes = 0;
  readonly #discard: Discard;
  #driver: Driver | undefined = undefined;

  constructor(discard: Discard) {
    this.#discard = discard;
  }

  /** How much the guest should hand over in all. */
  setTarget(sizeBytes: number): void {
    new DataView(this.config.buffer).setUint32(0, Math.floor(sizeBytes / PAGE_BYTES), true);
    this.#driver?.configChanged();
  }

  /** How much it has handed over, as it says. */
  get actualBytes(): number {
    return new DataView(this.config.buffer).getUint32(ACTUAL_OFFSET, true) * PAGE_BYTES;
  }

  writeConfig(offset: number, bytes: Uint8Array): void {
    if (offset >= ACTUAL_OFFSET) this.config.set(bytes, offset);
  }

  activate(driver: Driver): void {
    this.#driver = driver;
  }

  reset(): void {
    this.#driver = undefined;
    this.config.fill(0, ACTUAL_OFFSET);
  }

  save(): unknown {
    return { config: this.config.slice() };
  }

  restore(state: unknown): void {
    // SAFE: `save` made it.
    this.config.set((state as { config: Uint8Array }).config);
  }

  notify(index: number): void {
    const driver = this.#driver;
    const queue = driver?.queues[index];
    if (driver === undefined || queue === undefined) return;
    queue.poll((chain) => {
      if (index === INFLATE) this.#inflate(driver, chain);
      else if (index === REPORTING) this.#report(driver, chain);
      else if (index !== DEFLATE) return false;
      queue.push(chain, 0);
      return true;
    });
  }

  /** Neighbouring pages are given back together. */
  #inflate(driver: Driver, chain: DescriptorChain): void {
    const bytes = gather(driver.memory, chain.readable, MAX_ARRAY_BYTES);
    const view = new DataView(bytes.buffer);
    const pages = Array.from({ length: Math.floor(bytes.length / 4) }, (_, i) =>
      view.getUint32(i * 4, true),
    );
    pages.sort((a, b) => a - b);
    for (let i = 0; i < pages.length; ) {
      const first = pages[i] ?? 0;
      let count = 1;
      while (pages[i + count] === first + count) count++;
      this.#giveBack(driver, first * PAGE_BYTES, count * PAGE_BYTES);
      i += count;
    }
  }

  #report(driver: Driver, chain: DescriptorChain): void {
    for (const { address, sizeBytes } of chain.writable) this.#giveBack(driver, address, sizeBytes);
  }

  #giveBack(driver: Driver, address: number, sizeBytes: number): void {
    const pages = address % PAGE_BYTES === 0 && sizeBytes % PAGE_BYTES === 0;
    // A range that is no RAM is the guest's mistake and nobody's loss.
    if (!pages || sizeBytes === 0 || !driver.memory.contains(address, sizeBytes)) return;
    this.#discard(address, sizeBytes);
    driver.memory.written(address, sizeBytes);
    this.discardedBytes += sizeBytes;
  }
}
