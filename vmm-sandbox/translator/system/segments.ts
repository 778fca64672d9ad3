/**
 * Segment registers and descriptor tables (SDM volume 3A §3.4 and §5): 64-bit code, compatibility
 * mode, protected mode; in real mode a selector is its base.
 */
import type { Cpu } from "./cpu.ts";
import { GuestFault, generalProtection, vector } from "./fault.ts";
import { attribute, type DescriptorCache, segmentIndex } from "./registers.ts";

export function canonical(address: bigint): boolean {
  const top = BigInt.asUintN(64, address) >> 47n;
  return top === 0n || top === 0x1ffffn;
}

/** Where a selector's descriptor is; throws when it is beyond its table. */
function descriptorAddress(cpu: Cpu, selector: number, fault: number): bigint {
  const { registers } = cpu;
  const local = registers.segment(segmentIndex.ldtr);
  const table = selector & 4 ? { base: local.base, limit: local.limit >>> 0 } : registers.gdt;
  if ((selector | 7) > table.limit) throw new GuestFault(fault, selector & ~3);
  return table.base + BigInt(selector & ~7);
}

export function readDescriptor(cpu: Cpu, selector: number, fault: number): DescriptorCache {
  if ((selector & ~3) === 0) throw new GuestFault(fault, 0);
  return parseDescriptor(cpu.readSystem(descriptorAddress(cpu, selector, fault), 8));
}

export function parseDescriptor(raw: bigint): DescriptorCache {
  const low = Number(raw & 0xffff_ffffn);
  const high = Number(raw >> 32n);
  const attributes = (high >>> 8) & 0xf0ff;
  let limit = (low & 0xffff) | (high & 0xf_0000);
  if (attributes & attribute.granularity) limit = (limit << 12) | 0xfff;
  const base = ((low >>> 16) | ((high & 0xff) << 16) | (high & 0xff00_0000)) >>> 0;
  return { base: BigInt(base), limit, attributes };
}

/** Loads CS and sets the CPL and the mode that follow from it. */
export function loadCodeSegment(
  cpu: Cpu,
  selector: number,
  descriptor: DescriptorCache,
  cpl: number,
): void {
  if (!(descriptor.attributes & attribute.present))
    throw new GuestFault(vector.segmentNotPresent, selector & ~3);
  setAccessed(cpu, selector, descriptor);
  cpu.registers.setSegment(segmentIndex.cs, selector, descriptor);
  cpu.setPrivilege(cpl);
}

/** SDM volume 3A §20.1.1: the selector times 16; limit and rights stay what they were at reset. */
export function realSegment(selector: number, segment: number): DescriptorCache {
  const attributes = segment === segmentIndex.cs ? 0x9b : 0x93;
  return { base: BigInt((selector & 0xffff) << 4), limit: 0xffff, attributes };
}

/** MOV and POP to a data or stack segment register. */
export function loadDataSegment(cpu: Cpu, segment: number, selector: number): void {
  const { registers } = cpu;
  if (cpu.isReal) {
    // Limit and size stay: that is how "unreal mode" keeps 4 GiB.
    const { limit, attributes } = registers.segment(segment);
    const { base } = realSegment(selector, segment);
    registers.setSegment(segment, selector, { base, limit, attributes });
    return;
  }
  if ((selector & ~3) === 0) {
    // 64-bit code may load a null SS below CPL 3.
    const mayBeNull = cpu.is64 && registers.cpl !== 3 && (selector & 3) === registers.cpl;
    if (segment === segmentIndex.ss && !mayBeNull) throw generalProtection(0);
    registers.setSegment(segment, selector, { base: 0n, limit: 0, attributes: 0 });
    return;
  }
  const descriptor = readDescriptor(cpu, selector, vector.generalProtection);
  const { attributes } = descriptor;
  const dpl = (attributes >> attribute.dplShift) & 3;
  const rpl = selector & 3;
  const isCode = (attributes & 8) !== 0;
  const writable = !isCode && (attributes & 2) !== 0;
  const conforming = isCode && (attributes & 4) !== 0;
  if (!(attributes & attribute.s)) throw generalProtection(selector & ~3);
  if (segment === segmentIndex.ss) {
    if (!writable || rpl !== registers.cpl || dpl !== registers.cpl)
      throw generalProtection(selector & ~3);
    if (!(attributes & attribute.present)) throw new GuestFault(vector.stackFault, selector & ~3);
  } else {
    if (isCode && !(attributes & 2)) throw generalProtection(selector & ~3);
    if (!conforming && (rpl > dpl || registers.cpl > dpl)) throw generalProtection(selector & ~3);
    if (!(attributes & attribute.present))
      throw new GuestFault(vector.segmentNotPresent, selector & ~3);
  }
  setAccessed(cpu, selector, descriptor);
  registers.setSegment(segment, selector, descriptor);
  if (segment === segmentIndex.ss) cpu.modeChanged();
}

