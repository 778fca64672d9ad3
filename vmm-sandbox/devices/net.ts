/**
 * virtio-net without offloads: whole Ethernet frames, one chain each. VIRTIO 1.2 §5.1.
 *
 * ```
 * chain   12-byte header (zeros both ways: no checksums left open, no segmentation), then the frame
 * queues  0 receive, 1 transmit
 * ```
 * While the guest offers no buffer, the other end is asked to wait: with an MTU of 65520 Linux offers
 * a dozen, and what is dropped then is sent again after seconds only. An end that cannot wait loses
 * frames, as a switch would.
 */
import { gather, scatter } from "./chain-bytes.ts";
import { type Driver, deviceTypes, type VirtioDevice } from "./virtio-device.ts";
import type { Virtqueue } from "./virtqueue.ts";

/** The other end of the guest's cable. */
export interface NetBackend {
  /** A frame from the guest; the bytes are the backend's to keep. */
  send(frame: Uint8Array): void;
  /** Set by the device: takes frames for the guest. */
  onFrame: ((frame: Uint8Array) => void) | undefined;
  /** No further frame until `resume`. */
  pause?(): void;
  resume?(): void;
}

const HEADER_BYTES = 12;
const NUM_BUFFERS_OFFSET = 10;
const F_MAC = 1n << 5n;
const F_STATUS = 1n << 16n;
const F_MTU = 1n << 3n;
const LINK_UP = 1;
const [RECEIVE, TRANSMIT] = [0, 1];
/** Ethernet header and a VLAN tag on top of the MTU. */
const FRAME_OVERHEAD = 18;
const MIN_FRAME_BYTES = 14;

export interface NetOptions {
  readonly mac: Uint8Array;
  /** Largest payload of a frame, as the other end has it. */
  readonly mtu?: number;
}

export class Net implements VirtioDevice {
  readonly name = "net";
  readonly type = deviceTypes.net;
  readonly features = F_MAC | F_STATUS | F_MTU;
  readonly queueSizes = [256, 256];
  /** mac[6], status u16, max_virtqueue_pairs u16, mtu u16. */
  readonly config = new Uint8Array(12);
  /** Frames for the guest that found no buffer, and frames of the guest that were none. */
  dropped = 0;
  readonly #backend: NetBackend;
  readonly #maxFrame: number;
  #driver: Driver | undefined = undefined;
  /** The frame at which the other end was asked to wait. */
  #held: Uint8Array | undefined = undefined;

  constructor(backend: NetBackend, { mac, mtu = 1500 }: NetOptions) {
    if (mac.length !== 6 || ((mac[0] ?? 1) & 1) !== 0) {
      throw new RangeError("Cannot use this MAC address: expected 6 bytes of a single station");
    }
    if (!Number.isInteger(mtu) || mtu < 68 || mtu > 65535) {
      throw new RangeError(`Cannot use an MTU of ${mtu}: expected 68 to 65535`);
    }
    this.#backend = backend;
    this.#maxFrame = mtu + FRAME_OVERHEAD;
    this.config.set(mac);
    const view = new DataView(this.config.buffer);
    view.setUint16(6, LINK_UP, true);
    view.setUint16(10, mtu, true);
    backend.onFrame = (frame) => this.#receive(frame);
  }

  activate(driver: Driver): void {
    this.#driver = driver;
  }

  reset(): void {
    this.#driver = undefined;
    this.#letGo();
  }

  notify(queue: number): void {
    if (queue === TRANSMIT) this.#transmit();
    else this.#retry();
  }

  #transmit(): void {
    const driver = this.#driver;
    const queue = driver?.queues[TRANSMIT];
    if (driver === undefined || queue === undefined) return;
    queue.poll((chain) => {
      const length = chain.readableBytes - HEADER_BYTES;
      if (length < MIN_FRAME_BYTES || length > this.#maxFrame) this.dropped++;
      else this.#backend.send(gather(driver.memory, chain.readable, length, HEADER_BYTES));
      queue.push(chain, 0);
      return true;
    });
  }

  #receive(frame: Uint8Array): void {
    const driver = this.#driver;
    const queue = driver?.queues[RECEIVE];
    const taken = driver !== undefined && queue !== undefined && frame.length <= this.#maxFrame;
    if (!taken || this.#held !== undefined) {
      this.dropped++;
      return;
    }
    driver.guard(() => this.#deliver(driver, queue, frame));
  }

  #deliver(driver: Driver, queue: Virtqueue, frame: Uint8Array): void {
    let chain = queue.pop();
    if (chain === undefined && queue.expect()) chain = queue.pop();
    if (chain === undefined) {
      this.#hold(frame);
      return;
    }
    if (chain.writableBytes < HEADER_BYTES + frame.length) {
      this.dropped++;
      queue.unpop(chain);
      return;
    }
    const header = new Uint8Array(HEADER_BYTES);
    header[NUM_BUFFERS_OFFSET] = 1;
    scatter(driver.memory, chain.writable, header);
    scatter(driver.memory, chain.writable, frame, HEADER_BYTES);
    queue.push(chain, HEADER_BYTES + frame.length);
    queue.signal();
  }

  #hold(frame: Uint8Array): void {
    if (this.#backend.pause === undefined) {
      this.dropped++;
      return;
    }
    this.#held = frame;
    this.#backend.pause();
  }

  /** The guest has offered buffers. */
  #retry(): void {
    const frame = this.#held;
    if (frame === undefined) return;
    this.#held = undefined;
    this.#receive(frame);
    if (this.#held === undefined) this.#backend.resume?.();
  }

  #letGo(): void {
    if (this.#held === undefined) return;
    this.#held = undefined;
    this.#backend.resume?.();
  }
}
