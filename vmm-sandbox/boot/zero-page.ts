/**
 * `struct boot_params`, Linux's zero page. Documentation/arch/x86/zero-page.rst, boot.rst.
 */
import { BOOT } from "../machine/layout.ts";
import { type MemoryMapEntry, memoryTypes } from "./memory-map.ts";

export interface ZeroPage {
  /** A bzImage's own header from 0x1f1 on; a vmlinux has none and gets the least of one. */
  readonly setupHeader?: Uint8Array;
  readonly loadAddress: number;
  readonly commandLineSize: number;
  readonly initrd?: { readonly address: number; readonly sizeBytes: number };
  readonly rsdpAddress?: number;
  readonly memoryMap: readonly MemoryMapEntry[];
}

// biome-ignore format: table
const offsets = {
  acpi_rsdp_addr: 0x070, e820_entries: 0x1e8, hdr: 0x1f1, boot_flag: 0x1fe, header: 0x202,
  type_of_loader: 0x210, loadflags: 0x211, code32_start: 0x214, ramdisk_image: 0x218,
  ramdisk_size: 0x21c, cmd_line_ptr: 0x228, kernel_alignment: 0x230, cmdline_size: 0x238,
  e820_table: 0x2d0,
} as const;

const E820_ENTRY_BYTES = 20;
const E820_LIMIT = 128;

export function encodeZeroPage(page: ZeroPage): Uint8Array {
  const bytes = new Uint8Array(4096);
  const view = new DataView(bytes.buffer);
  if (page.setupHeader === undefined) {
    view.setUint16(offsets.boot_flag, 0xaa55, true);
    view.setUint32(offsets.header, 0x5372_6448, true);
    view.setUint32(offsets.kernel_alignment, 0x100_0000, true);
    view.setUint8(offsets.loadflags, 1); // LOADED_HIGH
  } else {
    bytes.set(page.setupHeader, offsets.hdr);
  }
  view.setUint8(offsets.type_of_loader, 0xff); // undefined loader
  view.setUint32(offsets.code32_start, page.loadAddress, true);
  view.setUint32(offsets.cmd_line_ptr, BOOT.commandLine, true);
  view.setUint32(offsets.cmdline_size, page.commandLineSize, true);
  view.setUint32(offsets.ramdisk_image, page.initrd?.address ?? 0, true);
  view.setUint32(offsets.ramdisk_size, page.initrd?.sizeBytes ?? 0, true);
  view.setBigUint64(offsets.acpi_rsdp_addr, BigInt(page.rsdpAddress ?? 0), true);
  const map = page.memoryMap.slice(0, E820_LIMIT);
  view.setUint8(offsets.e820_entries, map.length);
  map.forEach((entry, index) => {
    const at = offsets.e820_table + index * E820_ENTRY_BYTES;
    view.setBigUint64(at, BigInt(entry.address), true);
    view.setBigUint64(at + 8, BigInt(entry.sizeBytes), true);
    view.setUint32(at + 16, memoryTypes[entry.type], true);
  });
  return bytes;
}
