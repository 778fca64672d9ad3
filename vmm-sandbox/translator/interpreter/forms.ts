/**
 * Which handler runs which instruction. Handlers are enumerated from the instruction table: one
 * for each mnemonic, size and combination of operand forms; rows that do the same share one.
 */
import { controlEmitters } from "../emit/control.ts";
import { type Emitter, integerEmitters } from "../emit/integer.ts";
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
};

export type RegisterOrMemory = "register" | "memory" | "base";
const formIndex = { register: 0, memory: 1, base: 2 } as const;
const conditional = new Set(["jcc", "setcc", "cmov"]);

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

/** Operand sizes a row can have in 64-bit mode. */
function sizesOf(row: Row): readonly number[] {
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

  constructor() {
    for (const row of rows) {
      const emit = emitters[row.mnemonic];
      if (!emit) continue;
      for (const size of sizesOf(row))
        for (const rm of rmForms(row)) {
          const forms = row.operands.map((spec) => operandForm(spec, size, rm));
          const cc = conditional.has(row.mnemonic) ? row.opcode & 15 : 0;
          const plan = this.plan(row.mnemonic, emit, forms, size, cc, 64);
          this.slots[slotIndex(row.index, size, rm)] = plan + 1;
        }
    }
    for (const [mnemonic, operation] of Object.entries(stringOperations))
      for (const repeat of [0, 0xf2, 0xf3])
        for (const addressSize of [64, 32])
          for (const size of mnemonic.endsWith("8") ? [8] : [16, 32, 64])
            this.plan(
              `${mnemonic}${repeat}`,
              stringEmitter(operation, repeat),
              [],
              size,
              mnemonic.endsWith("8") ? 0 : 1,
              addressSize,
            );
    for (const mnemonic of ["loop", "loope", "loopne", "jcxz"])
      this.plan(mnemonic, emitters[mnemonic] as Emitter, [], 64, 0, 32);
  }

  private plan(
    mnemonic: string,
    emit: Emitter,
    forms: readonly OperandForm[],
    size: number,
    opcode: number,
    addressSize: number,
  ): number {
    const shape = forms.map((form) => form.kind.charAt(0) + form.size).join(",");
    const key = `${mnemonic}|${size}|${shape}|${opcode}|${addressSize}`;
    const known = this.byKey.get(key);
    if (known !== undefined) return known;
    const index = this.plans.push({ key, emit, forms, size, opcode, addressSize }) - 1;
    this.byKey.set(key, index);
    return index;
  }

  /** The plan for a decoded instruction, or -1: a helper's job. */
  find(instruction: Instruction, rm: RegisterOrMemory): number {
    const { row } = instruction;
    const { mnemonic } = row;
    if (mnemonic in stringOperations) {
      const byte = mnemonic.endsWith("8");
      const size = byte ? 8 : instruction.size;
      const compares = mnemonic.startsWith("scas") || mnemonic.startsWith("cmps");
      const repeat = instruction.repeat === 0 ? 0 : compares ? instruction.repeat : 0xf3;
      const key = `${mnemonic}${repeat}|${size}||${byte ? 0 : 1}|${instruction.addressSize}`;
      return this.byKey.get(key) ?? -1;
    }
    if (instruction.addressSize === 32 && /^(loop|jcxz)/.test(mnemonic))
      return this.byKey.get(`${mnemonic}|64||0|32`) ?? -1;
    // Fixed-size rows were planned under their own size.
    const size =
      row.sized === "" && !row.forced64 && !row.default64
        ? (sizesOf(row)[0] ?? 0)
        : instruction.size;
    const slot = this.slots[slotIndex(row.index, size, rm)] ?? 0;
    // XLAT has an implied address and no operand that would say so.
    if (slot === 0 && row.operands.length === 0)
      return (this.slots[slotIndex(row.index, size, "register")] ?? 0) - 1;
    return slot - 1;
  }
}

/** How the interpreter reaches a memory operand: itself, or by an address record before it. */
export function addressForm(instruction: Instruction, set: HandlerSet): RegisterOrMemory {
  const plain =
    instruction.index === noRegister &&
    instruction.base !== noRegister &&
    instruction.base !== ripRegister &&
    instruction.segment < 4 &&
    instruction.addressSize === 64 &&
    instruction.displacementHigh === 0;
  if (plain && instruction.mnemonic !== "pop" && set.find(instruction, "base") >= 0) return "base";
  return "memory";
}
