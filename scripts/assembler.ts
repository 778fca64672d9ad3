/** A small x86-64 assembler over iced-x86: instructions by iced's `Code` names, labels by name. */
import { Code, Encoder, Instruction, MemoryOperand, Register } from "iced-x86";

export { Code, Register };

/** [base + displacement] or [base + index × scale + displacement]. */
export interface Memory {
  readonly base: Register;
  readonly index?: Register;
  readonly scale?: 1 | 2 | 4 | 8;
  readonly displacement?: number;
}

interface Line {
  readonly instruction: Instruction;
  readonly target?: string;
}

/** Collects instructions and encodes them, position-independent. Branches are all 32-bit ones. */
export class Assembler {
  readonly #lines: Line[] = [];
  readonly #labels = new Map<string, number>();

  label(name: string): void {
    if (this.#labels.has(name)) throw new Error(`Label "${name}" is defined twice`);
    this.#labels.set(name, this.#lines.length);
  }
  op(code: Code): void {
    this.#add(Instruction.create(code));
  }
  r(code: Code, register: Register): void {
    this.#add(Instruction.createReg(code, register));
  }
  rr(code: Code, target: Register, source: Register): void {
    this.#add(Instruction.createRegReg(code, target, source));
  }
  ri(code: Code, target: Register, immediate: number): void {
    this.#add(Instruction.createRegI32(code, target, immediate));
  }
  /** A register and a 64-bit immediate. */
  ri64(code: Code, target: Register, immediate: bigint): void {
    this.#add(Instruction.createRegU64(code, target, immediate));
  }
  rm(code: Code, target: Register, source: Memory): void {
    this.#add(Instruction.createRegMem(code, target, operand(source)));
  }
  mr(code: Code, target: Memory, source: Register): void {
    this.#add(Instruction.createMemReg(code, operand(target), source));
  }
  mi(code: Code, target: Memory, immediate: number): void {
    this.#add(Instruction.createMemI32(code, operand(target), immediate));
  }
  repeatMoveBytes(): void {
    this.#add(Instruction.createRepMovsb(64));
  }
  /** A branch or call to a label; `code` is a form with a 32-bit displacement. */
  to(code: Code, target: string): void {
    this.#lines.push({ instruction: Instruction.createBranch(code, 0n), target });
  }

  /** The machine code, and the offset in bytes of each label. */
  encode(): { readonly code: Uint8Array; readonly labels: ReadonlyMap<string, number> } {
    const { labels } = this.#pass(new Map()); // lengths do not depend on the targets
    return this.#pass(labels);
  }

  #pass(known: ReadonlyMap<string, number>) {
    const encoder = new Encoder(64);
    const starts: number[] = [];
    let offset = 0;
    for (const { instruction, target } of this.#lines) {
      starts.push(offset);
      if (target !== undefined) {
        if (!this.#labels.has(target)) throw new Error(`Label "${target}" is not defined`);
        instruction.nearBranch64 = BigInt(known.get(target) ?? offset);
      }
      offset += encoder.encode(instruction, BigInt(offset));
    }
    const labels = new Map([...this.#labels].map(([name, line]) => [name, starts[line] ?? offset]));
    return { code: encoder.takeBuffer(), labels };
  }

  #add(instruction: Instruction): void {
    this.#lines.push({ instruction });
  }
}

function operand({ base, index = Register.None, scale = 1, displacement = 0 }: Memory) {
  const size = displacement === 0 ? 0 : displacement >= -128 && displacement < 128 ? 1 : 8;
  return new MemoryOperand(base, index, scale, BigInt(displacement), size, false, Register.None);
}
