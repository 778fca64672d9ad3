/**
 * The decoder: bytes to one `Instruction`, driven by the table.
 *
 * Decodes in place into a reusable object, allocates nothing. Never reads past `end`; an
 * instruction cut off there is reported, so that the caller can fetch the next page.
 *
 *   prefixes (≤ 14) · REX · escape · opcode · ModRM · SIB · displacement · immediate; ≤ 15 bytes
 */
import type { CodeSize } from "./code-size.ts";
import { groupSize, lookupFor, type Row, rows } from "./instruction-set.ts";

/** SDM volume 2A §2.3.11. */
export const maxInstructionBytes = 15;

export const operandKind = {
  none: 0,
  /** General register: value is its number; with size 8, 16…19 are AH, CH, DH, BH. */
  register: 1,
  memory: 2,
  /** The immediate: see `immediate` and `immediateHigh`. */
  immediate: 3,
  xmm: 4,
  mmx: 5,
  segment: 6,
  control: 7,
  debug: 8,
  /** A branch displacement, in `immediate`. */
  relative: 9,
} as const;

export const noRegister = -1;
export const ripRegister = 16;

export type DecodeStatus = "ok" | "truncated" | "undefined";

export class Instruction {
  row: Row = rows[0] as Row;
  length = 0;
  opcode = 0;
  modRm = 0;
  /** Effective operand size in bits of sized rows, else of the first operand, else 0. */
  size = 0;
  readonly kinds: number[] = [0, 0, 0, 0]; // typed arrays are slow to make, and the JIT makes many
  readonly values: number[] = [0, 0, 0, 0];
  readonly sizes: number[] = [0, 0, 0, 0];
  operandCount = 0;
  base = noRegister;
  index = noRegister;
  scale = 0;
  displacement = 0;
  /** Upper half of a 64-bit absolute address (A0…A3). */
  displacementHigh = 0;
  /** A0…A3 with an address that no sign-extended displacement reaches. */
  isAbsolute64 = false;
  /** Segment override: 0 ES, 1 CS, 2 SS, 3 DS, 4 FS, 5 GS; -1 none. */
  segment = -1;
  addressSize: CodeSize = 64;
  immediate = 0;
  immediateHigh = 0;
  /** The second immediate of ENTER and far pointers. */
  immediate2 = 0;
  lock = false;
  /** REX.W. */
  wide = false;
  /** 0, 0xf2 or 0xf3. */
  repeat = 0;

  get mnemonic(): string {
    return this.row.mnemonic;
  }
}

/** Decodes the instruction at `start`; `end` bounds what may be read. */
export class Decoder {
  private code: Uint8Array = new Uint8Array(0);
  private at = 0;
  private end = 0;
  private rex = 0;
  private truncated = false;

  decode(
    into: Instruction,
    code: Uint8Array,
    start: number,
    end: number,
    mode: CodeSize,
  ): DecodeStatus {
    const limit = start + maxInstructionBytes;
    this.code = code;
    this.at = start;
    this.end = Math.min(end, limit);
    this.truncated = false;
    const known = this.decodeAll(into, mode);
    into.length = this.at - start;
    // 15 bytes without an end are #GP on hardware; we say undefined, which the caller delivers.
    if (this.truncated) return this.end === limit ? "undefined" : "truncated";
    return known ? "ok" : "undefined";
  }

  private next(): number {
    if (this.at >= this.end) {
      this.truncated = true;
      return 0;
    }
    return this.code[this.at++] as number;
  }

  private next16(): number {
    return this.next() | (this.next() << 8);
  }

  private next32(): number {
    return this.next16() | (this.next16() << 16);
  }

