/**
 * Vector instructions too irregular for emitters: string compares with explicit
 * lengths or masks, MPSADBW.
 *
 * Intel SDM volume 2: PCMPESTRI, PCMPESTRM, PCMPISTRM (§4.1 for the steps and names used here),
 * MPSADBW.
 */
import { type Instruction, operandKind } from "../isa/decode.ts";
import { layout, state } from "../state.ts";
import type { Cpu } from "./cpu.ts";
import { generalProtection } from "./fault.ts";
import type { Helper } from "./system-instructions.ts";

/** The 16 bytes of a vector operand, copied. */
function vectorBytes(cpu: Cpu, it: Instruction, operand: number, aligned: boolean): DataView {
  const copy = new Uint8Array(16);
  if (it.kinds[operand] === operandKind.memory) {
    const at = cpu.registers.get64(state.ea);
    if (aligned && at & 15n) throw generalProtection();
    const view = new DataView(copy.buffer);
    view.setBigUint64(0, cpu.readData(at, 8), true);
    view.setBigUint64(8, cpu.readData(at + 8n, 8), true);
  } else {
    const at = layout.state + state.xmm + (it.values[operand] as number) * 16;
    copy.set(cpu.registers.bytes.subarray(at, at + 16));
  }
  return new DataView(copy.buffer);
}

function setVector(cpu: Cpu, register: number, value: DataView): void {
  for (const half of [0, 8])
    cpu.registers.set64(state.xmm + register * 16 + half, value.getBigUint64(half, true));
}

/** Elements of a string operand, signed or not, bytes or words, as bits 1:0 of the immediate say. */
function elements(view: DataView, format: number): number[] {
  if (format & 1)
    return Array.from({ length: 8 }, (_, i) =>
      format & 2 ? view.getInt16(i * 2, true) : view.getUint16(i * 2, true),
    );
  return Array.from({ length: 16 }, (_, i) => (format & 2 ? view.getInt8(i) : view.getUint8(i)));
}

function explicitLength(cpu: Cpu, register: number, wide: boolean, limit: number): number {
  const value = wide
    ? BigInt.asIntN(64, cpu.registers.gpr(register))
    : BigInt(cpu.registers.gpr32(register));
  const magnitude = value < 0n ? -value : value;
  return magnitude > BigInt(limit) ? limit : Number(magnitude);
}

/** IntRes1: one bit for each element of the second string. */
function aggregate(
  a: number[],
  b: number[],
  lengthA: number,
  lengthB: number,
  how: number,
): number {
  const n = a.length;
  let result = 0;
  for (let j = 0; j < n; j++) {
    const validB = j < lengthB;
    let bit = false;
    if (how === 0)
      bit = validB && a.indexOf(b[j] as number) >= 0 && a.indexOf(b[j] as number) < lengthA;
    else if (how === 1)
      for (let i = 0; i + 1 < lengthA && validB; i += 2)
        bit ||= (b[j] as number) >= (a[i] as number) && (b[j] as number) <= (a[i + 1] as number);
    else if (how === 2) bit = j < lengthA && validB ? a[j] === b[j] : j >= lengthA && !validB;
    else {
      bit = true;
      for (let i = 0; i < lengthA && i + j < n; i++)
        if (i + j >= lengthB || a[i] !== b[i + j]) bit = false;
    }
    if (bit) result |= 1 << j;
  }
  return result;
}

function compareStrings(explicit: boolean, toMask: boolean): Helper {
  return (cpu, it) => {
    const control = it.immediate & 0xff;
    const a = elements(vectorBytes(cpu, it, 0, false), control & 3);
    const b = elements(vectorBytes(cpu, it, 1, false), control & 3);
    const n = a.length;
    const end = (list: number[]): number => (list.indexOf(0) < 0 ? n : list.indexOf(0));
    const wide = it.wide;
    const lengthA = explicit ? explicitLength(cpu, 0, wide, n) : end(a);
    const lengthB = explicit ? explicitLength(cpu, 2, wide, n) : end(b);
    let bits = aggregate(a, b, lengthA, lengthB, (control >> 2) & 3);
    const polarity = (control >> 4) & 3;
    if (polarity === 1) bits ^= (1 << n) - 1;
    if (polarity === 3) bits ^= (1 << lengthB) - 1;
    const { registers } = cpu;
    if (toMask) setVector(cpu, 0, resultMask(bits, n, (control & 0x40) !== 0));
    else {
      const highest = 31 - Math.clz32(bits);
      const lowest = 31 - Math.clz32(bits & -bits);
      registers.setGpr32(1, bits === 0 ? n : control & 0x40 ? highest : lowest);
    }
    registers.rflags =
      (registers.rflags & ~0x8d5) |
      (bits !== 0 ? 1 : 0) |
      (lengthB < n ? 0x40 : 0) |
      (lengthA < n ? 0x80 : 0) |
      (bits & 1 ? 0x800 : 0);
    return "continue";
  };
}

function resultMask(bits: number, n: number, expand: boolean): DataView {
  const view = new DataView(new ArrayBuffer(16));
  if (!expand) {
    view.setUint16(0, bits, true);
    return view;
  }
  const bytes = 16 / n;
  for (let i = 0; i < 16; i++) view.setUint8(i, (bits >> Math.floor(i / bytes)) & 1 ? 0xff : 0);
  return view;
}

const sumsOfDifferences: Helper = (cpu, it) => {
  const b = vectorBytes(cpu, it, 1, true);
  const a = vectorBytes(cpu, it, 0, true);
  const from = it.immediate & 4 ? 4 : 0;
  const block = (it.immediate & 3) * 4;
  const result = new DataView(new ArrayBuffer(16));
  for (let i = 0; i < 8; i++) {
    let sum = 0;
    for (let k = 0; k < 4; k++) sum += Math.abs(a.getUint8(from + i + k) - b.getUint8(block + k));
    result.setUint16(i * 2, sum, true);
  }
  setVector(cpu, it.values[0] as number, result);
  return "continue";
};

export const vectorHelpers: Readonly<Record<string, Helper>> = {
  pcmpestri: compareStrings(true, false),
  pcmpestrm: compareStrings(true, true),
  pcmpistrm: compareStrings(false, true),
  mpsadbw: sumsOfDifferences,
};
