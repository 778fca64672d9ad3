/**
 * Writes the records of decoded instructions: which handler, and the fields that it reads.
 *
 * ```
 * [an address record, when a memory operand needs one]   a plan's record, or TypeScript's helper
 * ```
 */
import { type CodeSize, codeSizeOf } from "../isa/code-size.ts";
import { Decoder, Instruction, noRegister, operandKind, ripRegister } from "../isa/decode.ts";
import { layout, record, state } from "../state.ts";
import { endsRun } from "./code-page.ts";
import { firstPlanHandler, specialHandlers } from "./core.ts";
import { addressForm, emitters, type HandlerSet } from "./forms.ts";
import { HelperSites } from "./helper-sites.ts";

export class RecordWriter {
  /** Where the next record goes. */
  next: number = layout.records;
  readonly instruction = new Instruction();
  readonly helpers = new HelperSites();
  private readonly decoder = new Decoder();
  private readonly bytes: Uint8Array;
  private readonly halves: Uint16Array;
  private readonly words: Int32Array;
  private readonly staging = new Uint8Array(32);
  private readonly set: HandlerSet;
  private codeSize: CodeSize = 64;
  /** Whether 16- or 32-bit code is being translated. */
  private legacy = false;

  constructor(memory: WebAssembly.Memory, set: HandlerSet) {
    this.bytes = new Uint8Array(memory.buffer);
    this.halves = new Uint16Array(memory.buffer);
    this.words = new Int32Array(memory.buffer);
    this.set = set;
  }

  /** What follows is code of this mode. */
  setMode(mode: number): void {
    this.codeSize = codeSizeOf(mode);
    this.legacy = this.codeSize !== 64;
  }

  /** Decodes at `at` of the page whose bytes are at `host`. */
  decode(host: number, at: number): ReturnType<Decoder["decode"]> {
    return this.decoder.decode(this.instruction, this.bytes, host + at, host + 4096, this.codeSize);
  }

  /** The same, of an instruction that goes on in the page at `nextHost`. */
  decodeCrossing(host: number, at: number, nextHost: number): ReturnType<Decoder["decode"]> {
    const here = 4096 - at;
    this.staging.set(this.bytes.subarray(host + at, host + 4096));
    this.staging.set(this.bytes.subarray(nextHost, nextHost + 16), here);
    return this.decoder.decode(this.instruction, this.staging, 0, here + 16, this.codeSize);
  }

  /** Appends the records of the decoded instruction; true when the run ends with it. */
  append(at: number, count: number, known: boolean): boolean {
    const { instruction } = this;
    const where = at | (Math.min(instruction.length, 15) << 12);
    if (!known) {
      this.appendHelper(where);
      return true;
    }
    const mnemonic = instruction.row.mnemonic;
    const memory = this.usesMemory();
    const rm = memory ? addressForm(instruction, this.set, this.legacy) : "register";
    const plan = this.set.find(instruction, rm, this.legacy);
    if (rm === "memory") this.appendAddress(where);
    if (plan < 0) this.appendHelper(where);
    else this.appendPlan(where, plan, rm === "base", count);
    if (endsRun.has(mnemonic)) {
      // Whatever may change the mode or the mapping is followed by a fresh look-up.
      if (plan >= 0 || !emitters[mnemonic]) this.appendGoOn(count);
      return true;
    }
    return false;
  }

  private usesMemory(): boolean {
    const { instruction } = this;
    for (let i = 0; i < instruction.operandCount; i++)
      if (instruction.kinds[i] === operandKind.memory) return true;
    const name = instruction.row.mnemonic;
    return /^(movs8|movsv|lods|cmps8|cmpsv|xlat|outs|maskmov)/.test(name);
  }

  record(handler: number, where: number): number {
    const at = this.next;
    this.next = at + record.sizeBytes;
    this.words.fill(0, at >> 2, (at >> 2) + 4);
    this.halves[at >> 1] = handler;
    this.halves[(at + record.where) >> 1] = where;
    return at;
  }

