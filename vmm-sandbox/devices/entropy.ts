/** virtio-entropy: random bytes for the guest. VIRTIO 1.2 §5.4. */
import { randomFillSync } from "node:crypto";
import { scatter } from "./chain-bytes.ts";
import { type Driver, deviceTypes, type VirtioDevice } from "./virtio-device.ts";

/** A request may be of any size; nobody gets more than this at once. */
const MAX_REQUEST_BYTES = 64 * 1024;

export class Entropy implements VirtioDevice {
  readonly name = "entropy";
  readonly type = deviceTypes.entropy;
  readonly features = 0n;
  readonly queueSizes = [64];
  readonly config = new Uint8Array(0);
  #driver: Driver | undefined = undefined;

  activate(driver: Driver): void {
    this.#driver = driver;
  }

  reset(): void {
    this.#driver = undefined;
  }

  notify(): void {
    const driver = this.#driver;
    const queue = driver?.queues[0];
    if (driver === undefined || queue === undefined) return;
    queue.poll((chain) => {
      const bytes = new Uint8Array(Math.min(chain.writableBytes, MAX_REQUEST_BYTES));
      randomFillSync(bytes);
      queue.push(chain, scatter(driver.memory, chain.writable, bytes));
      return true;
    });
  }
}