  private decodeAll(into: Instruction, mode: CodeSize): boolean {
    let operand66 = false;
    let address67 = false;
    this.rex = 0;
    into.row = rows[0] as Row; // not that of the instruction before
    into.operandCount = 0;
    into.segment = -1;
    into.lock = false;
    into.repeat = 0;
    let opcode = 0;
    for (;;) {
      opcode = this.next();
      if (this.truncated) return false;
      if (opcode === 0x66) operand66 = true;
      else if (opcode === 0x67) address67 = true;
      else if (opcode === 0xf0) into.lock = true;
      else if (opcode === 0xf2 || opcode === 0xf3) into.repeat = opcode;
      else if ((opcode & 0xe7) === 0x26) {
        // In 64-bit mode ES, CS, SS and DS overrides do nothing, and do not cancel FS or GS.
        if (mode !== 64) into.segment = (opcode >> 3) & 3;
      } else if (opcode === 0x64 || opcode === 0x65) into.segment = opcode - 0x60;
      else if (mode === 64 && (opcode & 0xf0) === 0x40) {
        this.rex = opcode;
        continue; // a legacy prefix after REX cancels it: handled below
      } else break;
      this.rex = 0;
    }
    let map = 0;
    if (opcode === 0x0f) {
      opcode = this.next();
      map = 1;
      if (opcode === 0x38 || opcode === 0x3a) {
        map = opcode === 0x38 ? 2 : 3;
        opcode = this.next();
      }
    }
    into.opcode = opcode;
    // F3 90 is PAUSE, but F3 REX.B 90 exchanges R8 with rAX.
    const isExchange = map === 0 && opcode === 0x90 && (this.rex & 1) !== 0;
    const prefix = isExchange
      ? 0
      : into.repeat === 0xf3
        ? 2
        : into.repeat === 0xf2
          ? 3
          : operand66
            ? 1
            : 0;
    const { groupOf, rowOf, groupHasModRm } = lookupFor(mode === 64);
    const group = groupOf[(map << 10) | (prefix << 8) | (isExchange ? 0x91 : opcode)] as number;
    if (group === 0) return false;
    let slot = 0;
    into.modRm = 0;
    if (groupHasModRm[group]) {
      let modRm = this.next();
      // MOV to and from control and debug registers ignores ModRM.mod (SDM volume 2, MOV).
      if (map === 1 && opcode >= 0x20 && opcode <= 0x23) modRm |= 0xc0;
      into.modRm = modRm;
      slot = modRm >= 0xc0 ? 8 + (modRm & 0x3f) : (modRm >> 3) & 7;
    }
    if (this.truncated) return false;
    const row = rows[rowOf[group * groupSize + slot] as number] as Row;
    into.row = row;
    if (row.index === 0) return false;
    if (into.lock && (!row.lockable || into.modRm >= 0xc0)) return false;
    into.size = this.operandSize(row, mode, operand66);
    into.addressSize = mode === 64 ? (address67 ? 32 : 64) : (mode === 32) !== address67 ? 32 : 16;
    into.wide = (this.rex & 8) !== 0;
    into.base = noRegister;
    into.index = noRegister;
    into.displacement = 0;
    into.displacementHigh = 0;
    into.isAbsolute64 = false;
    // LEA computes an offset: segments have no part in it.
    if (row.mnemonic === "lea") into.segment = -1;
    if (row.hasModRm && into.modRm < 0xc0 && !this.memoryOperand(into, mode)) return false;
    this.operands(into, row);
    return !this.truncated && registersExist(into);
  }

  private operandSize(row: Row, mode: CodeSize, operand66: boolean): number {
    if (row.sized === "" && !row.default64 && !row.forced64)
      return row.operands.length > 0 ? this.fixedSize(row.operands[0]?.size ?? "", 0) : 0;
    const wide = (this.rex & 8) !== 0;
    if (mode === 64) {
      if (row.forced64 || wide) return 64;
      if (row.sized === "y") return row.default64 ? 64 : 32;
      if (operand66) return 16;
      return row.default64 ? 64 : 32;
    }
    if (row.sized === "y") return 32;
    return (mode === 32) !== operand66 ? 32 : 16;
  }

  private fixedSize(size: string, effective: number): number {
    switch (size) {
      case "b":
      case "s":
        return 8;
      case "w":
        return 16;
      case "d":
        return 32;
      case "q":
        return 64;
      case "x":
        return 128;
      case "v":
      case "z":
        return effective;
      case "y":
        return effective === 64 ? 64 : 32;
      default:
        return 0;
    }
  }

  /** ModRM and SIB, SDM volume 2A §2.1.5 and §2.2.1. */
  private memoryOperand(into: Instruction, mode: CodeSize): boolean {
    if (into.addressSize === 16) return this.memoryOperand16(into);
    const mod = into.modRm >> 6;
    const rm = into.modRm & 7;
    let base = rm | ((this.rex & 1) << 3);
    if (rm === 4) {
      const sib = this.next();
      const index = ((sib >> 3) & 7) | ((this.rex & 2) << 2);
      if (index !== 4) {
        into.index = index;
        into.scale = sib >> 6;
      }
      base = (sib & 7) | ((this.rex & 1) << 3);
      if ((sib & 7) === 5 && mod === 0) {
        into.displacement = this.next32();
        return true;
      }
    } else if (rm === 5 && mod === 0) {
      into.displacement = this.next32();
      if (mode === 64) into.base = ripRegister;
      return true;
    }
    into.base = base;
    if (mod === 1) into.displacement = (this.next() << 24) >> 24;
    else if (mod === 2) into.displacement = this.next32();
    return true;
  }

  private memoryOperand16(into: Instruction): boolean {
    const mod = into.modRm >> 6;
    const rm = into.modRm & 7;
    if (mod === 0 && rm === 6) {
      into.displacement = this.next16();
      return true;
    }
    const bases = [3, 3, 5, 5, 6, 7, 5, 3];
    const indexes = [6, 7, 6, 7, -1, -1, -1, -1];
    into.base = bases[rm] as number;
    into.index = indexes[rm] as number;
    into.scale = 0;
    if (mod === 1) into.displacement = (this.next() << 24) >> 24;
    else if (mod === 2) into.displacement = (this.next16() << 16) >> 16;
    return true;
  }

