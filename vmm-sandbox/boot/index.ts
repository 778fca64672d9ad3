/** Booting Linux: kernel files, ACPI, memory map, entry registers. */
export {
  type AcpiMachine,
  planAcpi,
  RESET_VALUE,
  SLEEP_ENABLE,
  SLEEP_TYPE_S5,
  type VirtioWindow,
} from "./acpi.ts";
export { BootError, type BootOptions, type BootPlan, planBoot, writeBoot } from "./boot-plan.ts";
export type { EntryRegisters } from "./cpu-entry.ts";
export { type KernelImage, KernelImageError, parseKernelImage } from "./kernel-image.ts";
export { type MemoryMapEntry, planMemoryMap } from "./memory-map.ts";
