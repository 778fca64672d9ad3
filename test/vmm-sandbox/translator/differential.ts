/** Runs vectors on the host's processor and on ours and reports where they differ. */
import type { Row } from "../../../vmm-sandbox/translator/isa/instruction-set.ts";
import { GuestCpu } from "./guest-cpu.ts";
import { HostCpu, maxBatch, offsets, stateBytes } from "./host-cpu.ts";
import { encode, fillState, Random, undefinedFlags } from "./vectors.ts";

export type Difference = { readonly row: string; readonly text: string };

const registerNames = "rax rcx rdx rbx rsp rbp rsi rdi r8 r9 r10 r11 r12 r13 r14 r15".split(" ");

export class Differential {
  vectors = 0;
  /** Vectors on which our CPU faulted, so that the host was not asked. */
  faults = 0;
  private readonly host: HostCpu;
  private readonly guest: GuestCpu;
  private readonly random: Random;

  private constructor(host: HostCpu, seed: number, hotThreshold: number) {
    this.guest = new GuestCpu(hotThreshold);
    this.host = host;
    this.random = new Random(seed);
  }

  /** `hotThreshold`: 1 tests the compiled tier, 2³⁰ the interpreter. */
  static async open(seed: number, hotThreshold = 2 ** 30): Promise<Differential> {
    return new Differential(await HostCpu.open(), seed, hotThreshold);
  }

  get regions(): number {
    return this.guest.cpu.jit.statistics.regions;
  }

  /** One random encoding of `row` on `batch` states; the first difference, if any. */
  run(row: Row, batch: number): Difference | undefined {
    const { bytes, usesMemory, size } = encode(row, this.random);
    const ours: Uint8Array[] = [];
    const before: Uint8Array[] = [];
    this.guest.load(bytes);
    for (let i = 0; i < batch && ours.length < maxBatch; i++) {
      const state = new Uint8Array(stateBytes);
      fillState(state, row, usesMemory, this.random);
      const copy = state.slice();
      const fault = this.guest.run(state);
      this.vectors++;
      if (fault >= 0) {
        this.faults++;
        // Bit offsets in registers may lead anywhere.
        const mayLeave = fault === 14 && row.mnemonic.startsWith("bt");
        if (fault !== 0 && fault !== 13 && !mayLeave)
          return { row: row.text, text: `${hex(bytes)}: our exception ${fault}` };
        continue;
      }
      this.host.states.set(copy, ours.length * stateBytes);
      ours.push(state);
      before.push(copy);
    }
    if (ours.length === 0) return undefined;
    // The last line before a crash of the host names what only it refuses.
    if (process.env["TRACE"]) console.error(hex(bytes));
    this.host.run(bytes, ours.length);
    for (const [i, state] of ours.entries()) {
      const theirs = this.host.states.subarray(i * stateBytes, (i + 1) * stateBytes);
      if (areEqual(state, theirs)) continue;
      const difference = compare(row, bytes, size, before[i] as Uint8Array, state, theirs);
      if (difference) return difference;
    }
    return undefined;
  }
}

const wordCount = stateBytes / 4;
const [flagsWord, mxcsrWord] = [offsets.flags / 4, offsets.fx / 4 + 6];

/** All bits the same that are ours to keep; most vectors are, and this is quick. */
function areEqual(ours: Uint8Array, theirs: Uint8Array): boolean {
  const o = new Int32Array(ours.buffer, ours.byteOffset, wordCount);
  const t = new Int32Array(theirs.buffer, theirs.byteOffset, wordCount);
  for (let i = 0; i < wordCount; i++) {
    if (o[i] === t[i]) continue;
    const isPointer = i > offsets.fx / 4 && i < mxcsrWord; // FOP's half, FIP and FDP
    const isMask = i === mxcsrWord + 1;
    if (i === flagsWord || !(isPointer || isMask)) return false;
  }
  return ((o[offsets.fx / 4 + 1] ?? 0) & 0xff) === ((t[offsets.fx / 4 + 1] ?? 0) & 0xff);
}

