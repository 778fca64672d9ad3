/**
 * Random instructions and states for the differential tests, from a seed.
 *
 * Every row of the instruction table that has an emitter is encoded with random registers, memory
 * forms and immediates. Memory operands point into the 64 bytes of data; RBX, RSI, RDI and RSP
 * hold addresses there, RCX a small count when the instruction counts with it.
 */

import { stringOperations } from "../../../vmm-sandbox/translator/emit/string.ts";
import { emitters } from "../../../vmm-sandbox/translator/interpreter/forms.ts";
import { type Row, rows } from "../../../vmm-sandbox/translator/isa/instruction-set.ts";
import { vectorHelpers } from "../../../vmm-sandbox/translator/system/vector-helpers.ts";
import { addresses, instructionOffset, offsets, stateBytes } from "./host-cpu.ts";

/** xorshift128; good enough and the same everywhere. */
export class Random {
  private a: number;
  private b = 0x9e37_79b9;
  private c = 0x243f_6a88;
  private d = 0xb7e1_5162;
  constructor(seed: number) {
    this.a = seed * 2 + 1;
    for (let i = 0; i < 20; i++) this.word();
  }
  word(): number {
    const t = this.a ^ (this.a << 11);
    this.a = this.b;
    this.b = this.c;
    this.c = this.d;
    this.d = (this.d ^ (this.d >>> 19) ^ t ^ (t >>> 8)) | 0;
    return this.d >>> 0;
  }
  below(limit: number): number {
    return this.word() % limit;
  }
  chance(oneIn: number): boolean {
    return this.below(oneIn) === 0;
  }
  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)] as T;
  }
}

/** Privileged, jumping or otherwise not for user mode on the host. */
const excluded = new Set(
  // Approximations differ between processors by design.
  "rcpps rcpss rsqrtps rsqrtss call callind jmp jmpind ret retn jcc loop loope loopne jcxz popf pushf cli sti swapgs enter leave rdfsbase rdgsbase wrfsbase wrgsbase".split(
    " ",
  ),
);

/** Approximated through doubles, or not comparable (FXSAVE does not hold what they change). */
const approximated = new Set([0xf0, 0xf1, 0xf2, 0xf3, 0xf9, 0xfb, 0xfe, 0xff]);

export const testedRows: readonly Row[] = rows.filter(
  (row) =>
    (row.mnemonic in emitters ||
      row.mnemonic in stringOperations ||
      row.mnemonic in vectorHelpers ||
      row.mnemonic === "fpu") &&
    !row.invalidIn64 &&
    !excluded.has(row.mnemonic),
);

export type Encoded = {
  readonly bytes: Uint8Array;
  readonly usesMemory: boolean;
  readonly size: number;
};

/** Encodes a row with random operands; undefined when the choice was not encodable. */
export function encode(row: Row, random: Random): Encoded {
  const letters = row.operands.map((operand) => operand.letter).join("");
  const out: number[] = [];
  const isString = row.mnemonic in stringOperations;
  const operand16 = row.sized === "v" && random.chance(4);
  if (isString && random.chance(2)) out.push(random.pick([0xf2, 0xf3]));
  if (operand16) out.push(0x66);
  if (row.prefix > 0) out.push([0, 0x66, 0xf3, 0xf2][row.prefix] as number);
  const wide = !operand16 && random.chance(2) && row.sized !== "";
  let memory = row.hasModRm && row.form !== "reg" && (row.form === "mem" || random.chance(2));
  if (letters.includes("M")) memory = true;
  if (/[RUN]/.test(letters)) memory = false;
  // AH…BH are reachable only without REX.
  const useRex = wide || random.chance(2);
  const rexBits = useRex ? (wide ? 8 : 0) | random.below(8) : 0;
  let rex = memory ? rexBits & ~3 : rexBits;
  let modRm = random.below(256);
  const tail: number[] = [];
  if (memory) ({ modRm, rex } = memoryForm(random, modRm, rex, tail));
  else modRm |= 0xc0;
  if (row.mnemonic === "fpu") modRm = fpuModRm(row.opcode, modRm, memory, random);
  if (row.digit >= 0) modRm = (modRm & 0xc7) | (row.digit << 3);
  if (row.rm >= 0) modRm = (modRm & 0xf8) | row.rm;
  if (useRex || rex) out.push(0x40 | rex);
  const escapes = [[], [0x0f], [0x0f, 0x38], [0x0f, 0x3a]][row.map] as number[];
  const opcode = row.opcode + (row.opcodeCount === 8 ? random.below(8) : 0);
  out.push(...escapes, opcode);
  if (row.hasModRm) out.push(modRm, ...tail);
  const before = out.length;
  const size = rex & 8 ? 64 : operand16 ? 16 : 32;
  for (const spec of row.operands) {
    if (spec.letter === "I") out.push(...immediate(spec.size, size, random));
    if (spec.letter === "O") out.push(...offset(random));
  }
  // A RIP-relative displacement counts from the end of the instruction.
  if (memory && (modRm & 0xc7) === 5) {
    const from = addresses.code + instructionOffset + out.length;
    const target = addresses.data + random.below(40) - from;
    for (let i = 0; i < 4; i++) out[before - 4 + i] = (target >> (8 * i)) & 255;
  }
  return {
    bytes: Uint8Array.from(out),
    usesMemory: memory || isString || letters.includes("O"),
    size,
  };
}

