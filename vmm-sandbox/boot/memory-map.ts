/** The memory map that firmware would report (e820): what is RAM and what to leave alone. */
import { ramRanges } from "../machine/guest-memory.ts";
import { BOOT } from "../machine/layout.ts";

export interface MemoryMapEntry {
  readonly address: number;
  readonly sizeBytes: number;
  readonly type: "ram" | "reserved";
}

/** ACPI 6.5 §15, Address Range Types; PVH uses the same numbers. */
export const memoryTypes = { ram: 1, reserved: 2 } as const;

export function planMemoryMap(memorySizeBytes: number): readonly MemoryMapEntry[] {
  const ram = ramRanges(memorySizeBytes);
  const [low, ...rest] = ram;
  if (low === undefined || low.sizeBytes <= BOOT.highMemory) {
    throw new RangeError(
      `Cannot boot with ${memorySizeBytes} bytes of memory: expected more than 1 MiB`,
    );
  }
  return [
    { address: 0, sizeBytes: BOOT.reserved, type: "ram" },
    { address: BOOT.reserved, sizeBytes: BOOT.highMemory - BOOT.reserved, type: "reserved" },
    { address: BOOT.highMemory, sizeBytes: low.sizeBytes - BOOT.highMemory, type: "ram" },
    ...rest.map(({ guestAddress, sizeBytes }) => ({
      address: guestAddress,
      sizeBytes,
      type: "ram" as const,
    })),
  ];
}
