/**
 * FXSAVE, FXRSTOR and the control registers of x87 and SSE (SDM volume 1 §10.5).
 */
import { operandKind } from "../isa/decode.ts";
import { layout, state } from "../state.ts";
import type { Cpu } from "./cpu.ts";
import { GuestFault, generalProtection, vector } from "./fault.ts";
import { mxcsrChanged } from "./soft-sse.ts";
import type { Helper } from "./system-instructions.ts";

const mxcsrMask = 0xffff;

/** CR0.TS or CR0.EM: #NM before any x87 instruction. */
export function checkFpu(cpu: Cpu): void {
  if (cpu.registers.get32(state.cr0) & 0xc) throw new GuestFault(vector.deviceNotAvailable);
}

/** ST(i), MMX and XMM as they lie in the FXSAVE area. */
const fxsave: Helper = (cpu) => {
  checkFpu(cpu);
  const { registers } = cpu;
  const at = registers.get64(state.ea);
  if (at & 15n) throw generalProtection();
  const put = (offset: number, bytes: number, value: bigint): void =>
    cpu.writeData(at + BigInt(offset), bytes, value);
  const top = registers.get32(state.ftop);
  put(0, 2, BigInt(registers.get32(state.fcw) & 0xffff));
  put(2, 2, BigInt((registers.get32(state.fsw) & ~0x3800 & 0xffff) | (top << 11)));
  put(4, 2, BigInt(registers.get32(state.ftags) & 0xff));
  put(6, 2, BigInt(registers.get32(state.fop) & 0x7ff));
  put(8, 8, registers.get64(state.fip));
  put(16, 8, registers.get64(state.fdp));
  put(24, 4, BigInt(registers.get32(state.mxcsr) >>> 0));
  put(28, 4, BigInt(mxcsrMask));
  for (let i = 0; i < 8; i++) {
    const physical = (top + i) & 7;
    put(32 + i * 16, 8, registers.get64(state.st + physical * 16));
    put(40 + i * 16, 8, registers.get64(state.st + physical * 16 + 8) & 0xffffn);
  }
  const count = cpu.is64 ? 16 : 8;
  for (let i = 0; i < count * 2; i++) put(160 + i * 8, 8, registers.get64(state.xmm + i * 8));
  return "continue";
};

const fxrstor: Helper = (cpu) => {
  checkFpu(cpu);
  const { registers } = cpu;
  const at = registers.get64(state.ea);
  if (at & 15n) throw generalProtection();
  const get = (offset: number, bytes: number): bigint => cpu.readData(at + BigInt(offset), bytes);
  const mxcsr = Number(get(24, 4));
  if (mxcsr & ~mxcsrMask) throw generalProtection();
  const values = Array.from({ length: 64 }, (_, i) => get(i * 8, 8));
  const quad = (i: number): bigint => values[i] as bigint;
  const fsw = Number((quad(0) >> 16n) & 0xffffn);
  const top = (fsw >> 11) & 7;
  registers.set32(state.fcw, Number(quad(0) & 0xffffn));
  registers.set32(state.fsw, fsw & ~0x3800);
  registers.set32(state.ftop, top);
  registers.set32(state.ftags, Number((quad(0) >> 32n) & 0xffn));
  registers.set32(state.fop, Number((quad(0) >> 48n) & 0x7ffn));
  registers.set64(state.fip, quad(1));
  registers.set64(state.fdp, quad(2));
  registers.set32(state.mxcsr, mxcsr);
  mxcsrChanged(cpu);
  for (let i = 0; i < 8; i++) {
    const physical = (top + i) & 7;
    registers.set64(state.st + physical * 16, quad(4 + i * 2));
    registers.set64(state.st + physical * 16 + 8, quad(5 + i * 2) & 0xffffn);
  }
  for (let i = 0; i < 32; i++) registers.set64(state.xmm + i * 8, quad(20 + i));
  return "continue";
};

const ldmxcsr: Helper = (cpu) => {
  const value = Number(cpu.readData(cpu.registers.get64(state.ea), 4));
  if (value & ~mxcsrMask) throw generalProtection();
  cpu.registers.set32(state.mxcsr, value);
  mxcsrChanged(cpu);
  return "continue";
};

const stmxcsr: Helper = (cpu) => {
  const value = BigInt(cpu.registers.get32(state.mxcsr) >>> 0);
  cpu.writeData(cpu.registers.get64(state.ea), 4, value);
  return "continue";
};

export const fpuStateHelpers: Readonly<Record<string, Helper>> = {
  fxsave,
  fxrstor,
  ldmxcsr,
  stmxcsr,
};
export { layout, operandKind };
