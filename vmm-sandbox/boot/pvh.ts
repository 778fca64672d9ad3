/** `struct hvm_start_info` and its lists. xen/include/public/arch-x86/hvm/start_info.h, version 1. */
import { BOOT } from "../machine/layout.ts";
import { type MemoryMapEntry, memoryTypes } from "./memory-map.ts";

export interface StartInfo {
  readonly initrd?: { readonly address: number; readonly sizeBytes: number };
  readonly rsdpAddress?: number;
  readonly memoryMap: readonly MemoryMapEntry[];
}

const MAGIC = 0x336e_c578;
const MODULE_BYTES = 32;
const MAP_ENTRY_BYTES = 24;

export function encodeStartInfo(info: StartInfo): {
  readonly startInfo: Uint8Array;
  readonly moduleList: Uint8Array;
  readonly memoryMap: Uint8Array;
} {
  const startInfo = new Uint8Array(56);
  const head = new DataView(startInfo.buffer);
  head.setUint32(0, MAGIC, true);
  head.setUint32(4, 1, true); // version
  head.setUint32(12, info.initrd === undefined ? 0 : 1, true); // nr_modules
  head.setBigUint64(16, BigInt(info.initrd === undefined ? 0 : BOOT.moduleList), true);
  head.setBigUint64(24, BigInt(BOOT.commandLine), true);
  head.setBigUint64(32, BigInt(info.rsdpAddress ?? 0), true);
  head.setBigUint64(40, BigInt(BOOT.memoryMap), true);
  head.setUint32(48, info.memoryMap.length, true);

  const moduleList = new Uint8Array(MODULE_BYTES);
  const list = new DataView(moduleList.buffer);
  list.setBigUint64(0, BigInt(info.initrd?.address ?? 0), true);
  list.setBigUint64(8, BigInt(info.initrd?.sizeBytes ?? 0), true);

  const memoryMap = new Uint8Array(info.memoryMap.length * MAP_ENTRY_BYTES);
  const map = new DataView(memoryMap.buffer);
  info.memoryMap.forEach((entry, index) => {
    map.setBigUint64(index * MAP_ENTRY_BYTES, BigInt(entry.address), true);
    map.setBigUint64(index * MAP_ENTRY_BYTES + 8, BigInt(entry.sizeBytes), true);
    map.setUint32(index * MAP_ENTRY_BYTES + 16, memoryTypes[entry.type], true);
  });
  return { startInfo, moduleList, memoryMap };
}