/** Loading a segment sets the accessed bit of its descriptor, when it is clear. */
export function setAccessed(cpu: Cpu, selector: number, descriptor: DescriptorCache): void {
  if (descriptor.attributes & 1) return;
  const address = descriptorAddress(cpu, selector, vector.generalProtection) + 5n;
  descriptor.attributes |= 1;
  cpu.writeSystem(address, 1, BigInt(descriptor.attributes & 0xff), false);
}

/** SS of an outer level that a return goes to; code of 64 bits may have none there. */
export function stackDescriptor(
  cpu: Cpu,
  selector: number,
  code: DescriptorCache,
  cpl: number,
): DescriptorCache {
  const is64 = cpu.isLongMode && (code.attributes & attribute.long) !== 0;
  if ((selector & ~3) === 0) {
    if (!is64 || cpl === 3 || (selector & 3) !== cpl) throw generalProtection();
    return { base: 0n, limit: -1, attributes: 0 };
  }
  const descriptor = readDescriptor(cpu, selector, vector.generalProtection);
  const { attributes } = descriptor;
  const dpl = (attributes >> attribute.dplShift) & 3;
  if ((selector & 3) !== cpl || dpl !== cpl || (attributes & 0x1a) !== 0x12)
    throw generalProtection(selector & ~3);
  if (!(attributes & attribute.present)) throw new GuestFault(vector.stackFault, selector & ~3);
  setAccessed(cpu, selector, descriptor);
  return descriptor;
}

/** SDM volume 2, IRET: data segments more privileged than the new CPL become null. */
export function dropPrivilegedSegments(cpu: Cpu, cpl: number): void {
  for (const segment of [segmentIndex.es, segmentIndex.ds, segmentIndex.fs, segmentIndex.gs]) {
    const { attributes, base } = cpu.registers.segment(segment);
    const dpl = (attributes >> 5) & 3;
    const conforming = (attributes & 0x1c) === 0x1c;
    // The base stays: 64-bit code reaches FS's and GS's with a null selector, too.
    if (cpu.registers.selector(segment) !== 0 && dpl < cpl && !conforming)
      cpu.registers.setSegment(segment, 0, { base, limit: 0, attributes: 0 });
  }
}

/** LLDT and LTR: 16-byte descriptors in IA-32e mode. */
export function loadSystemSegment(cpu: Cpu, which: "ldtr" | "tr", selector: number): void {
  const { registers } = cpu;
  if (registers.cpl !== 0) throw generalProtection();
  if ((selector & ~3) === 0) {
    if (which === "tr") throw generalProtection();
    registers.setSegment(segmentIndex.ldtr, selector, { base: 0n, limit: 0, attributes: 0 });
    return;
  }
  if (selector & 4) throw generalProtection(selector & ~3);
  const address = descriptorAddress(cpu, selector, vector.generalProtection);
  const low = cpu.readSystem(address, 8);
  const high = cpu.isLongMode ? cpu.readSystem(address + 8n, 8) : 0n;
  const descriptor = parseDescriptor(low);
  const type = descriptor.attributes & 0x1f;
  const is16 = which === "tr" && type === 1 && !cpu.isLongMode;
  if (type !== (which === "tr" ? 9 : 2) && !is16) throw generalProtection(selector & ~3);
  if (!(descriptor.attributes & attribute.present))
    throw new GuestFault(vector.segmentNotPresent, selector & ~3);
  descriptor.base |= (high & 0xffff_ffffn) << 32n;
  if (which === "tr") {
    cpu.writeSystem(address, 8, low | (1n << 41n), false); // busy
    descriptor.attributes |= 2;
  }
  registers.setSegment(segmentIndex[which], selector, descriptor);
}
