/** SYSCALL, SYSENTER and their ways back (SDM volume 2): flat segments without descriptor tables. */
import { state } from "../state.ts";
import type { Cpu } from "./cpu.ts";
import { GuestFault, generalProtection, vector } from "./fault.ts";
import { type DescriptorCache, segmentIndex } from "./registers.ts";
import { canonical } from "./segments.ts";

/** SYSCALL, SDM volume 2: flat segments from STAR, RCX and R11 hold the way back. */
export function systemCall(cpu: Cpu): void {
  const { registers } = cpu;
  if (!(registers.get32(state.efer) & 1)) throw new GuestFault(vector.invalidOpcode);
  const selector = registers.get32(state.star + 4) & 0xfffc;
  registers.copy64(state.gpr + 1 * 8, state.rip);
  const rflags = registers.rflags & ~0x1_0000;
  registers.setGpr32(11, rflags);
  registers.rflags = rflags & ~registers.get32(state.sfmask);
  registers.copy64(state.rip, state.lstar);
  registers.setSegment(segmentIndex.cs, selector, flatCode64(0));
  registers.setSegment(segmentIndex.ss, selector + 8, flatData(0));
  cpu.setPrivilege(0);
}

/** SYSRET. */
export function systemReturn(cpu: Cpu, size: number): void {
  const { registers } = cpu;
  if (!(registers.get32(state.efer) & 1)) throw new GuestFault(vector.invalidOpcode);
  if (registers.cpl !== 0) throw generalProtection();
  const targetTop = registers.get32(state.gpr + 1 * 8 + 4) >> 15;
  if (size === 64 && targetTop !== 0 && targetTop !== -1) throw generalProtection();
  const star = registers.get32(state.star + 4) >>> 16;
  const changeable = 0x3c_7fd7;
  registers.rflags = (registers.gpr32(11) & changeable) | 2;
  const code = size === 64 ? flatCode64(3) : flatCode32(3);
  registers.setSegment(segmentIndex.cs, (star + (size === 64 ? 16 : 0)) | 3, code);
  registers.setSegment(segmentIndex.ss, (star + 8) | 3, flatData(3));
  registers.copy64(state.rip, state.gpr + 1 * 8);
  if (size !== 64) registers.set32(state.rip + 4, 0);
  cpu.setPrivilege(3);
}

export function flatCode64(dpl: number): DescriptorCache {
  return { base: 0n, limit: -1, attributes: 0xa09b | (dpl << 5) };
}

export function flatData(dpl: number): DescriptorCache {
  return { base: 0n, limit: -1, attributes: 0xc093 | (dpl << 5) };
}

export function flatCode32(dpl: number): DescriptorCache {
  return { base: 0n, limit: -1, attributes: 0xc09b | (dpl << 5) };
}

/** SYSENTER: the kernel finds its stack and entry in three MSRs; nothing remembers the way back. */
export function systemEnter(cpu: Cpu): void {
  const { registers } = cpu;
  const selector = Number(registers.get64(state.sysenterCs) & 0xfffcn);
  if (cpu.isReal || selector === 0) throw generalProtection();
  const mask = cpu.isLongMode ? ~0n : 0xffff_ffffn;
  registers.rflags &= ~(0x200 | 0x2_0000 | 0x1_0000);
  registers.setGpr(4, BigInt.asUintN(64, registers.get64(state.sysenterEsp) & mask));
  registers.rip = BigInt.asUintN(64, registers.get64(state.sysenterEip) & mask);
  const code = cpu.isLongMode ? flatCode64(0) : flatCode32(0);
  registers.setSegment(segmentIndex.cs, selector, code);
  registers.setSegment(segmentIndex.ss, selector + 8, flatData(0));
  cpu.setPrivilege(0);
}

/** SYSEXIT: RDX and RCX hold the user's RIP and RSP. */
export function systemExit(cpu: Cpu, size: number): void {
  const { registers } = cpu;
  const base = Number(registers.get64(state.sysenterCs) & 0xfffcn);
  if (cpu.isReal || base === 0 || registers.cpl !== 0) throw generalProtection();
  const to64 = size === 64;
  const [rip, rsp] = [registers.gpr(2), registers.gpr(1)];
  if (to64 && !(canonical(rip) && canonical(rsp))) throw generalProtection();
  const selector = (base + (to64 ? 32 : 16)) | 3;
  registers.rip = to64 ? rip : rip & 0xffff_ffffn;
  registers.setGpr(4, to64 ? rsp : rsp & 0xffff_ffffn);
  registers.setSegment(segmentIndex.cs, selector, to64 ? flatCode64(3) : flatCode32(3));
  registers.setSegment(segmentIndex.ss, selector + 8, flatData(3));
  cpu.setPrivilege(3);
}
