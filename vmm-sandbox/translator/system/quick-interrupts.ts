/**
 * The usual deliveries and returns, decided on 32-bit words: 64-bit code, flat segments whose
 * descriptors are marked accessed, tables and stack in the TLB, the frame in one page. Whatever is
 * unusual, or would fault, is left unchanged to interrupts.ts, which says what all this means.
 *
 * A page fault of a user program and the return from it are the most frequent things that TypeScript
 * does for a guest; with 64-bit values as bigint each made some thirty objects, which engines free
 * late (JavaScriptCore when as much has been made as the guest has RAM).
 */
import { state } from "../state.ts";
import type { Cpu } from "./cpu.ts";
import { hasErrorCode } from "./fault.ts";
import { type InterruptKind, pushedFlags } from "./interrupts.ts";
import { type DescriptorCache, segmentIndex } from "./registers.ts";
import { dropPrivilegedSegments, parseDescriptor } from "./segments.ts";

const rsp = state.gpr + 4 * 8;
const flag = { tf: 0x100, if: 0x200, nt: 0x4000, rf: 0x1_0000, vm: 0x2_0000 } as const;

/** Upper halves of descriptors, SDM volume 3A §3.4.5: what is looked at, and what it should be. */
const codeBits = 0x0060_fd00;
/** Present, code, not conforming, accessed, L without D. */
const code64 = 0x0020_9900;
const stackBits = 0xfb00;
/** Present, writable data, accessed. */
const stackData = 0x9300;
const dpl3 = 0x6000;

/** A gate's second word: present, system, interrupt or trap gate of 64 bits. */
const gateBits = 0x9e00;
const gate64 = 0x8e00;

const nullStack: DescriptorCache = { base: 0n, limit: -1, attributes: 0 };

/** Base and limit of a table as numbers; tables are replaced, never changed. */
class TableAddress {
  private table: { readonly base: bigint } | undefined;
  low = 0;
  high = 0;

  of(table: { readonly base: bigint }): this {
    if (table === this.table) return this;
    this.table = table;
    this.low = Number(table.base & 0xffff_ffffn) | 0;
    this.high = Number((table.base >> 32n) & 0xffff_ffffn) | 0;
    return this;
  }
}

const idtAddress = new TableAddress();
const gdtAddress = new TableAddress();
const taskAddress = new TableAddress();

/** Index of the first word at an offset in a table, when the TLB knows the page; -1 otherwise. */
function wordsAt(cpu: Cpu, table: TableAddress, offset: number, bytes: number): number {
  // An offset that carries into the upper half is unusual enough.
  if ((table.low >>> 0) + offset > 0xffff_ffff) return -1;
  return systemWords(cpu, (table.low + offset) | 0, table.high, bytes, false);
}

function systemWords(cpu: Cpu, low: number, high: number, bytes: number, write: boolean): number {
  const host = cpu.paging.find(low, high, bytes, write, false);
  return host === 0 || host & 3 ? -1 : host >>> 2;
}

/** Word index of a selector's descriptor in the GDT, or -1. */
function descriptorAt(cpu: Cpu, selector: number): number {
  if (selector & 4 || (selector & ~3) === 0) return -1;
  const { gdt } = cpu.registers;
  if ((selector | 7) > gdt.limit) return -1;
  return wordsAt(cpu, gdtAddress.of(gdt), selector & ~7, 8);
}

/** Parsed descriptors by their words: a system has a handful. */
const parsed = new Map<number, Map<number, DescriptorCache>>();
const maxParsed = 64;

function cacheOf(low: number, high: number): DescriptorCache {
  const known = parsed.get(high)?.get(low);
  if (known) return known;
  if (parsed.size >= maxParsed) parsed.clear();
  const cache = parseDescriptor((BigInt(high >>> 0) << 32n) | BigInt(low >>> 0));
  const byLow = parsed.get(high) ?? new Map<number, DescriptorCache>();
  if (byLow.size >= maxParsed) byLow.clear();
  parsed.set(high, byLow.set(low, cache));
  return cache;
}

function isCanonical(high: number): boolean {
  const top = high >> 15;
  return top === 0 || top === -1;
}

