/**
 * Which handler runs which instruction. Handlers are enumerated from the instruction table: one
 * for each mnemonic, size and combination of operand forms; rows that do the same share one.
 */
import { controlEmitters } from "../emit/control.ts";
import { type Emitter, integerEmitters } from "../emit/integer.ts";
import { countedJumps, legacyEmitters } from "../emit/legacy.ts";
import { multiplyEmitters } from "../emit/multiply.ts";
import { shiftEmitters } from "../emit/shift.ts";
import { sseEmitters } from "../emit/sse.ts";
import { stringEmitter, stringOperations } from "../emit/string.ts";
import { type Instruction, noRegister, ripRegister } from "../isa/decode.ts";
import { type OperandSpec, type Row, rows } from "../isa/instruction-set.ts";
import type { OperandForm } from "./record-site.ts";

export const emitters: Readonly<Record<string, Emitter>> = {
  ...integerEmitters,
  ...shiftEmitters,
  ...multiplyEmitters,
  ...controlEmitters,
  ...sseEmitters,
};

/** A handler to be generated. */
export type HandlerPlan = {
  readonly key: string;
  readonly emit: Emitter;
  readonly forms: readonly OperandForm[];
  readonly size: number;
  readonly opcode: number;
  readonly addressSize: number;
  /** For 16- and 32-bit code. */
  readonly legacy: boolean;
};

export type RegisterOrMemory = "register" | "memory" | "base";
const formIndex = { register: 0, memory: 1, base: 2 } as const;
const conditional = new Set(["jcc", "setcc", "cmov"]);
const counted: ReadonlySet<string> = new Set(countedJumps);

/** Mnemonics worth a handler that adds base and displacement itself. */
const frequent = new Set(
  "mov movzx movsx movsxd lea add sub cmp test and or xor inc dec push callind jmpind".split(" "),
);

function fixedSize(letter: string, size: number): number {
  if (letter === "y") return size === 64 ? 64 : 32;
  const sizes: Record<string, number> = { b: 8, w: 16, d: 32, q: 64, x: 128 };
  return sizes[letter] ?? size;
}

function operandForm(spec: OperandSpec, size: number, rm: RegisterOrMemory): OperandForm {
  const bits = fixedSize(spec.size, size);
  switch (spec.letter) {
    case "E":
    case "R":
    case "M":
      return { kind: rm, size: bits };
    case "O":
      return { kind: "memory", size: bits };
    case "W":
    case "U":
      return { kind: rm === "register" ? "vector" : rm, size: bits };
    case "V":
      return { kind: "vector", size: 128 };
    case "P":
    case "N":
      return { kind: "mmx", size: 64 };
    case "Q":
      return { kind: rm === "register" ? "mmx" : rm, size: bits };
    case "G":
    case "Z":
    case "A":
    case "c":
      return { kind: "register", size: bits };
    case "I":
    case "1":
      return { kind: "immediate", size: spec.size === "s" ? size : bits };
    default:
      return { kind: "none", size: bits };
  }
}

/** Operand sizes a row can have in 64-bit code, or in all other code. */
function sizesOf(row: Row, legacy = false): readonly number[] {
  if (legacy && (row.forced64 || row.default64 || row.sized === "v")) return [16, 32];
  if (row.forced64) return [64];
  if (row.sized === "y") return [32, 64];
  if (row.default64) return [16, 64];
  if (row.sized === "v") return [16, 32, 64];
  return [fixedSize(row.operands[0]?.size ?? "", 0)];
}

function rmForms(row: Row): readonly RegisterOrMemory[] {
  const letters = row.operands.map((operand) => operand.letter);
  const memory = /[EMWQO]/.test(letters.join("")) && row.form !== "reg";
  const register = row.form !== "mem" && !/[MO]/.test(letters.join(""));
  const base = memory && frequent.has(row.mnemonic);
  return [
    ...(register || !memory ? (["register"] as const) : []),
    ...(memory ? (["memory"] as const) : []),
    ...(base ? (["base"] as const) : []),
  ];
}

const slotsPerRow = 9;

function slotIndex(row: number, size: number, rm: RegisterOrMemory): number {
  const sizeIndex = size === 64 ? 2 : size === 32 ? 1 : 0;
  return row * slotsPerRow + sizeIndex * 3 + formIndex[rm];
}

export class HandlerSet {
  readonly plans: HandlerPlan[] = [];
  private readonly byKey = new Map<string, number>();
  /** Index into `plans` + 1; 0: no handler. */
  private readonly slots = new Uint16Array(rows.length * slotsPerRow);
  /** The same for 16- and 32-bit code; most handlers serve both. */
  private readonly legacySlots = new Uint16Array(rows.length * slotsPerRow);

