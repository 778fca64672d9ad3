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

/** The area as it is moved, by the operations of all CPUs of a thread. */
const areaWords = new Int32Array(128);
const areaQuads = new BigInt64Array(areaWords.buffer);
const stWords = (layout.state + state.st) >> 2;
const xmmWords = (layout.state + state.xmm) >> 2;
/** Where ST(0) and XMM0 lie in the area, in words. */
const area = { st: 32 / 4, xmm: 160 / 4 } as const;

/** Most are a kernel's, of a process it switches from or to: on words, unless a page ends within. */
const fxsave: Helper = (cpu) => {
  checkFpu(cpu);
  const { registers } = cpu;
  if (registers.get32(state.ea) & 15) throw generalProtection();
  gather(cpu);
  const bytes = (area.xmm + (cpu.is64 ? 16 : 8) * 4) * 4;
  const to = cpu.wordsOfData(state.ea, bytes, true);
  if (to >= 0) {
    registers.words.set(areaWords.subarray(0, bytes / 4), to);
    return "continue";
  }
  const at = registers.get64(state.ea);
  for (let i = 0; i < bytes / 8; i++)
    cpu.writeData(at + BigInt(i * 8), 8, BigInt.asUintN(64, areaQuads[i] as bigint));
  return "continue";
};

/** From registers to the area: ST(i), MMX and XMM. */
function gather({ registers }: Cpu): void {
  const { words } = registers;
  const top = registers.get32(state.ftop);
  const fsw = (registers.get32(state.fsw) & ~0x3800 & 0xffff) | (top << 11);
  areaWords[0] = (registers.get32(state.fcw) & 0xffff) | (fsw << 16);
  areaWords[1] =
    (registers.get32(state.ftags) & 0xff) | ((registers.get32(state.fop) & 0x7ff) << 16);
  areaWords[2] = registers.get32(state.fip);
  areaWords[3] = registers.get32(state.fip + 4);
  areaWords[4] = registers.get32(state.fdp);
  areaWords[5] = registers.get32(state.fdp + 4);
  areaWords[6] = registers.get32(state.mxcsr);
  areaWords[7] = mxcsrMask;
  for (let i = 0; i < 8; i++) {
    const from = stWords + ((top + i) & 7) * 4;
    const to = area.st + i * 4;
    areaWords[to] = words[from] as number;
    areaWords[to + 1] = words[from + 1] as number;
    areaWords[to + 2] = (words[from + 2] as number) & 0xffff;
    areaWords[to + 3] = 0;
  }
  areaWords.set(words.subarray(xmmWords, xmmWords + 64), area.xmm);
}

const fxrstor: Helper = (cpu) => {
  checkFpu(cpu);
  const { registers } = cpu;
  if (registers.get32(state.ea) & 15) throw generalProtection();
  const from = cpu.wordsOfData(state.ea, 512, false);
  if (from >= 0) areaWords.set(registers.words.subarray(from, from + 128));
  else {
    const at = registers.get64(state.ea);
    for (let i = 0; i < 64; i++) areaQuads[i] = cpu.readData(at + BigInt(i * 8), 8);
  }
  if ((areaWords[6] as number) & ~mxcsrMask) throw generalProtection();
  scatter(cpu);
  mxcsrChanged(cpu);
  return "continue";
};

/** From the area to registers. */
function scatter({ registers }: Cpu): void {
  const { words } = registers;
  const control = areaWords[0] as number;
  const tags = areaWords[1] as number;
  const fsw = control >>> 16;
  const top = (fsw >> 11) & 7;
  registers.set32(state.fcw, control & 0xffff);
  registers.set32(state.fsw, fsw & ~0x3800);
  registers.set32(state.ftop, top);
  registers.set32(state.ftags, tags & 0xff);
  registers.set32(state.fop, (tags >>> 16) & 0x7ff);
  registers.set32(state.fip, areaWords[2] as number);
  registers.set32(state.fip + 4, areaWords[3] as number);
  registers.set32(state.fdp, areaWords[4] as number);
  registers.set32(state.fdp + 4, areaWords[5] as number);
  registers.set32(state.mxcsr, areaWords[6] as number);
  for (let i = 0; i < 8; i++) {
    const to = stWords + ((top + i) & 7) * 4;
    const at = area.st + i * 4;
    words[to] = areaWords[at] as number;
    words[to + 1] = areaWords[at + 1] as number;
    words[to + 2] = (areaWords[at + 2] as number) & 0xffff;
    words[to + 3] = 0;
  }
  words.set(areaWords.subarray(area.xmm, area.xmm + 64), xmmWords);
}

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