/** Only what is defined, and nothing that leaves FPU exceptions unmasked or moves whole images. */
function fpuModRm(opcode: number, drawn: number, memory: boolean, random: Random): number {
  for (
    let modRm = drawn;
    ;
    modRm = memory ? (drawn & 0xc7) | (random.below(8) << 3) : 0xc0 | random.below(64)
  ) {
    const reg = (modRm >> 3) & 7;
    if (memory) {
      if (opcode === 0xd9 && (reg === 1 || reg === 4 || reg === 5 || reg === 6)) continue;
      if (opcode === 0xdb && (reg === 4 || reg === 6)) continue;
      if (opcode === 0xdd && reg >= 4 && reg <= 6) continue;
      if (opcode === 0xdf && reg === 4) continue; // FBLD: bad digits are undefined
      return modRm;
    }
    if (
      opcode === 0xd9 &&
      ((modRm >= 0xd1 && modRm <= 0xdf) || [0xe2, 0xe3, 0xe6, 0xe7, 0xef].includes(modRm))
    )
      continue;
    if (opcode === 0xd9 && approximated.has(modRm)) continue;
    if (opcode === 0xda && reg >= 4 && modRm !== 0xe9) continue;
    if (opcode === 0xdb && (reg === 4 || reg === 7)) continue;
    if (opcode === 0xdc && (reg === 2 || reg === 3)) continue;
    if (opcode === 0xdd && (reg === 1 || reg >= 6)) continue;
    if (opcode === 0xde && (reg === 2 || (reg === 3 && modRm !== 0xd9))) continue;
    if (opcode === 0xdf && (reg < 4 || reg === 7 || (reg === 4 && modRm !== 0xe0))) continue;
    return modRm;
  }
}

function memoryForm(random: Random, modRmIn: number, rexIn: number, tail: number[]) {
  const reg = modRmIn & 0x38;
  switch (random.below(4)) {
    case 0: // [rbx + disp8]
      tail.push(random.below(16));
      return { modRm: 0x43 | reg, rex: rexIn };
    case 1: // [rbx + rdx * scale + disp8]; RDX is small in states of such instructions
      tail.push((random.below(3) << 6) | (2 << 3) | 3, random.below(8));
      return { modRm: 0x44 | reg, rex: rexIn };
    case 2: {
      // [abs32]
      const address = addresses.data + random.below(40);
      tail.push(0x25, address & 255, (address >> 8) & 255, (address >> 16) & 255, address >>> 24);
      return { modRm: 0x04 | reg, rex: rexIn };
    }
    default: // [rip + disp32], filled in later
      tail.push(0, 0, 0, 0);
      return { modRm: 0x05 | reg, rex: rexIn };
  }
}

function immediate(letter: string, size: number, random: Random): number[] {
  const bytes =
    letter === "b" || letter === "s"
      ? 1
      : letter === "w"
        ? 2
        : letter === "v"
          ? size / 8
          : Math.min(size, 32) / 8;
  return Array.from({ length: bytes }, () =>
    random.pick([0, 1, 2, 31, 127, 128, 255, random.below(256)]),
  );
}

function offset(random: Random): number[] {
  const address = addresses.data + random.below(40);
  return [address & 255, (address >> 8) & 255, (address >> 16) & 255, address >>> 24, 0, 0, 0, 0];
}

const corners = [
  0n,
  1n,
  2n,
  0x7fn,
  0x80n,
  0xffn,
  0x7fffn,
  0x8000n,
  0xffffn,
  0x7fff_ffffn,
  0x8000_0000n,
  0xffff_ffffn,
  0x7fff_ffff_ffff_ffffn,
  0x8000_0000_0000_0000n,
  0xffff_ffff_ffff_ffffn,
] as const;

const floats = [
  0,
  -0,
  1,
  -1,
  0.5,
  1.5,
  2.5,
  -2.5,
  1e10,
  -1e10,
  1e300,
  3e-310,
  Number.NaN,
  Number.POSITIVE_INFINITY,
  Number.NEGATIVE_INFINITY,
];

function quad(random: Random): bigint {
  const kind = random.below(4);
  if (kind === 0) return random.pick(corners);
  if (kind === 1) return BigInt(random.below(256));
  return (BigInt(random.word()) << 32n) | BigInt(random.word());
}

