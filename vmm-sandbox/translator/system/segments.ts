/**
 * Segment registers and descriptor tables (SDM volume 3A §3.4 and §5), as far as 64-bit code
 * loads them.
 */
import { state } from "../state.ts";
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
  cpu.registers.setSegment(segmentIndex.cs, selector, descriptor);
  cpu.setPrivilege(cpl);
}

/** MOV and POP to a data or stack segment register. */
export function loadDataSegment(cpu: Cpu, segment: number, selector: number): void {
  const { registers } = cpu;
  if ((selector & ~3) === 0) {
    // 64-bit code may load a null SS below CPL 3.
    if (segment === segmentIndex.ss && (registers.cpl === 3 || (selector & 3) !== registers.cpl))
      throw generalProtection(0);
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
  registers.setSegment(segment, selector, descriptor);
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
  const high = cpu.readSystem(address + 8n, 8);
  const descriptor = parseDescriptor(low);
  const type = descriptor.attributes & 0x1f;
  if (type !== (which === "tr" ? 9 : 2)) throw generalProtection(selector & ~3);
  if (!(descriptor.attributes & attribute.present))
    throw new GuestFault(vector.segmentNotPresent, selector & ~3);
  descriptor.base |= (high & 0xffff_ffffn) << 32n;
  if (which === "tr") {
    cpu.writeSystem(address, 8, low | (1n << 41n), false); // busy
    descriptor.attributes |= 2;
  }
  registers.setSegment(segmentIndex[which], selector, descriptor);
}

/** SYSCALL, SDM volume 2: flat segments from STAR, RCX and R11 hold the way back. */
export function systemCall(cpu: Cpu, next: bigint): void {
  const { registers } = cpu;
  if (!(registers.get64(state.efer) & 1n)) throw new GuestFault(vector.invalidOpcode);
  const star = registers.get64(state.star);
  const selector = Number((star >> 32n) & 0xfffcn);
  registers.setGpr(1, next);
  registers.setGpr(11, BigInt(registers.rflags & ~0x1_0000));
  const mask = registers.get32(state.sfmask);
  registers.rflags = registers.rflags & ~mask & ~0x1_0000;
  registers.rip = registers.get64(state.lstar);
  registers.setSegment(segmentIndex.cs, selector, flatCode64(0));
  registers.setSegment(segmentIndex.ss, selector + 8, flatData(0));
  cpu.setPrivilege(0);
}

/** SYSRET. */
export function systemReturn(cpu: Cpu, size: number): void {
  const { registers } = cpu;
  if (!(registers.get64(state.efer) & 1n)) throw new GuestFault(vector.invalidOpcode);
  if (registers.cpl !== 0) throw generalProtection();
  const target = registers.gpr(1);
  if (size === 64 && !canonical(target)) throw generalProtection();
  const star = Number((registers.get64(state.star) >> 48n) & 0xffffn);
  const changeable = 0x3c_7fd7;
  registers.rflags = (Number(registers.gpr(11) & 0xffff_ffffn) & changeable) | 2;
  const code = size === 64 ? flatCode64(3) : { ...flatCode64(3), attributes: 0xc0fb };
  registers.setSegment(segmentIndex.cs, (star + (size === 64 ? 16 : 0)) | 3, code);
  registers.setSegment(segmentIndex.ss, (star + 8) | 3, flatData(3));
  registers.rip = size === 64 ? target : target & 0xffff_ffffn;
  cpu.setPrivilege(3);
}

export function flatCode64(dpl: number): DescriptorCache {
  return { base: 0n, limit: -1, attributes: 0xa09b | (dpl << 5) };
}

export function flatData(dpl: number): DescriptorCache {
  return { base: 0n, limit: -1, attributes: 0xc093 | (dpl << 5) };
}