  private operands(into: Instruction, row: Row): void {
    const count = row.operands.length;
    into.operandCount = count;
    let immediates = 0;
    for (let i = 0; i < count; i++) {
      const spec = row.operands[i] as { letter: string; size: string };
      const size = this.fixedSize(spec.size, into.size);
      into.sizes[i] = size;
      switch (spec.letter) {
        case "E":
        case "R":
          if (into.modRm < 0xc0) this.set(into, i, operandKind.memory, 0);
          else this.general(into, i, (into.modRm & 7) | ((this.rex & 1) << 3), size);
          break;
        case "G":
          this.general(into, i, ((into.modRm >> 3) & 7) | ((this.rex & 4) << 1), size);
          break;
        case "Z":
          this.general(into, i, (into.opcode & 7) | ((this.rex & 1) << 3), size);
          break;
        case "A":
          this.set(into, i, operandKind.register, 0);
          break;
        case "c":
          this.set(into, i, operandKind.register, 1);
          break;
        case "1":
          into.immediate = 1;
          into.immediateHigh = 0;
          this.set(into, i, operandKind.immediate, 0);
          break;
        case "M":
          this.set(into, i, operandKind.memory, 0);
          break;
        case "O":
          into.displacement = into.addressSize === 16 ? this.next16() : this.next32();
          if (into.addressSize === 64) into.displacementHigh = this.next32();
          into.isAbsolute64 =
            into.addressSize === 64 && into.displacementHigh !== into.displacement >> 31;
          this.set(into, i, operandKind.memory, 0);
          break;
        case "I":
          if (immediates++ === 0) this.immediate(into, spec.size, size);
          else into.immediate2 = spec.size === "w" ? this.next16() : this.next();
          this.set(into, i, operandKind.immediate, 0);
          if (spec.size === "s") into.sizes[i] = into.size;
          break;
        case "J":
          into.immediate =
            spec.size === "b"
              ? (this.next() << 24) >> 24
              : into.size === 16
                ? (this.next16() << 16) >> 16
                : this.next32();
          this.set(into, i, operandKind.relative, 0);
          break;
        case "V":
          this.set(into, i, operandKind.xmm, ((into.modRm >> 3) & 7) | ((this.rex & 4) << 1));
          break;
        case "W":
        case "U":
          if (into.modRm < 0xc0) this.set(into, i, operandKind.memory, 0);
          else this.set(into, i, operandKind.xmm, (into.modRm & 7) | ((this.rex & 1) << 3));
          break;
        case "P":
          this.set(into, i, operandKind.mmx, (into.modRm >> 3) & 7);
          break;
        case "Q":
        case "N":
          if (into.modRm < 0xc0) this.set(into, i, operandKind.memory, 0);
          else this.set(into, i, operandKind.mmx, into.modRm & 7);
          break;
        case "S":
          this.set(into, i, operandKind.segment, (into.modRm >> 3) & 7);
          break;
        case "C":
          this.set(into, i, operandKind.control, ((into.modRm >> 3) & 7) | ((this.rex & 4) << 1));
          break;
        case "D":
          this.set(into, i, operandKind.debug, ((into.modRm >> 3) & 7) | ((this.rex & 4) << 1));
          break;
        default: // F: the x87 helper reads opcode and ModRM itself
          this.set(into, i, into.modRm < 0xc0 ? operandKind.memory : operandKind.none, 0);
      }
    }
  }

  private set(into: Instruction, i: number, kind: number, value: number): void {
    into.kinds[i] = kind;
    into.values[i] = value;
  }

  private general(into: Instruction, i: number, register: number, size: number): void {
    const high = size === 8 && this.rex === 0 && register >= 4 && register < 8;
    this.set(into, i, operandKind.register, high ? register + 12 : register);
  }

  private immediate(into: Instruction, letter: string, size: number): void {
    if (letter === "v" && size === 64) {
      into.immediate = this.next32();
      into.immediateHigh = this.next32();
      return;
    }
    if (letter === "b" || letter === "s") into.immediate = (this.next() << 24) >> 24;
    else if (size === 16) into.immediate = (this.next16() << 16) >> 16;
    else into.immediate = this.next32();
    into.immediateHigh = into.immediate >> 31;
  }
}

/** There are six segment registers, CS cannot be loaded by MOV, and five control registers. */
function registersExist(into: Instruction): boolean {
  for (let i = 0; i < into.operandCount; i++) {
    const value = into.values[i] as number;
    if (into.kinds[i] === operandKind.segment && (value > 5 || (i === 0 && value === 1)))
      return false;
    if (into.kinds[i] === operandKind.control && !(value <= 4 && value !== 1) && value !== 8)
      return false;
    if (into.kinds[i] === operandKind.debug && value > 7) return false;
  }
  return true;
}
