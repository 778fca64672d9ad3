/**
 * The guest's RAM, seen by devices and boot code.
 *
 * Every address here was chosen by the guest, so each access goes through one bounds check
 * (`find`), and nothing outside RAM can be reached: a descriptor that points at a device's
 * registers fails instead of re-entering the device. Reads are plain loads of memory that a vCPU
 * may be writing: read once into a local, check the local, use the local.
 *
 * ```
 * guest-physical   0 ──── 3 GiB     4 GiB ──── …
 *                  └ region 0 ┘     └ region 1 ┘
 * host bytes       [offset … region 0 | region 1 …]   one buffer, or one per region
 * ```
 */
import { HOLE_END, HOLE_START, PAGE_SIZE } from "./layout.ts";

/** One stretch of RAM without holes. */
export interface MemoryRegion {
  readonly guestAddress: number;
  readonly sizeBytes: number;
  /** Its host bytes; the first one is aligned to 8 at least. */
  readonly bytes: Uint8Array;
}

export interface RamRange {
  readonly guestAddress: number;
  readonly sizeBytes: number;
}

/** An access that is not wholly inside RAM. */
export class GuestMemoryError extends RangeError {
  override readonly name = "GuestMemoryError";
  readonly address: number;
  readonly sizeBytes: number;
  constructor(address: number, sizeBytes: number) {
    super(
      `Cannot access guest memory at 0x${address.toString(16)}: expected ${sizeBytes} bytes of RAM there`,
    );
    this.address = address;
    this.sizeBytes = sizeBytes;
  }
}

interface Region extends MemoryRegion {
  readonly endAddress: number;
  readonly view: DataView;
  readonly halves: Uint16Array;
}

/** Where RAM of this size lies in guest-physical space: around the hole below 4 GiB. */
export function ramRanges(sizeBytes: number): readonly RamRange[] {
  if (!Number.isSafeInteger(sizeBytes) || sizeBytes <= 0 || sizeBytes % PAGE_SIZE !== 0) {
    throw new RangeError(
      `Cannot lay out ${sizeBytes} bytes of RAM: expected a positive multiple of ${PAGE_SIZE}`,
    );
  }
  const low = Math.min(sizeBytes, HOLE_START);
  const ranges = [{ guestAddress: 0, sizeBytes: low }];
  if (sizeBytes > low) ranges.push({ guestAddress: HOLE_END, sizeBytes: sizeBytes - low });
  return ranges;
}

export class GuestMemory {
  readonly regions: readonly MemoryRegion[];
  /** RAM in all; what two regions share counts once. */
  readonly sizeBytes: number;
  /**
   * Called after a device or boot code wrote RAM (never for the guest's own stores), so that a
   * CPU that caches code or a snapshot that tracks pages can follow.
   */
  onWrite: ((address: number, sizeBytes: number) => void) | undefined = undefined;
  readonly #regions: readonly Region[];

  /**
   * Regions in order of their addresses. Neighbours may overlap, as views on the same bytes: an
   * access that no longer fits the one fits the next, so none breaks at a border between views.
   */
  constructor(regions: readonly MemoryRegion[]) {
    this.#regions = regions.map(openRegion);
    this.regions = regions;
    this.sizeBytes = unionBytes(regions);
  }

  /** RAM of `sizeBytes` inside one buffer (a WebAssembly.Memory's, say), from `offset` on. */
  static over(buffer: ArrayBufferLike, sizeBytes: number, offset = 0): GuestMemory {
    let at = offset;
    const regions = ramRanges(sizeBytes).map((range) => {
      const bytes = new Uint8Array(buffer, at, range.sizeBytes);
      at += range.sizeBytes;
      return { ...range, bytes };
    });
    return new GuestMemory(regions);
  }

  /** True when all of these bytes are RAM of one region. */
  contains(address: number, sizeBytes: number): boolean {
    return this.#lookup(address, sizeBytes) !== undefined;
  }

  /**
   * The host bytes behind this range, not a copy: the guest can change them at any moment.
   * Whoever writes through it reports that with `written`.
   */
  window(address: number, sizeBytes: number): Uint8Array {
    const region = this.#find(address, sizeBytes);
    const start = address - region.guestAddress;
    return region.bytes.subarray(start, start + sizeBytes);
  }

