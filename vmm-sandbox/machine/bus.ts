/**
 * A bus: an address space of device registers. A machine has two, ports (PIO) and MMIO.
 *
 * Devices see offsets into their own window and accesses of 1, 2 or 4 bytes; an 8-byte access is
 * two 4-byte ones, low half first. An address nobody answers reads as all ones and swallows
 * writes, as on a PC; both are counted so that a wedged guest can be explained.
 */
export type AccessSize = 1 | 2 | 4;

export interface BusDevice {
  /** Value of a register, unsigned, at most `sizeBytes` wide. Never throws for guest mistakes. */
  read(offset: number, sizeBytes: AccessSize): number;
  write(offset: number, sizeBytes: AccessSize, value: number): void;
}

export interface BusWindow {
  readonly name: string;
  readonly base: number;
  readonly sizeBytes: number;
  readonly device: BusDevice;
}

export class Bus {
  readonly name: string;
  /** Accesses that found no device. */
  unclaimed = 0;
  #windows: BusWindow[] = [];
  #last: BusWindow | undefined;

  constructor(name: string) {
    this.name = name;
  }

  get windows(): readonly BusWindow[] {
    return this.#windows;
  }

  attach(window: BusWindow): void {
    const end = window.base + window.sizeBytes;
    const clash = this.#windows.find(
      (other) => window.base < other.base + other.sizeBytes && other.base < end,
    );
    if (clash !== undefined) {
      throw new RangeError(
        `Cannot attach "${window.name}" at 0x${window.base.toString(16)}: "${clash.name}" is there already`,
      );
    }
    this.#windows = [...this.#windows, window].sort((a, b) => a.base - b.base);
  }

  read(address: number, sizeBytes: AccessSize): number {
    const window = this.#find(address, sizeBytes);
    if (window === undefined) {
      this.unclaimed++;
      return allOnes(sizeBytes);
    }
    return window.device.read(address - window.base, sizeBytes);
  }

  write(address: number, sizeBytes: AccessSize, value: number): void {
    const window = this.#find(address, sizeBytes);
    if (window === undefined) this.unclaimed++;
    else window.device.write(address - window.base, sizeBytes, value);
  }

  /** An access of 1 to 8 bytes as the CPU made it; fills `data`. */
  readBytes(address: number, data: Uint8Array): void {
    for (let at = 0; at < data.length; ) {
      const size = pieceSize(data.length - at);
      const value = this.read(address + at, size);
      for (let i = 0; i < size; i++) data[at + i] = value >>> (8 * i);
      at += size;
    }
  }

  writeBytes(address: number, data: Uint8Array): void {
    for (let at = 0; at < data.length; ) {
      const size = pieceSize(data.length - at);
      let value = 0;
      for (let i = 0; i < size; i++) value |= (data[at + i] ?? 0) << (8 * i);
      this.write(address + at, size, value >>> 0);
      at += size;
    }
  }

  #find(address: number, sizeBytes: number): BusWindow | undefined {
    // Drivers poke one device at a time.
    const last = this.#last;
    if (last !== undefined && holds(last, address, sizeBytes)) return last;
    const found = this.#windows.find((window) => holds(window, address, sizeBytes));
    if (found !== undefined) this.#last = found;
    return found;
  }
}

function holds(window: BusWindow, address: number, sizeBytes: number): boolean {
  return address >= window.base && address + sizeBytes <= window.base + window.sizeBytes;
}

function pieceSize(left: number): AccessSize {
  return left >= 4 ? 4 : left >= 2 ? 2 : 1;
}

function allOnes(sizeBytes: AccessSize): number {
  return sizeBytes === 4 ? 0xffff_ffff : sizeBytes === 2 ? 0xffff : 0xff;
}
