/**
 * Parses the instruction table once into rows and into the decoder's lookup.
 *
 *   lookup[map][prefix class][opcode] → group;  a group holds 8 rows for memory forms (by
 *   ModRM.reg) and 64 for register forms (by ModRM.reg and ModRM.rm); row 0 is "no instruction".
 */
import { instructionTable } from "./table.ts";

export const maps = { "": 0, "0f": 1, "0f38": 2, "0f3a": 3 } as const;
export const prefixClasses = { np: 0, "66": 1, f3: 2, f2: 3 } as const;

/** Operand letters and sizes as in table.ts. */
export type OperandSpec = { readonly letter: string; readonly size: string };

export type Row = {
  readonly index: number;
  readonly mnemonic: string;
  readonly text: string;
  readonly map: number;
  /** -1: any. */
  readonly prefix: number;
  readonly opcode: number;
  readonly opcodeCount: 1 | 8;
  readonly digit: number;
  readonly rm: number;
  readonly form: "any" | "mem" | "reg";
  readonly operands: readonly OperandSpec[];
  readonly hasModRm: boolean;
  /** The operand size attribute chooses between 16, 32 and 64. */
  readonly sized: "" | "v" | "y";
  readonly default64: boolean;
  readonly forced64: boolean;
  readonly invalidIn64: boolean;
  readonly only64: boolean;
  readonly lockable: boolean;
  /** MMX or SSE: needs CR0.TS and CR0.EM clear. x87 sees to that itself. */
  readonly usesVectors: boolean;
};

const modRmLetters = "EGMRSCDVWUPQNF";
const fixedOperands = new Set(["AL", "CL", "DX", "rAX", "1", "v", "F", "M"]);
const attributes = new Set(["d64", "f64", "i64", "o64", "lock"]);

function parseRow(text: string, index: number): Row {
  const words = text.split(" ");
  const take = (known: (word: string) => boolean): string | undefined =>
    words[0] !== undefined && known(words[0]) ? words.shift() : undefined;
  // A prefix or a map is one only when an opcode follows it.
  const opcodeFollows = (): boolean => /^[0-9a-f]{2,4}\+?$/.test(words[1] ?? "");
  const prefix = take((w) => w in prefixClasses && opcodeFollows());
  const map = take((w) => w !== "" && w in maps && opcodeFollows()) ?? "";
  const opcode = words.shift() ?? "";
  const digits = take((w) => w.startsWith("/"))
    ?.slice(1)
    .split(".");
  const form = take((w) => w === "mem" || w === "reg") ?? "any";
  const mnemonic = words.shift() ?? "";
  const operandText = take((w) => !attributes.has(w));
  const operands = operandText ? operandText.split(",").map(parseOperand) : [];
  for (const word of words)
    if (!attributes.has(word)) throw new SyntaxError(`Cannot parse table row "${text}": "${word}"`);
  const sizes = operands.map((operand) => operand.size);
  return {
    index,
    mnemonic,
    text,
    map: maps[map as keyof typeof maps],
    prefix: prefix === undefined ? -1 : prefixClasses[prefix as keyof typeof prefixClasses],
    opcode: Number.parseInt(opcode, 16),
    opcodeCount: opcode.endsWith("+") ? 8 : 1,
    digit: digits?.[0] === undefined ? -1 : Number(digits[0]),
    rm: digits?.[1] === undefined ? -1 : Number(digits[1]),
    form: form as "any" | "mem" | "reg",
    operands: operands.filter((operand) => operand.letter !== "v"),
    hasModRm:
      digits !== undefined ||
      operands.some((o) => modRmLetters.includes(o.letter) && o.size !== "-"),
    sized: sizes.includes("v") || sizes.includes("z") ? "v" : sizes.includes("y") ? "y" : "",
    default64: words.includes("d64"),
    forced64: words.includes("f64"),
    invalidIn64: words.includes("i64"),
    only64: words.includes("o64"),
    lockable: words.includes("lock"),
    usesVectors:
      operands.some((operand) => "VWUPQN".includes(operand.letter)) ||
      ["ldmxcsr", "stmxcsr", "emms"].includes(mnemonic),
  };
}

