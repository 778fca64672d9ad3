/**
 * Finds the code of a region: the basic blocks that direct jumps reach from a hot head without
 * leaving its page.
 *
 * Instructions that only the interpreter can do, that cross the page's end or that lead elsewhere
 * end a block; execution then leaves the region at their address.
 */

import { stringOperations } from "../emit/string.ts";
import { emitters } from "../interpreter/forms.ts";
import { Decoder, Instruction, operandKind } from "../isa/decode.ts";

/** Bounds on one function: engines compile in more than linear time. */
const maxBlocks = 48;
const maxInstructions = 400;

export type RegionInstruction = { readonly offset: number; readonly instruction: Instruction };

export type Block = {
  readonly start: number;
  readonly code: readonly RegionInstruction[];
  /** Page offset after the last instruction. */
  readonly end: number;
  /** Where the taken direct branch goes, when that is in the region. */
  readonly taken: number | undefined;
  /** Whether execution can reach `end`. */
  readonly fallsThrough: boolean;
};

export type Region = { readonly head: number; readonly blocks: ReadonlyMap<number, Block> };

const conditionalBranches = new Set(["jcc", "loop", "loope", "loopne", "jcxz"]);
/** Leave the region by themselves. */
const exits = new Set(["call", "callind", "jmpind", "ret", "retn", "popf"]);

export function canEmit(instruction: Instruction): boolean {
  const { mnemonic } = instruction.row;
  if (mnemonic === "pause" || mnemonic === "swapgs") return false;
  return mnemonic in emitters || mnemonic in stringOperations;
}

/** The page offset a direct branch at `offset` goes to; may lie outside the page. */
export function branchTarget(offset: number, instruction: Instruction): number {
  return offset + instruction.length + instruction.immediate;
}

function inPage(offset: number): boolean {
  return offset >= 0 && offset < 4096;
}

/** `wasTaken`: whether a branch to this offset was ever taken; what never ran is left out. */
export function discover(
  bytes: Uint8Array,
  host: number,
  head: number,
  wasTaken: (offset: number) => boolean,
): Region | undefined {
  const decoder = new Decoder();
  const decoded = new Map<number, Instruction | undefined>();
  const leaders = new Set<number>([head]);
  const queue = [head];
  let budget = maxInstructions;
  const at = (offset: number): Instruction | undefined => {
    if (decoded.has(offset)) return decoded.get(offset);
    const into = new Instruction();
    const status = decoder.decode(into, bytes, host + offset, host + 4096, 64);
    const result = status === "ok" && canEmit(into) ? into : undefined;
    decoded.set(offset, result);
    if (result) budget--;
    return result;
  };
  for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
    let offset = next;
    while (budget > 0 && inPage(offset)) {
      const seen = decoded.has(offset);
      const instruction = at(offset);
      if (!instruction || (seen && offset !== next)) break;
      const { mnemonic } = instruction.row;
      const isBranch = instruction.kinds[0] === operandKind.relative && mnemonic !== "call";
      if (isBranch) {
        const target = branchTarget(offset, instruction);
        if (
          inPage(target) &&
          !leaders.has(target) &&
          leaders.size < maxBlocks &&
          wasTaken(target)
        ) {
          leaders.add(target);
          queue.push(target);
        }
      }
      offset += instruction.length;
      if (conditionalBranches.has(mnemonic)) leaders.add(offset);
      if (mnemonic === "jmp" || exits.has(mnemonic)) break;
    }
  }
  const blocks = new Map<number, Block>();
  for (const start of [...leaders].sort((a, b) => a - b)) {
    const block = formBlock(start, decoded, leaders);
    if (block) blocks.set(start, block);
  }
  return blocks.has(head) ? { head, blocks } : undefined;
}

function formBlock(
  start: number,
  decoded: ReadonlyMap<number, Instruction | undefined>,
  leaders: ReadonlySet<number>,
): Block | undefined {
  const code: RegionInstruction[] = [];
  let offset = start;
  for (;;) {
    const instruction = decoded.get(offset);
    if (!instruction) break;
    code.push({ offset, instruction });
    const { mnemonic } = instruction.row;
    const end = offset + instruction.length;
    const isBranch = mnemonic === "jmp" || conditionalBranches.has(mnemonic);
    if (isBranch) {
      const target = branchTarget(offset, instruction);
      return {
        start,
        code,
        end,
        taken: inPage(target) ? target : undefined,
        fallsThrough: mnemonic !== "jmp",
      };
    }
    if (exits.has(mnemonic)) return { start, code, end, taken: undefined, fallsThrough: false };
    offset = end;
    if (leaders.has(offset)) break;
  }
  if (code.length === 0) return undefined;
  return { start, code, end: offset, taken: undefined, fallsThrough: true };
}