  private appendAddress(where: number): void {
    const { instruction } = this;
    const { base, index } = instruction;
    const segment = this.legacy ? legacySegment(instruction) : instruction.segment;
    let handler: number = specialHandlers.addressBase;
    if (index !== noRegister) handler = specialHandlers.addressIndex;
    if (segment >= 4) handler = specialHandlers.addressSegment;
    if (instruction.addressSize !== 64) handler = specialHandlers.address32;
    if (base === ripRegister)
      handler = segment < 4 ? specialHandlers.addressRip : specialHandlers.addressRipSegment;
    if (this.legacy)
      handler =
        instruction.addressSize === 16
          ? specialHandlers.addressLegacy16
          : specialHandlers.addressLegacy32;
    const at = this.record(handler, where);
    if (instruction.isAbsolute64) {
      this.halves[at >> 1] = specialHandlers.addressAbsolute;
      this.halves[(at + record.a) >> 1] =
        segment >= 4 ? state.segmentBase + segment * 8 : state.zero;
      this.words[(at + record.immediate) >> 2] = instruction.displacement;
      this.words[(at + record.immediate + 4) >> 2] = instruction.displacementHigh;
      return;
    }
    this.halves[(at + record.a) >> 1] =
      base === noRegister || base === ripRegister ? state.zero : base * 8;
    this.halves[(at + record.b) >> 1] = index === noRegister ? state.zero : index * 8;
    let displacement = instruction.displacement;
    // SDM volume 2, POP: an address with RSP counts it after the increment.
    if (instruction.row.mnemonic === "pop" && base === 4) displacement += instruction.size / 8;
    const name = instruction.row.mnemonic;
    if (/^(movs8|movsv|lods|cmps8|cmpsv|outs)/.test(name)) {
      displacement = 0; // only the segment's base: the emitter adds rSI itself
      this.halves[(at + record.a) >> 1] = state.zero;
    }
    if (name === "xlat" || name.startsWith("maskmov"))
      this.halves[(at + record.a) >> 1] = name === "xlat" ? 3 * 8 : 7 * 8;
    this.words[(at + record.immediate) >> 2] = displacement;
    this.halves[(at + record.c) >> 1] = instruction.scale;
    const hasBase = this.legacy ? segment >= 0 : segment >= 4;
    this.halves[(at + record.d) >> 1] = hasBase ? state.segmentBase + segment * 8 : state.zero;
  }

  private appendPlan(where: number, plan: number, isBase: boolean, count: number): void {
    const { instruction } = this;
    const at = this.record(firstPlanHandler + plan, where);
    let field: number = record.a;
    let immediate = false;
    for (let i = 0; i < instruction.operandCount; i++) {
      const value = instruction.values[i] as number;
      const kind = instruction.kinds[i];
      if (kind === operandKind.register || kind === operandKind.xmm || kind === operandKind.mmx) {
        const offset =
          kind === operandKind.xmm
            ? state.xmm + value * 16
            : kind === operandKind.mmx
              ? state.st + value * 16
              : value >= 16
                ? (value - 16) * 8 + 1
                : value * 8;
        this.halves[(at + field) >> 1] = offset;
        field = field === record.a ? record.b : record.immediate;
      } else if (kind === operandKind.immediate || kind === operandKind.relative) immediate = true;
    }
    if (isBase) {
      this.halves[(at + record.b) >> 1] = instruction.base * 8;
      this.words[(at + record.immediate) >> 2] = instruction.displacement;
    }
    if (!immediate) return;
    const last = instruction.operandCount - 1;
    const size = instruction.sizes[last] as number;
    const clean =
      size === 8
        ? instruction.immediate & 0xff
        : size === 16
          ? instruction.immediate & 0xffff
          : instruction.immediate;
    if (instruction.kinds[last] === operandKind.relative) {
      this.words[(at + record.immediate) >> 2] = instruction.immediate;
      this.halves[(at + record.a) >> 1] = count;
      return;
    }
    this.words[(at + (isBase ? record.immediate2 : record.immediate)) >> 2] = clean;
    if (size === 64 && instruction.immediateHigh !== instruction.immediate >> 31)
      this.wideImmediate(at);
  }

  /** MOV r64, imm64 is the only one: it has a handler that reads eight bytes. */
  private wideImmediate(at: number): void {
    this.halves[at >> 1] = specialHandlers.moveWide;
    this.words[(at + record.immediate) >> 2] = this.instruction.immediate;
    this.words[(at + record.immediate + 4) >> 2] = this.instruction.immediateHigh;
  }

  private appendHelper(where: number): void {
    const at = this.record(specialHandlers.helper, where);
    this.words[(at + record.immediate) >> 2] = this.helpers.numberOf(this.instruction);
  }

  /** Continues after the last instruction: its own record says where that is. */
  appendGoOn(count: number): void {
    const previous = this.next - record.sizeBytes;
    const where = this.halves[(previous + record.where) >> 1] as number;
    const at = this.record(specialHandlers.goOn, where);
    this.halves[(at + record.a) >> 1] = count;
  }
}

/** Where a memory operand of 16- or 32-bit code is: as overridden, else SS with a stack register. */
function legacySegment({ segment, base, row }: Instruction): number {
  if (segment >= 0) return segment;
  if (row.mnemonic === "lea") return -1;
  return base === 4 || base === 5 ? 2 : 3;
}
