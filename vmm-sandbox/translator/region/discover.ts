/**
 * Finds the code of a region: the basic blocks that direct jumps reach from a hot head, and the
 * callees of hot calls, in line.
 *
 * A callee in line is a context of its own: its blocks belong to that call alone, so its return has
 * one expected place to go to. Offsets count from the head's page and may lie in other pages; the
 * region then holds for as long as those are mapped where they were (compile.ts checks).
 *
 * Instructions that only the interpreter can do, that cross a page's end or that lead elsewhere
 * end a block; execution then leaves the region at their address.
 */

import { stringOperations } from "../emit/string.ts";
import { emitters } from "../interpreter/forms.ts";
import { Decoder, Instruction, operandKind } from "../isa/decode.ts";

/** Bounds on one function: engines compile in more than linear time. */
const maxBlocks = 48;
const maxInstructions = 240;
export const maxPages = 8;
/** Calls in calls that are taken in line. */
const maxDepth = 3;
/** Site ids hold offsets of 27 bits; no region comes near. */
const maxOffset = 1 << 25;

/** Where the code is and how hot it was, by offset from the head's page. */
export type CodeSource = {
  /** Where the page `delta` pages after the head's begins in the bytes, when it can hold code. */
  readonly page: (delta: number) => number | undefined;
  /** Times a run was entered at this offset, up to the threshold; 0: never. */
  readonly heat: (offset: number) => number;
  /** Heat from which a call is worth its code in line. */
  readonly hot: number;
};

export type RegionInstruction = { readonly offset: number; readonly instruction: Instruction };

export type Block = {
  readonly start: number;
  readonly code: readonly RegionInstruction[];
  /** Offset after the last instruction. */
  readonly end: number;
  /** Node of the taken direct branch or of the callee in line, when in the region. */
  readonly taken: number | undefined;
  /** Node that a return in line is expected to go to, and its offset. */
  readonly returns: { readonly node: number; readonly offset: number } | undefined;
  /** Node at `end`, when in the region. */
  readonly next: number | undefined;
  /** Whether execution can reach `end`. */
  readonly fallsThrough: boolean;
};

/** Blocks by node; node 0 is the head. `pages`: deltas of the pages that code was taken from. */
export type Region = {
  readonly blocks: ReadonlyMap<number, Block>;
  readonly pages: readonly number[];
  /** Calls taken in line. */
  readonly calls: number;
};

const conditionalBranches = new Set(["jcc", "loop", "loope", "loopne", "jcxz"]);
/** Leave the region by themselves. */
const exits = new Set(["call", "callind", "jmpind", "ret", "retn", "popf"]);

export function canEmit(instruction: Instruction): boolean {
  const { mnemonic } = instruction.row;
  if (mnemonic === "pause" || mnemonic === "swapgs") return false;
  return mnemonic in emitters || mnemonic in stringOperations;
}

/** Where a direct branch at `offset` goes to, as an offset too. */
export function branchTarget(offset: number, instruction: Instruction): number {
  return offset + instruction.length + instruction.immediate;
}

/** The head's function, or a callee taken in line for one call. */
type Context = {
  readonly depth: number;
  readonly caller: Context | undefined;
  /** Offset after the call. */
  readonly returnTo: number;
  /** Nodes of this context by offset. */
  readonly leaders: Map<number, number>;
  readonly walked: Set<number>;
  /** Contexts of the calls in line, by the call's offset. */
  readonly callees: Map<number, Context>;
};

class Discovery {
  private readonly bytes: Uint8Array;
  private readonly source: CodeSource;
  private readonly decoder = new Decoder();
  private readonly decoded = new Map<number, Instruction | undefined>();
  private readonly pages = new Map<number, number | undefined>();
  private readonly queue: { readonly context: Context; readonly offset: number }[] = [];
  private readonly contexts: Context[] = [];
  private nodes = 0;
  private budget = maxInstructions;

  constructor(bytes: Uint8Array, source: CodeSource) {
    this.bytes = bytes;
    this.source = source;
  }

  run(head: number): Region | undefined {
    this.lead(this.enterContext(undefined, 0), head);
    for (let next = this.queue.shift(); next; next = this.queue.shift())
      this.walk(next.context, next.offset);
    const blocks = new Map<number, Block>();
    for (const context of this.contexts)
      for (const [offset, node] of context.leaders) {
        const found = this.formBlock(context, offset);
        if (found) blocks.set(node, found);
      }
    if (!blocks.has(0)) return undefined;
    const pages = new Set<number>();
    for (const { code } of blocks.values()) for (const { offset } of code) pages.add(offset >> 12);
    return { blocks, pages: [...pages], calls: this.contexts.length - 1 };
  }