/** `deliver`, done; false: nothing was changed, and it is not usual. */
export function deliverQuickly(
  cpu: Cpu,
  number: number,
  errorCode: number,
  kind: InterruptKind,
): boolean {
  const { registers } = cpu;
  const { words } = registers;
  if (!cpu.is64 || kind === "software" || number * 16 + 15 > registers.idt.limit) return false;
  const gate = wordsAt(cpu, idtAddress.of(registers.idt), number * 16, 16);
  if (gate < 0) return false;
  const gateLow = words[gate] as number;
  const gateNext = words[gate + 1] as number;
  const selector = gateLow >>> 16;
  const descriptor = descriptorAt(cpu, selector);
  if ((gateNext & gateBits) !== gate64 || descriptor < 0) return false;
  const descriptorLow = words[descriptor] as number;
  const descriptorHigh = words[descriptor + 1] as number;
  if ((descriptorHigh & codeBits) !== code64) return false;
  const { cpl } = registers;
  const stack = stackFor(cpu, gateNext & 7, cpl);
  if (stack < 0) return false;
  const oldLow = registers.get32(rsp);
  const oldHigh = registers.get32(rsp + 4);
  const top = (words[stack] as number) & ~15;
  const topHigh = words[stack + 1] as number;
  const withError = kind === "exception" && hasErrorCode(number);
  const bytes = withError ? 48 : 40;
  if (!isCanonical(topHigh) || top >>> 0 < bytes) return false;
  const low = (top - bytes) | 0;
  let at = systemWords(cpu, low, topHigh, bytes, true);
  if (at < 0) return false;

  const eflags = pushedFlags(cpu, number, kind);
  if (withError) {
    put(words, at, errorCode, 0);
    at += 2;
  }
  put(words, at, registers.get32(state.rip), registers.get32(state.rip + 4));
  put(words, at + 2, registers.selector(segmentIndex.cs), 0);
  put(words, at + 4, eflags, 0);
  put(words, at + 6, oldLow, oldHigh);
  put(words, at + 8, registers.selector(segmentIndex.ss), 0);
  registers.set32(rsp, low);
  registers.set32(rsp + 4, topHigh);
  if (cpl !== 0) registers.setSegment(segmentIndex.ss, 0, nullStack);
  registers.setSegment(segmentIndex.cs, selector & ~3, cacheOf(descriptorLow, descriptorHigh));
  cpu.setPrivilege(0);
  const isInterruptGate = (gateNext & 0x100) === 0;
  const cleared = flag.tf | flag.nt | flag.rf | flag.vm | (isInterruptGate ? flag.if : 0);
  registers.set32(state.eflags, registers.get32(state.eflags) & ~cleared);
  registers.set32(state.rip, (gateLow & 0xffff) | (gateNext & 0xffff_0000));
  registers.set32(state.rip + 4, words[gate + 2] as number);
  return true;
}

function put(words: Int32Array, at: number, low: number, high: number): void {
  words[at] = low;
  words[at + 1] = high;
}

/** Where the new stack's pointer is: in the TSS, or in RSP. -1: not known. */
function stackFor(cpu: Cpu, ist: number, cpl: number): number {
  const { registers } = cpu;
  if (ist === 0 && cpl === 0) return registers.indexOf(rsp);
  const task = registers.caches[segmentIndex.tr] as DescriptorCache;
  const offset = ist === 0 ? 4 : 0x1c + ist * 8;
  if (offset + 7 > task.limit >>> 0) return -1;
  return wordsAt(cpu, taskAddress.of(task), offset, 8);
}

/** `interruptReturn` of 64-bit supervisor code to 64-bit code, done; false: it is not usual. */
export function returnQuickly(cpu: Cpu): boolean {
  const { registers } = cpu;
  const { words } = registers;
  if (!cpu.is64 || registers.cpl !== 0 || registers.get32(state.eflags) & flag.nt) return false;
  const at = systemWords(cpu, registers.get32(rsp), registers.get32(rsp + 4), 40, false);
  if (at < 0) return false;
  const ripHigh = words[at + 1] as number;
  const cs = (words[at + 2] as number) & 0xffff;
  const ss = (words[at + 8] as number) & 0xffff;
  const cpl = cs & 3;
  const dpl = cpl === 3 ? dpl3 : 0;
  const code = descriptorAt(cpu, cs);
  if ((cpl !== 0 && cpl !== 3) || (ss & 3) !== cpl || code < 0 || !isCanonical(ripHigh))
    return false;
  const codeLow = words[code] as number;
  const codeHigh = words[code + 1] as number;
  if ((codeHigh & codeBits) !== (code64 | dpl)) return false;
  let stack = nullStack;
  if (cpl !== 0 || (ss & ~3) !== 0) {
    const found = descriptorAt(cpu, ss);
    if (found < 0) return false;
    const high = words[found + 1] as number;
    if ((high & stackBits) !== (stackData | dpl)) return false;
    stack = cacheOf(words[found] as number, high);
  }

  const changeable = 0x3c_7fd5 | flag.rf;
  const eflags = words[at + 4] as number;
  registers.rflags = (registers.rflags & ~changeable) | (eflags & changeable);
  registers.set32(state.rip, words[at] as number);
  registers.set32(state.rip + 4, ripHigh);
  registers.set32(rsp, words[at + 6] as number);
  registers.set32(rsp + 4, words[at + 7] as number);
  registers.setSegment(segmentIndex.ss, ss, stack);
  registers.setSegment(segmentIndex.cs, cs, cacheOf(codeLow, codeHigh));
  cpu.setPrivilege(cpl);
  if (cpl !== 0 && hasDataSegment(cpu)) dropPrivilegedSegments(cpu, cpl);
  return true;
}

function hasDataSegment({ registers }: Cpu): boolean {
  const { es, ds, fs, gs } = segmentIndex;
  const all = registers.selector(es) | registers.selector(ds);
  return (all | registers.selector(fs) | registers.selector(gs)) !== 0;
}
