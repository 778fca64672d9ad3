/**
 * virtio-console, one port: hvc0. VIRTIO 1.2 §5.3.
 *
 * Output goes to `onOutput` as it comes. Input waits in a bounded list until the driver offers
 * buffers; `input` says whether there is room, so that the source can stop reading.
 */
import { gather, scatter } from "./chain-bytes.ts";
import { type Driver, deviceTypes, type VirtioDevice } from "./virtio-device.ts";

const F_SIZE = 1n << 0n;
const F_EMERG_WRITE = 1n << 2n;
const RECEIVE = 0;
const TRANSMIT = 1;
/** Input kept for a guest that does not read. */
const MAX_WAITING_BYTES = 64 * 1024;
/** Copied at once from a guest's buffer, whatever its size. */
const MAX_COPY_BYTES = 64 * 1024;

export class Console implements VirtioDevice {
  readonly name = "console";
  readonly type = deviceTypes.console;
  readonly features = F_SIZE | F_EMERG_WRITE;
  readonly queueSizes = [64, 64];
  /** cols u16, rows u16, max_nr_ports u32, emerg_wr u32. */
  readonly config = new Uint8Array(12);
  readonly #onOutput: (bytes: Uint8Array) => void;
  readonly #waiting: Uint8Array[] = [];
  #waitingBytes = 0;
  #driver: Driver | undefined = undefined;
  /** Called when `input` would take bytes again. */
  onDrain: (() => void) | undefined = undefined;

  constructor(onOutput: (bytes: Uint8Array) => void) {
    this.#onOutput = onOutput;
    this.resize(80, 24);
  }

  /** Bytes for the guest to read. False: enough for now, wait for `onDrain`. */
  input(bytes: Uint8Array): boolean {
    if (bytes.length > 0) {
      this.#waiting.push(bytes);
      this.#waitingBytes += bytes.length;
      this.#deliver();
    }
    return this.#waitingBytes < MAX_WAITING_BYTES;
  }

  resize(columns: number, rows: number): void {
    const view = new DataView(this.config.buffer);
    view.setUint16(0, columns, true);
    view.setUint16(2, rows, true);
    this.#driver?.configChanged();
  }

  activate(driver: Driver): void {
    this.#driver = driver;
  }

  reset(): void {
    this.#driver = undefined;
  }

  /** §5.3.4: emerg_wr prints one character even before the queues exist. */
  writeConfig(offset: number, bytes: Uint8Array): void {
    if (offset === 8) this.#onOutput(bytes.slice(0, 1));
  }

  notify(queue: number): void {
    if (queue === TRANSMIT) this.#transmit();
    else this.#deliver();
  }

  #transmit(): void {
    const driver = this.#driver;
    const queue = driver?.queues[TRANSMIT];
    if (driver === undefined || queue === undefined) return;
    queue.poll((chain) => {
      for (let at = 0; at < chain.readableBytes; at += MAX_COPY_BYTES) {
        this.#onOutput(gather(driver.memory, chain.readable, MAX_COPY_BYTES, at));
      }
      queue.push(chain, 0);
      return true;
    });
  }

  #deliver(): void {
    const driver = this.#driver;
    const queue = driver?.queues[RECEIVE];
    if (driver === undefined || queue === undefined) return;
    const wasFull = this.#waitingBytes >= MAX_WAITING_BYTES;
    driver.guard(() =>
      queue.poll((chain) => {
        const bytes = this.#waiting[0];
        if (bytes === undefined) return false;
        const written = scatter(driver.memory, chain.writable, bytes);
        this.#waitingBytes -= written;
        if (written === bytes.length) this.#waiting.shift();
        else this.#waiting[0] = bytes.subarray(written);
        queue.push(chain, written);
        return true;
      }),
    );
    if (wasFull && this.#waitingBytes < MAX_WAITING_BYTES) this.onDrain?.();
  }
}