  private enterContext(caller: Context | undefined, returnTo: number): Context {
    const context: Context = {
      depth: caller ? caller.depth + 1 : 0,
      caller,
      returnTo,
      leaders: new Map(),
      walked: new Set(),
      callees: new Map(),
    };
    this.contexts.push(context);
    return context;
  }

  private lead(context: Context, offset: number): void {
    if (context.leaders.has(offset)) return;
    context.leaders.set(offset, this.nodes++);
    this.queue.push({ context, offset });
  }

  private host(delta: number): number | undefined {
    if (this.pages.has(delta)) return this.pages.get(delta);
    const host = this.pages.size < maxPages ? this.source.page(delta) : undefined;
    this.pages.set(delta, host);
    return host;
  }

  private at(offset: number): Instruction | undefined {
    if (this.decoded.has(offset)) return this.decoded.get(offset);
    const host = Math.abs(offset) < maxOffset ? this.host(offset >> 12) : undefined;
    const into = new Instruction();
    const result =
      host !== undefined &&
      this.decoder.decode(into, this.bytes, host + (offset & 0xfff), host + 4096, 64) === "ok" &&
      canEmit(into)
        ? into
        : undefined;
    this.decoded.set(offset, result);
    return result;
  }

  /** Follows straight code from a leader, noting what branches and calls lead to. */
  private walk(context: Context, start: number): void {
    let offset = start;
    while (this.budget > 0 && !context.walked.has(offset)) {
      const instruction = this.at(offset);
      if (!instruction) return;
      context.walked.add(offset);
      this.budget--;
      const { mnemonic } = instruction.row;
      const after = offset + instruction.length;
      if (mnemonic === "call") this.followCall(context, offset, instruction);
      else if (instruction.kinds[0] === operandKind.relative) {
        const target = branchTarget(offset, instruction);
        if (this.nodes < maxBlocks && this.source.heat(target) > 0) this.lead(context, target);
      }
      if (mnemonic === "jmp" || exits.has(mnemonic)) return;
      if (conditionalBranches.has(mnemonic)) {
        // Straight on is a node, but walked here and now.
        if (!context.leaders.has(after)) context.leaders.set(after, this.nodes++);
      }
      offset = after;
    }
  }

  private followCall(context: Context, offset: number, instruction: Instruction): void {
    const target = branchTarget(offset, instruction);
    const after = offset + instruction.length;
    const { heat, hot } = this.source;
    const room = context.depth < maxDepth && this.nodes + 2 < maxBlocks && this.budget > 16;
    // Whoever returned here entered a run: as often as this call was made.
    if (!room || heat(after) < hot || heat(target) < hot || !this.at(target)) return;
    const callee = this.enterContext(context, after);
    context.callees.set(offset, callee);
    this.lead(callee, target);
    this.lead(context, after);
  }

  private formBlock(context: Context, start: number): Block | undefined {
    const code: RegionInstruction[] = [];
    let offset = start;
    for (;;) {
      const instruction = context.walked.has(offset) ? this.decoded.get(offset) : undefined;
      if (!instruction) break;
      code.push({ offset, instruction });
      const { mnemonic } = instruction.row;
      const end = offset + instruction.length;
      const next = context.leaders.get(end);
      if (mnemonic === "jmp" || conditionalBranches.has(mnemonic)) {
        const taken = context.leaders.get(branchTarget(offset, instruction));
        const fallsThrough = mnemonic !== "jmp";
        const after = fallsThrough ? next : undefined;
        return { start, code, end, taken, returns: undefined, next: after, fallsThrough };
      }
      if (exits.has(mnemonic)) {
        const taken = context.callees.get(offset)?.leaders.get(branchTarget(offset, instruction));
        const returns = mnemonic === "ret" || mnemonic === "retn" ? returnOf(context) : undefined;
        return { start, code, end, taken, returns, next: undefined, fallsThrough: false };
      }
      offset = end;
      if (next !== undefined) return straight(start, code, end, next);
    }
    return code.length === 0 ? undefined : straight(start, code, offset, undefined);
  }
}

function straight(
  start: number,
  code: readonly RegionInstruction[],
  end: number,
  next: number | undefined,
): Block {
  return { start, code, end, taken: undefined, returns: undefined, next, fallsThrough: true };
}

function returnOf({ caller, returnTo }: Context): Block["returns"] {
  const node = caller?.leaders.get(returnTo);
  return node === undefined ? undefined : { node, offset: returnTo };
}

/** The region of the code at `head`, an offset in the head's page. */
export function discover(bytes: Uint8Array, head: number, source: CodeSource): Region | undefined {
  return new Discovery(bytes, source).run(head);
}