  constructor() {
    for (const row of rows) {
      const emit = emitters[row.mnemonic];
      if (!emit || row.invalidIn64) continue;
      for (const size of sizesOf(row))
        for (const rm of rmForms(row))
          this.slots[slotIndex(row.index, size, rm)] = 1 + this.planRow(row, emit, size, rm, false);
    }
    this.planStrings([64, 32], false);
    for (const mnemonic of countedJumps)
      this.plan(mnemonic, emitters[mnemonic] as Emitter, [], 64, 0, 32);

    for (const row of rows) {
      // What has no emitter of its own here was planned above.
      const own = legacyEmitters[row.mnemonic];
      const emit = own ?? emitters[row.mnemonic];
      if (!emit || row.only64 || counted.has(row.mnemonic)) continue;
      for (const size of sizesOf(row, true))
        for (const rm of rmForms(row).filter((form) => form !== "base"))
          this.legacySlots[slotIndex(row.index, size, rm)] =
            1 + this.planRow(row, emit, size, rm, own !== undefined);
    }
    this.planStrings([32, 16], true);
    for (const mnemonic of countedJumps)
      for (const size of [16, 32])
        for (const addressSize of [16, 32])
          this.plan(mnemonic, legacyEmitters[mnemonic] as Emitter, [], size, 0, addressSize, true);
  }

  /** `own`: 16- and 32-bit code has an emitter of its own. */
  private planRow(
    row: Row,
    emit: Emitter,
    size: number,
    rm: RegisterOrMemory,
    own: boolean,
  ): number {
    const forms = row.operands.map((spec) => operandForm(spec, size, rm));
    const cc = conditional.has(row.mnemonic) ? row.opcode & 15 : 0;
    return this.plan(row.mnemonic, emit, forms, size, cc, 64, own);
  }

  private planStrings(addressSizes: readonly number[], legacy: boolean): void {
    for (const [mnemonic, operation] of Object.entries(stringOperations))
      for (const repeat of [0, 0xf2, 0xf3])
        for (const addressSize of addressSizes)
          for (const size of mnemonic.endsWith("8") ? [8] : legacy ? [16, 32] : [16, 32, 64])
            this.plan(
              `${mnemonic}${repeat}`,
              stringEmitter(operation, repeat),
              [],
              size,
              mnemonic.endsWith("8") ? 0 : 1,
              addressSize,
              legacy,
            );
  }

  private plan(
    mnemonic: string,
    emit: Emitter,
    forms: readonly OperandForm[],
    size: number,
    opcode: number,
    addressSize: number,
    legacy = false,
  ): number {
    const shape = forms.map((form) => form.kind.slice(0, 2) + form.size).join(",");
    const key = `${mnemonic}|${size}|${shape}|${opcode}|${addressSize}${legacy ? "L" : ""}`;
    const known = this.byKey.get(key);
    if (known !== undefined) return known;
    const index = this.plans.push({ key, emit, forms, size, opcode, addressSize, legacy }) - 1;
    this.byKey.set(key, index);
    return index;
  }

  /** The plan for a decoded instruction, or -1: a helper's job. */
  find(instruction: Instruction, rm: RegisterOrMemory, legacy = false): number {
    const { row } = instruction;
    const suffix = legacy ? "L" : "";
    const slots = legacy ? this.legacySlots : this.slots;
    const { mnemonic } = row;
    if (mnemonic in stringOperations) {
      const byte = mnemonic.endsWith("8");
      const size = byte ? 8 : instruction.size;
      const compares = mnemonic.startsWith("scas") || mnemonic.startsWith("cmps");
      const repeat = instruction.repeat === 0 ? 0 : compares ? instruction.repeat : 0xf3;
      const key = `${mnemonic}${repeat}|${size}||${byte ? 0 : 1}|${instruction.addressSize}${suffix}`;
      return this.byKey.get(key) ?? -1;
    }
    if ((legacy || instruction.addressSize === 32) && /^(loop|jcxz)/.test(mnemonic))
      return this.byKey.get(`${mnemonic}|${countedKey(instruction, legacy)}`) ?? -1;
    // Fixed-size rows were planned under their own size.
    const size =
      row.sized === "" && !row.forced64 && !row.default64
        ? (sizesOf(row)[0] ?? 0)
        : instruction.size;
    const slot = slots[slotIndex(row.index, size, rm)] ?? 0;
    // XLAT has an implied address and no operand that would say so.
    // So have MASKMOVQ and MASKMOVDQU, whose operands are registers.
    if (slot === 0 && (row.operands.length === 0 || row.form === "reg"))
      return (slots[slotIndex(row.index, size, "register")] ?? 0) - 1;
    return slot - 1;
  }
}

function countedKey({ size, addressSize }: Instruction, legacy: boolean): string {
  return legacy ? `${size}||0|${addressSize}L` : "64||0|32";
}

/** How the interpreter reaches a memory operand: itself, or by an address record before it. */
export function addressForm(
  instruction: Instruction,
  set: HandlerSet,
  legacy = false,
): RegisterOrMemory {
  if (legacy) return "memory";
  const plain =
    instruction.index === noRegister &&
    instruction.base !== noRegister &&
    instruction.base !== ripRegister &&
    instruction.segment < 4 &&
    instruction.addressSize === 64 &&
    !instruction.isAbsolute64;
  if (plain && instruction.mnemonic !== "pop" && set.find(instruction, "base") >= 0) return "base";
  return "memory";
}
