/**
 * virtio-blk. VIRTIO 1.2 §5.2.
 *
 * ```
 * request   readable: type u32, reserved u32, sector u64, data to write…
 *           writable: …data read, status u8
 * ```
 * Host errors become VIRTIO_BLK_S_IOERR; what the guest asks wrongly does too, and never reaches
 * the backing file.
 */
import { gather, scatter, windows } from "./chain-bytes.ts";
import { type Driver, deviceTypes, type VirtioDevice } from "./virtio-device.ts";
import type { DescriptorChain, Virtqueue } from "./virtqueue.ts";

/** Where the bytes are. Offsets and lengths are checked against `sizeBytes` before any call. */
export interface BlockBackend {
  readonly sizeBytes: number;
  readonly readOnly: boolean;
  /** Fills all of the buffers from `position` on; throws on failure. */
  read(position: number, buffers: Uint8Array[]): void;
  write(position: number, buffers: Uint8Array[]): void;
  /** Makes earlier writes durable. */
  flush(): void;
  /** Reads as zeros afterwards; may give the space back. */
  zero?(position: number, sizeBytes: number): void;
}

const SECTOR = 512;
const HEADER_BYTES = 16;
const ID_BYTES = 20;
const RANGE_BYTES = 16;
/** Per request, whatever its descriptors say; Linux is told in seg_max. */
const MAX_SEGMENTS = 126;
const MAX_DATA_BYTES = 64 * 2 ** 20;
const MAX_RANGE_SECTORS = 2 ** 31 - 1;

const F_SEG_MAX = 1n << 2n;
const F_RO = 1n << 5n;
const F_FLUSH = 1n << 9n;
const F_DISCARD = 1n << 13n;
const F_WRITE_ZEROES = 1n << 14n;

const types = { IN: 0, OUT: 1, FLUSH: 4, GET_ID: 8, DISCARD: 11, WRITE_ZEROES: 13 } as const;
const results = { OK: 0, IOERR: 1, UNSUPP: 2 } as const;

export class Block implements VirtioDevice {
  readonly name: string;
  readonly type = deviceTypes.block;
  readonly features: bigint;
  readonly queueSizes = [128];
  readonly config = new Uint8Array(60);
  /** Requests that failed, and the last reason: for reports, never shown to the guest. */
  failures = 0;
  lastFailure: unknown = undefined;
  readonly #backend: BlockBackend;
  /** 0 while the drive is empty. */
  #sizeBytes = 0;
  #driver: Driver | undefined = undefined;

  /**
   * `id`: what the guest sees as the disk's serial, at most 20 bytes of ASCII. An empty drive has no
   * sectors until `insert`.
   */
  constructor(backend: BlockBackend, id: string, { empty = false } = {}) {
    this.#backend = backend;
    this.name = id;
    const writable = F_FLUSH | (backend.zero === undefined ? 0n : F_DISCARD | F_WRITE_ZEROES);
    this.features = F_SEG_MAX | (backend.readOnly ? F_RO : writable);
    const view = new DataView(this.config.buffer);
    view.setUint32(12, MAX_SEGMENTS, true); // seg_max
    view.setUint32(36, MAX_RANGE_SECTORS, true); // max_discard_sectors
    view.setUint32(40, 1, true); // max_discard_seg
    view.setUint32(44, 8, true); // discard_sector_alignment
    view.setUint32(48, MAX_RANGE_SECTORS, true); // max_write_zeroes_sectors
    view.setUint32(52, 1, true); // max_write_zeroes_seg
    view.setUint8(56, 1); // write_zeroes_may_unmap
    if (!empty) this.insert();
  }

