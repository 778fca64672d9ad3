/**
 * Classic BPF, as seccomp(2) takes it: the instructions a filter needs, and a builder.
 *
 * Jumps of classic BPF only go forward and conditional ones at most 255 instructions, so the
 * builder works from the end of the program to its start: whatever is jumped to exists already,
 * and a target that is too far gets a stepping stone. Source: linux/filter.h, linux/bpf_common.h.
 */

export interface BpfInstruction {
  readonly code: number;
  readonly jt: number;
  readonly jf: number;
  readonly k: number;
}

// biome-ignore format: table
export const bpfCode = {
  LD_W_ABS: 0x20,   // A = word at k of struct seccomp_data
  ALU_AND_K: 0x54,  // A &= k
  JMP_JA: 0x05,     // pc += k
  JMP_JEQ_K: 0x15,
  JMP_JGT_K: 0x25,
  JMP_JGE_K: 0x35,
  RET_K: 0x06,
} as const;

/** Offsets in struct seccomp_data (linux/seccomp.h); words are little endian on x86. */
export const seccompData = { nr: 0, arch: 4, argument: (index: number) => 16 + 8 * index } as const;

/** BPF_MAXINSNS: the kernel refuses longer filters. */
export const maximumInstructions = 4096;
const instructionBytes = 8;
const farthestJump = 255;

/** A place in the program, counted from its end, so that adding in front does not move it. */
export type BpfPlace = number;

export class BpfBuilder {
  /** In reverse: the last instruction of the program is the first here. */
  readonly #reversed: BpfInstruction[] = [];
  readonly #returns = new Map<number, BpfPlace>();

  get length(): number {
    return this.#reversed.length;
  }

  /** The place of a `return value`; one that exists is used again. */
  ret(value: number): BpfPlace {
    const known = this.#returns.get(value);
    if (known !== undefined && this.#distance(known) <= farthestJump - 2) return known;
    const place = this.#push({ code: bpfCode.RET_K, jt: 0, jf: 0, k: value });
    this.#returns.set(value, place);
    return place;
  }

  load(offset: number, next: BpfPlace): BpfPlace {
    this.#fallThrough(next);
    return this.#push({ code: bpfCode.LD_W_ABS, jt: 0, jf: 0, k: offset });
  }

  and(mask: number, next: BpfPlace): BpfPlace {
    this.#fallThrough(next);
    return this.#push({ code: bpfCode.ALU_AND_K, jt: 0, jf: 0, k: mask });
  }

  jump(how: "JEQ" | "JGT" | "JGE", k: number, whenTrue: BpfPlace, whenFalse: BpfPlace): BpfPlace {
    if (whenTrue === whenFalse) return whenTrue;
    // A stone for one branch pushes the other one instruction farther away: leave room for that.
    const yes = this.#near(whenTrue, farthestJump - 1);
    const no = this.#near(whenFalse, farthestJump);
    const jt = this.#distance(yes);
    return this.#push({ code: bpfCode[`JMP_${how}_K`], jt, jf: this.#distance(no), k });
  }

  /** The instructions in order, starting at `entry`, which must be the latest place. */
  finish(entry: BpfPlace): readonly BpfInstruction[] {
    this.#fallThrough(entry);
    if (this.length > maximumInstructions)
      throw new RangeError(
        `Cannot load a seccomp filter of ${this.length} instructions: ` +
          `the kernel takes at most ${maximumInstructions}`,
      );
    return this.#reversed.toReversed();
  }

  #push(instruction: BpfInstruction): BpfPlace {
    this.#reversed.push(instruction);
    return this.#reversed.length - 1;
  }

  /** Instructions that a jump added now would skip to reach the place. */
  #distance(place: BpfPlace): number {
    return this.#reversed.length - 1 - place;
  }

  #near(place: BpfPlace, farthest: number): BpfPlace {
    return this.#distance(place) <= farthest ? place : this.#step(place);
  }

  /** A return is repeated, anything else is reached by an unconditional jump. */
  #step(place: BpfPlace): BpfPlace {
    const target = this.#reversed[place];
    if (target?.code === bpfCode.RET_K) {
      const copy = this.#push(target);
      this.#returns.set(target.k, copy);
      return copy;
    }
    return this.#push({ code: bpfCode.JMP_JA, jt: 0, jf: 0, k: this.#distance(place) });
  }

  #fallThrough(next: BpfPlace): void {
    if (this.#distance(next) !== 0) this.#step(next);
  }
}

/** struct sock_filter, one after another: u16 code, u8 jt, u8 jf, u32 k. */
export function encodeBpf(instructions: readonly BpfInstruction[]): Uint8Array {
  const bytes = new Uint8Array(instructions.length * instructionBytes);
  const view = new DataView(bytes.buffer);
  instructions.forEach(({ code, jt, jf, k }, index) => {
    const at = index * instructionBytes;
    view.setUint16(at, code, true);
    view.setUint8(at + 2, jt);
    view.setUint8(at + 3, jf);
    view.setUint32(at + 4, k, true);
  });
  return bytes;
}

/** Instructions as bpf_asm writes them, for `explain` and golden files. */
export function formatBpf(instructions: readonly BpfInstruction[]): string {
  return instructions.map((instruction, at) => `${at}: ${formatOne(instruction, at)}`).join("\n");
}

function formatOne({ code: what, jt, jf, k }: BpfInstruction, at: number): string {
  const hex = `0x${k.toString(16)}`;
  switch (what) {
    case bpfCode.LD_W_ABS:
      return `ld [${k}]`;
    case bpfCode.ALU_AND_K:
      return `and #${hex}`;
    case bpfCode.JMP_JA:
      return `jmp ${at + 1 + k}`;
    case bpfCode.RET_K:
      return `ret #${hex}`;
    default: {
      const name = what === bpfCode.JMP_JEQ_K ? "jeq" : what === bpfCode.JMP_JGT_K ? "jgt" : "jge";
      return `${name} #${hex}, ${at + 1 + jt}, ${at + 1 + jf}`;
    }
  }
}
