/** Guest-virtual to guest-physical, as the processor would walk it. Intel SDM vol. 3A §4.5. */
import { type GuestMemory, GuestMemoryError } from "./guest-memory.ts";
import type { SystemRegisters } from "./vcpu.ts";

const CR0_PG = 1n << 31n;
const EFER_LMA = 1n << 10n;
const PRESENT = 1n;
const LARGE = 1n << 7n;
const ADDRESS = 0x000f_ffff_ffff_f000n;
/** Bits of the virtual address below each level's index: PML4, PDPT, PD, PT. */
const shifts = [39n, 30n, 21n, 12n] as const;

/**
 * Undefined when it is not mapped, or in 32-bit paging, which no kernel we boot stays in. Access
 * rights are not looked at.
 */
export function walkPageTables(
  memory: GuestMemory,
  system: Pick<SystemRegisters, "cr0" | "cr3" | "efer">,
  virtual: bigint,
): number | undefined {
  if ((system.cr0 & CR0_PG) === 0n) return Number(virtual);
  if ((system.efer & EFER_LMA) === 0n) return undefined;
  let table = system.cr3 & ADDRESS;
  try {
    for (const shift of shifts) {
      const index = (virtual >> shift) & 0x1ffn;
      const entry = memory.readU64(Number(table + index * 8n));
      if ((entry & PRESENT) === 0n) return undefined;
      const isPage = shift === 12n || (shift !== 39n && (entry & LARGE) !== 0n);
      const offset = virtual & ((1n << shift) - 1n);
      if (isPage) return Number((entry & ADDRESS & ~((1n << shift) - 1n)) + offset);
      table = entry & ADDRESS;
    }
  } catch (error) {
    // The tables themselves are outside RAM: the guest made them so.
    if (!(error instanceof GuestMemoryError)) throw error;
  }
  return undefined;
}