  /** §5.2.4: the capacity may change at any time, and a configuration change says so. */
  insert(): void {
    this.#sizeBytes = this.#backend.sizeBytes;
    const sectors = BigInt(Math.floor(this.#sizeBytes / SECTOR));
    new DataView(this.config.buffer).setBigUint64(0, sectors, true);
    this.#driver?.configChanged();
  }

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
      this.#serve(driver, queue, chain);
      return true;
    });
  }

  #serve(driver: Driver, queue: Virtqueue, chain: DescriptorChain): void {
    if (chain.writableBytes < 1 || chain.readableBytes < HEADER_BYTES) {
      // There is no place for a status: give it back untouched.
      queue.push(chain, 0);
      return;
    }
    let written = 0;
    let result: number = results.IOERR;
    try {
      written = this.#execute(driver, chain);
      result = written < 0 ? results.UNSUPP : results.OK;
    } catch (error) {
      this.failures++;
      this.lastFailure = error;
      written = 0;
    }
    const dataBytes = Math.max(0, written);
    const statusAt = chain.writableBytes - 1;
    scatter(driver.memory, chain.writable, Uint8Array.of(result), statusAt);
    // Linux looks at the status byte only; "used length" covers everything up to it.
    queue.push(
      chain,
      result === results.OK && dataBytes < statusAt ? dataBytes : chain.writableBytes,
    );
  }

  /** Bytes of data written to the guest, or -1 for an unknown request. Throws RangeError. */
  #execute(driver: Driver, chain: DescriptorChain): number {
    const header = new DataView(gather(driver.memory, chain.readable, HEADER_BYTES).buffer);
    const type = header.getUint32(0, true);
    const sector = header.getBigUint64(8, true);
    const outBytes = chain.readableBytes - HEADER_BYTES;
    const inBytes = chain.writableBytes - 1;
    switch (type) {
      case types.IN:
        this.#backend.read(
          this.#position(sector, inBytes),
          windows(driver.memory, chain.writable, 0, inBytes),
        );
        return inBytes;
      case types.OUT:
        this.#requireWritable();
        this.#backend.write(
          this.#position(sector, outBytes),
          windows(driver.memory, chain.readable, HEADER_BYTES, outBytes),
        );
        return 0;
      case types.FLUSH:
        if (!this.#backend.readOnly) this.#backend.flush();
        return 0;
      case types.GET_ID:
        return scatter(driver.memory, chain.writable, this.#id(inBytes));
      case types.DISCARD:
      case types.WRITE_ZEROES:
        return this.#zero(driver, chain, outBytes);
      default:
        return -1;
    }
  }

  #zero(driver: Driver, chain: DescriptorChain, outBytes: number): number {
    if (this.#backend.zero === undefined) return -1;
    this.#requireWritable();
    if (outBytes !== RANGE_BYTES) {
      throw new RangeError(`Cannot zero by ${outBytes} bytes of ranges: expected one range of 16`);
    }
    const range = new DataView(
      gather(driver.memory, chain.readable, RANGE_BYTES, HEADER_BYTES).buffer,
    );
    const sizeBytes = range.getUint32(8, true) * SECTOR;
    this.#backend.zero(this.#checkRange(range.getBigUint64(0, true), sizeBytes), sizeBytes);
    return 0;
  }

  #position(sector: bigint, sizeBytes: number): number {
    if (sizeBytes % SECTOR !== 0 || sizeBytes > MAX_DATA_BYTES) {
      throw new RangeError(
        `Cannot transfer ${sizeBytes} bytes: expected whole sectors, ${MAX_DATA_BYTES} at most`,
      );
    }
    return this.#checkRange(sector, sizeBytes);
  }

  #checkRange(sector: bigint, sizeBytes: number): number {
    const end = sector * BigInt(SECTOR) + BigInt(sizeBytes);
    if (end > BigInt(this.#sizeBytes)) {
      throw new RangeError(
        `Cannot reach sector ${sector}: expected the disk's ${this.#sizeBytes} bytes`,
      );
    }
    return Number(sector) * SECTOR;
  }

  #requireWritable(): void {
    if (this.#backend.readOnly) throw new RangeError("Cannot write to a read-only disk");
  }

  #id(room: number): Uint8Array {
    const id = new Uint8Array(Math.min(ID_BYTES, room));
    new TextEncoder().encodeInto(this.name, id);
    return id;
  }
}
