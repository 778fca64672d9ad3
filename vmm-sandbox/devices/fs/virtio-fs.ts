/**
 * virtio-fs. VIRTIO 1.2 §5.11: queue 0 carries requests that must not wait (FORGET, INTERRUPT), the
 * others everything else; the device-readable part of a chain is a FUSE request, the writable part
 * takes its reply.
 */
import { gather, scatter } from "../chain-bytes.ts";
import { type Driver, deviceTypes, type VirtioDevice } from "../virtio-device.ts";
import type { DescriptorChain, Virtqueue } from "../virtqueue.ts";
import { MAX_TRANSFER_BYTES } from "./files.ts";
import { FuseServer, type FuseServerOptions } from "./server.ts";

const TAG_BYTES = 36;
const REQUEST_QUEUES = 1;
/** The largest request: a write of a megabyte with its headers. */
const MAX_REQUEST_BYTES = MAX_TRANSFER_BYTES + 4096;

export class VirtioFs implements VirtioDevice, Disposable {
  readonly name: string;
  readonly type = deviceTypes.fs;
  readonly features = 0n;
  /** A megabyte in single pages, and its headers. */
  readonly queueSizes = [128, 512];
  readonly config = new Uint8Array(TAG_BYTES + 4);
  readonly #server: FuseServer;
  #driver: Driver | undefined = undefined;

  /** `tag` names the file system for mount(8) in the guest, at most 36 bytes. */
  constructor(tag: string, options: FuseServerOptions) {
    const bytes = Buffer.from(tag);
    if (bytes.length === 0 || bytes.length > TAG_BYTES)
      throw new RangeError(`Expected a tag of 1 to ${TAG_BYTES} bytes, got "${tag}"`);
    this.name = tag;
    this.config.set(bytes);
    new DataView(this.config.buffer).setUint32(TAG_BYTES, REQUEST_QUEUES, true);
    this.#server = new FuseServer(options);
  }

  activate(driver: Driver): void {
    this.#driver = driver;
  }

  reset(): void {
    this.#driver = undefined;
    this.#server.reset();
  }

  notify(index: number): void {
    const driver = this.#driver;
    const queue = driver?.queues[index];
    if (driver === undefined || queue === undefined) return;
    queue.poll((chain) => {
      this.#serve(driver, queue, chain);
      return true;
    });
  }

  [Symbol.dispose](): void {
    this.#server[Symbol.dispose]();
  }

  #serve(driver: Driver, queue: Virtqueue, chain: DescriptorChain): void {
    // A copy: the guest may go on writing to its request while we look at it.
    const request = gather(driver.memory, chain.readable, MAX_REQUEST_BYTES);
    const reply = this.#server.handle(request);
    const fits = reply !== undefined && reply.length <= chain.writableBytes;
    queue.push(chain, fits ? scatter(driver.memory, chain.writable, reply) : 0);
  }
}
