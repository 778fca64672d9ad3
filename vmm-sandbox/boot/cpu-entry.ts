/**
 * Register values with which a kernel is entered.
 *
 * PVH: 32-bit protected mode, flat segments, no paging, EBX → start info (Xen's
 * docs/misc/pvh.pandoc). Linux 64-bit: long mode on identity page tables, RSI → zero page
 * (boot.rst, "64-bit Boot Protocol").
 */
import { BOOT } from "../machine/layout.ts";
import type { GeneralRegisters, Segment, SystemRegisters } from "../machine/vcpu.ts";

export interface EntryRegisters {
  readonly general: Partial<GeneralRegisters>;
  readonly system: Partial<SystemRegisters>;
}

/** GDT that both entries share; the selectors are its indices. */
// biome-ignore format: table
export const gdtEntries = [
  0n,
  0n,
  0x00af_9b00_0000_ffffn, // 0x10: 64-bit code
  0x00cf_9300_0000_ffffn, // 0x18: data
  0x0080_8b00_0000_0067n, // 0x20: TSS, busy, which VMX insists on
  0x00cf_9b00_0000_ffffn, // 0x28: 32-bit code
] as const;

const CR0_PE = 1n;
const CR0_ET = 1n << 4n;
const CR0_PG = 1n << 31n;
const CR4_PAE = 1n << 5n;
const EFER_LME = 1n << 8n;
const EFER_LMA = 1n << 10n;
/** Bit 1 of RFLAGS is always set. */
const RFLAGS = 2n;

export function pvhEntry(entry: number): EntryRegisters {
  return {
    general: { rip: BigInt(entry), rbx: BigInt(BOOT.startInfo), rflags: RFLAGS },
    system: { ...flatSegments(code32), cr0: CR0_PE | CR0_ET, cr3: 0n, cr4: 0n, efer: 0n },
  };
}

export function linux64Entry(entry: number): EntryRegisters {
  const stack = BigInt(BOOT.stack);
  return {
    general: {
      rip: BigInt(entry),
      rsi: BigInt(BOOT.zeroPage),
      rsp: stack,
      rbp: stack,
      rflags: RFLAGS,
    },
    system: {
      ...flatSegments(code64),
      cr0: CR0_PE | CR0_ET | CR0_PG,
      cr3: BigInt(BOOT.pml4),
      cr4: CR4_PAE,
      efer: EFER_LME | EFER_LMA,
    },
  };
}

const flat = {
  base: 0n,
  limit: 0xffff_ffff,
  present: 1,
  dpl: 0,
  s: 1,
  g: 1,
  avl: 0,
  unusable: 0,
} as const;
const code64: Segment = { ...flat, selector: 0x10, type: 0xb, db: 0, l: 1 };
const code32: Segment = { ...flat, selector: 0x28, type: 0xb, db: 1, l: 0 };
const data: Segment = { ...flat, selector: 0x18, type: 0x3, db: 1, l: 0 };
const tss: Segment = { ...flat, selector: 0x20, type: 0xb, s: 0, db: 0, l: 0, g: 0, limit: 0x67 };

function flatSegments(code: Segment): Partial<SystemRegisters> {
  return {
    cs: code,
    ds: data,
    es: data,
    fs: data,
    gs: data,
    ss: data,
    tr: tss,
    gdt: { base: BigInt(BOOT.gdt), limit: gdtEntries.length * 8 - 1 },
    idt: { base: BigInt(BOOT.idt), limit: 0 },
  };
}