function compare(
  row: Row,
  bytes: Uint8Array,
  size: number,
  before: Uint8Array,
  ours: Uint8Array,
  theirs: Uint8Array,
): Difference | undefined {
  const view = (b: Uint8Array) => new DataView(b.buffer, b.byteOffset, stateBytes);
  const [b, o, t] = [view(before), view(ours), view(theirs)];
  const width = /b,|b$/.test(row.text) && row.sized === "" ? 8 : size;
  const countByte = row.text.includes("CL")
    ? b.getUint8(8)
    : row.text.includes(",1")
      ? 1
      : (bytes.at(-1) as number);
  const count = countByte & (width === 64 ? 63 : 31);
  // Above 16, 16-bit double shifts have no defined result at all.
  if (row.mnemonic.startsWith("sh") && row.mnemonic.endsWith("d") && width === 16 && count > 16)
    return undefined;
  // FPREM and FPREM1 may stop half-way (C2), each processor after its own number of bits.
  const opcodes = hex(bytes);
  const isPartial = (t.getUint16(offsets.fx + 2, true) & 0x400) !== 0;
  if (isPartial && /d9 f[58]$/.test(opcodes)) return undefined;
  const mask = ~undefinedFlags(row, count, width) & 0xcd5;
  const problems: string[] = [];
  for (let i = 0; i < 16; i++)
    if (o.getBigUint64(i * 8, true) !== t.getBigUint64(i * 8, true))
      problems.push(
        `${registerNames[i]} ${hex64(b, i * 8)} -> ours ${hex64(o, i * 8)} host ${hex64(t, i * 8)}`,
      );
  const [of, tf] = [o.getUint32(offsets.flags, true), t.getUint32(offsets.flags, true)];
  if ((of ^ tf) & mask)
    problems.push(
      `flags ${(b.getUint32(offsets.flags, true)).toString(16)} -> ours ${of.toString(16)} host ${tf.toString(16)} (mask ${mask.toString(16)})`,
    );
  compareFpu(problems, b, o, t);
  for (let i = offsets.xmm; i < stateBytes; i += 8)
    if (o.getBigUint64(i, true) !== t.getBigUint64(i, true))
      problems.push(
        `${i < offsets.data ? `xmm${(i - offsets.xmm) >> 4}` : "data"}+${i & (i < offsets.data ? 15 : 63)} ${hex64(b, i)} -> ours ${hex64(o, i)} host ${hex64(t, i)}`,
      );
  if (problems.length === 0) return undefined;
  const inputs = registerNames.map((name, i) => `${name}=${hex64(b, i * 8)}`).join(" ");
  return { row: row.text, text: `${hex(bytes)}: ${problems.join("; ")}\n      with ${inputs}` };
}

/** FCW, FSW, tags and the registers; FIP, FDP and FOP are not ours to keep. */
function compareFpu(problems: string[], b: DataView, o: DataView, t: DataView): void {
  const at = offsets.fx;
  const word = (v: DataView) => (v.getBigUint64(at, true) & 0xff_ffff_ffffn).toString(16);
  if (word(o) !== word(t)) problems.push(`x87 ${word(b)} -> ours ${word(o)} host ${word(t)}`);
  const mxcsr = (v: DataView) => v.getUint32(at + 24, true);
  // With the usual controls precision, underflow and denormal are not recorded.
  const isUsual = (mxcsr(b) & 0xffc0) === 0x1f80;
  const counted = isUsual ? 0xffcd : 0xffff;
  if ((mxcsr(o) ^ mxcsr(t)) & counted)
    problems.push(
      `mxcsr ${mxcsr(b).toString(16)} -> ours ${mxcsr(o).toString(16)} host ${mxcsr(t).toString(16)}`,
    );
  for (let i = 0; i < 8; i++) {
    const value = (v: DataView) =>
      `${(v.getUint16(at + 40 + i * 16, true)).toString(16)}:${hex64(v, at + 32 + i * 16)}`;
    if (value(o) !== value(t))
      problems.push(`st${i} ${value(b)} -> ours ${value(o)} host ${value(t)}`);
  }
}

function hex(bytes: Uint8Array): string {
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join(" ");
}

function hex64(view: DataView, offset: number): string {
  return view.getBigUint64(offset, true).toString(16);
}