/** x87: every kind of number, mostly full stacks, exceptions masked. */
function fillFpu(words: DataView, random: Random): void {
  const at = offsets.fx;
  const precision = random.pick([0, 2, 3, 3, 3]);
  words.setUint16(at, 0x7f | (precision << 8) | (random.below(4) << 10), true);
  words.setUint16(at + 2, (random.below(8) << 11) | (random.below(0x10000) & 0x4700), true);
  words.setUint8(at + 4, random.chance(8) ? random.below(256) : 0xff);
  // Half the time another rounding, denormals as zeros, flush to zero, flags already set.
  const controls = random.chance(2)
    ? (random.below(4) << 13) | (random.below(4) & 2 ? 0x40 : 0)
    : 0;
  const flush = controls !== 0 && random.chance(2) ? 0x8000 : 0;
  words.setUint32(
    at + 24,
    0x1f80 | controls | flush | (random.chance(2) ? random.below(64) : 0),
    true,
  );
  for (let i = 0; i < 8; i++) {
    const [mantissa, high] = extendedValue(random);
    words.setBigUint64(at + 32 + i * 16, mantissa, true);
    words.setBigUint64(at + 40 + i * 16, BigInt(high), true);
  }
}

function extendedValue(random: Random): readonly [bigint, number] {
  const sign = random.below(2) << 15;
  const one = 1n << 63n;
  const fraction = random.pick([
    0n,
    quad(random) >> 1n,
    1n,
    one - 1n,
    (quad(random) >> 44n) << 43n,
  ]);
  switch (random.below(8)) {
    case 0:
      return [0n, sign];
    case 1:
      return [one, sign | 0x7fff];
    case 2:
      return [one | fraction, sign | 0x7fff];
    case 3:
      return [fraction, sign];
    case 4:
      return [one | fraction, sign | random.below(0x7fff)];
    default:
      return [one | fraction, sign | (16383 - 40 + random.below(110))];
  }
}

/** Fills one state. */
export function fillState(view: Uint8Array, row: Row, usesMemory: boolean, random: Random): void {
  const words = new DataView(view.buffer, view.byteOffset, stateBytes);
  for (let i = 0; i < 16; i++) words.setBigUint64(i * 8, quad(random), true);
  const data = BigInt(addresses.data);
  const isString = row.mnemonic in stringOperations;
  words.setBigUint64(4 * 8, data + 32n, true);
  if (usesMemory) {
    words.setBigUint64(3 * 8, data + BigInt(random.below(8)), true);
    words.setBigUint64(2 * 8, BigInt(random.below(4)), true);
  }
  if (row.mnemonic === "xlat") {
    words.setBigUint64(0, BigInt(random.below(32)), true);
    words.setBigUint64(3 * 8, data, true);
  }
  if (isString) {
    words.setBigUint64(6 * 8, data + BigInt(24 + random.below(16)), true);
    words.setBigUint64(7 * 8, data + BigInt(24 + random.below(16)), true);
    words.setBigUint64(1 * 8, BigInt(random.below(4)), true);
  }
  if (/^bt/.test(row.mnemonic) && usesMemory)
    for (let i = 0; i < 16; i++)
      if (i !== 3 && i !== 2 && i !== 4) words.setBigInt64(i * 8, BigInt(random.below(64)), true);
  // MASKMOVQ and MASKMOVDQU write where RDI points.
  if (row.mnemonic.startsWith("maskmov"))
    words.setBigUint64(7 * 8, data + BigInt(random.below(48)), true);
  // Arithmetic flags and DF; IF is always set in user mode.
  const flags = (random.below(0x1000) & 0x8d5) | 0x202 | (isString && random.chance(2) ? 0x400 : 0);
  words.setBigUint64(offsets.flags, BigInt(flags), true);
  fillFpu(words, random);
  for (let i = offsets.xmm; i < stateBytes; i += 8) {
    if (i >= offsets.xmm + 256 && i < offsets.data) continue;
    const kind = random.below(4);
    if (kind === 0) words.setFloat64(i, random.pick(floats), true);
    else if (kind === 1) {
      words.setFloat32(i, random.pick(floats), true);
      words.setFloat32(i + 4, random.pick(floats), true);
    } else words.setBigUint64(i, quad(random), true);
  }
}

const [cf, pf, af, zf, sf, of] = [1, 4, 0x10, 0x40, 0x80, 0x800];

/** Flags the manuals leave undefined after this instruction with this count. */
export function undefinedFlags(row: Row, count: number, size: number): number {
  switch (row.mnemonic) {
    case "and":
    case "or":
    case "xor":
    case "test":
      return af;
    case "shl":
    case "shr":
    case "sar":
      return af | (count !== 1 ? of : 0) | (count >= size ? cf : 0);
    case "rol":
    case "ror":
    case "rcl":
    case "rcr":
      return count !== 1 ? of : 0;
    case "shld":
    case "shrd":
      return count > size ? cf | pf | af | zf | sf | of : af | (count !== 1 ? of : 0);
    case "mul":
    case "imul":
    case "imul3":
      return pf | af | zf | sf;
    case "div":
    case "idiv":
      return cf | pf | af | zf | sf | of;
    case "bsf":
    case "bsr":
      return cf | pf | af | sf | of;
    case "bt":
    case "bts":
    case "btr":
    case "btc":
      return pf | af | sf | of;
    default:
      return 0;
  }
}