function parseOperand(text: string): OperandSpec {
  switch (text) {
    case "AL":
      return { letter: "A", size: "b" };
    case "rAX":
      return { letter: "A", size: "v" };
    case "CL":
      return { letter: "c", size: "b" };
    case "1":
      return { letter: "1", size: "b" };
    case "v":
      return { letter: "v", size: "v" };
    case "F":
    case "M":
      return { letter: text, size: "" };
    default:
      if (fixedOperands.has(text) || text.length !== 2)
        throw new SyntaxError(`Cannot parse operand "${text}" of the instruction table`);
      return { letter: text.charAt(0), size: text.charAt(1) };
  }
}

export const rows: readonly Row[] = [
  "ff ud",
  ...instructionTable.split("\n").filter((line) => line !== ""),
].map(parseRow);

export const groupSize = 72;

/** What the decoder looks opcodes up in. */
export type Lookup = {
  /** Group of (map << 10 | prefix class << 8 | opcode), 0 when the opcode does not exist. */
  readonly groupOf: Uint16Array;
  /** Row of (group * 72 + slot): slot is digit for memory, 8 + digit * 8 + rm for registers. */
  readonly rowOf: Uint16Array;
  /** Whether a group's opcode is followed by a ModRM byte. */
  readonly groupHasModRm: Uint8Array;
};

let legacy: Lookup | undefined;
let long: Lookup | undefined;

/** Some opcodes mean one thing in 64-bit code and another elsewhere. */
export function lookupFor(is64: boolean): Lookup {
  if (is64) {
    long ??= buildLookup((row) => !row.invalidIn64);
    return long;
  }
  legacy ??= buildLookup((row) => !row.only64);
  return legacy;
}

function buildLookup(includes: (row: Row) => boolean): Lookup {
  const groupOf = new Uint16Array(4 << 10);
  const groups: Uint16Array[] = [new Uint16Array(groupSize)];
  const modRm: number[] = [0];
  // Rows for any prefix first, so that a row with a mandatory prefix replaces them.
  const ordered = rows
    .slice(1)
    .filter(includes)
    .sort((a, b) => a.prefix - b.prefix);
  for (const row of ordered) {
    const classes = row.prefix < 0 ? [0, 1, 2, 3] : [row.prefix];
    for (const prefix of classes)
      for (let i = 0; i < row.opcodeCount; i++) {
        const key = (row.map << 10) | (prefix << 8) | (row.opcode + i);
        let group = groupOf[key] ?? 0;
        if (group === 0) {
          group = groups.push(new Uint16Array(groupSize)) - 1;
          modRm.push(0);
          groupOf[key] = group;
        }
        if (row.hasModRm) modRm[group] = 1;
        fillGroup(groups[group] as Uint16Array, row);
      }
  }
  const rowOf = new Uint16Array(groups.length * groupSize);
  for (const [index, group] of groups.entries()) rowOf.set(group, index * groupSize);
  return { groupOf, rowOf, groupHasModRm: Uint8Array.from(modRm) };
}

function fillGroup(group: Uint16Array, row: Row): void {
  for (let slot = 0; slot < groupSize; slot++) {
    const isRegister = slot >= 8;
    const digit = isRegister ? (slot - 8) >> 3 : slot;
    if (row.digit >= 0 && digit !== row.digit) continue;
    if (row.form === (isRegister ? "mem" : "reg")) continue;
    if (row.rm >= 0 && (!isRegister || ((slot - 8) & 7) !== row.rm)) continue;
    const letters = row.operands.map((operand) => operand.letter);
    if (isRegister && letters.includes("M")) continue;
    group[slot] = row.index;
  }
}