  /** Reports bytes written through a `window`. */
  written(address: number, sizeBytes: number): void {
    this.onWrite?.(address, sizeBytes);
  }

  /** A private copy, for headers that are checked and then used. */
  copyOut(address: number, sizeBytes: number): Uint8Array {
    const copy = new Uint8Array(sizeBytes);
    copy.set(this.window(address, sizeBytes));
    return copy;
  }

  copyIn(address: number, bytes: Uint8Array): void {
    this.window(address, bytes.length).set(bytes);
    this.onWrite?.(address, bytes.length);
  }

  fill(address: number, sizeBytes: number, value: number): void {
    this.window(address, sizeBytes).fill(value);
    this.onWrite?.(address, sizeBytes);
  }

  readU8(address: number): number {
    const region = this.#find(address, 1);
    return region.view.getUint8(address - region.guestAddress);
  }

  readU16(address: number): number {
    const region = this.#find(address, 2);
    return region.view.getUint16(address - region.guestAddress, true);
  }

  readU32(address: number): number {
    const region = this.#find(address, 4);
    return region.view.getUint32(address - region.guestAddress, true);
  }

  readU64(address: number): bigint {
    const region = this.#find(address, 8);
    return region.view.getBigUint64(address - region.guestAddress, true);
  }

  writeU8(address: number, value: number): void {
    const region = this.#find(address, 1);
    region.view.setUint8(address - region.guestAddress, value);
    this.onWrite?.(address, 1);
  }

  writeU16(address: number, value: number): void {
    const region = this.#find(address, 2);
    region.view.setUint16(address - region.guestAddress, value, true);
    this.onWrite?.(address, 2);
  }

  writeU32(address: number, value: number): void {
    const region = this.#find(address, 4);
    region.view.setUint32(address - region.guestAddress, value, true);
    this.onWrite?.(address, 4);
  }

  writeU64(address: number, value: bigint): void {
    const region = this.#find(address, 8);
    region.view.setBigUint64(address - region.guestAddress, value, true);
    this.onWrite?.(address, 8);
  }

  /** Sequentially consistent load of an even address: ring indices that a vCPU stores. */
  loadU16(address: number): number {
    const region = this.#findEven(address);
    return Atomics.load(region.halves, (address - region.guestAddress) / 2);
  }

  /** Sequentially consistent store to an even address; all earlier writes are visible before it. */
  storeU16(address: number, value: number): void {
    const region = this.#findEven(address);
    Atomics.store(region.halves, (address - region.guestAddress) / 2, value);
    this.onWrite?.(address, 2);
  }

  #lookup(address: number, sizeBytes: number): Region | undefined {
    // NaN, fractions and negative sizes fail these comparisons or the integer check.
    if (!Number.isSafeInteger(address) || !Number.isSafeInteger(sizeBytes) || sizeBytes < 0)
      return undefined;
    for (const region of this.#regions) {
      if (address >= region.guestAddress && address <= region.endAddress - sizeBytes) return region;
    }
    return undefined;
  }

  #find(address: number, sizeBytes: number): Region {
    const region = this.#lookup(address, sizeBytes);
    if (region === undefined) throw new GuestMemoryError(address, sizeBytes);
    return region;
  }

  #findEven(address: number): Region {
    if (address % 2 !== 0) throw new GuestMemoryError(address, 2);
    return this.#find(address, 2);
  }
}

function unionBytes(regions: readonly MemoryRegion[]): number {
  let total = 0;
  let end = 0;
  for (const { guestAddress, sizeBytes } of regions) {
    const from = Math.max(end, guestAddress);
    end = Math.max(end, guestAddress + sizeBytes);
    total += end - from;
  }
  return total;
}

function openRegion(region: MemoryRegion): Region {
  const { guestAddress, sizeBytes, bytes } = region;
  if (bytes.length !== sizeBytes) {
    throw new RangeError(
      `Cannot use ${bytes.length} host bytes for ${sizeBytes} bytes of guest RAM`,
    );
  }
  return {
    guestAddress,
    sizeBytes,
    bytes,
    endAddress: guestAddress + sizeBytes,
    view: new DataView(bytes.buffer, bytes.byteOffset, sizeBytes),
    halves: new Uint16Array(bytes.buffer, bytes.byteOffset, sizeBytes / 2),
  };
}
