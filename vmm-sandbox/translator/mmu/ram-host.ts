/** Where physical RAM lies in the CPU's WebAssembly memory: below the hole of the PCI devices, and above it. */
import { HOLE_END, HOLE_START } from "../../machine/layout.ts";
import { layout } from "../state.ts";

/** Byte offset of physical RAM in the memory, or -1 when it is no RAM. */
export function hostOfRam(physical: number, ramBytes: number): number {
  const low = ramBytes < HOLE_START ? ramBytes : HOLE_START;
  if (physical < low) return layout.ram + physical;
  if (physical >= HOLE_END && physical - HOLE_END < ramBytes - low)
    return layout.ram + low + (physical - HOLE_END);
  return -1;
}

/** Index into the page table of `level` (0: 4 KiB pages … 3: PML4) for the address high:low. */
export function tableIndex(level: number, low: number, high: number): number {
  if (level === 3) return (high >>> 7) & 511;
  if (level === 2) return ((high & 0x7f) << 2) | (low >>> 30);
  return (low >>> (12 + level * 9)) & 511;
}
