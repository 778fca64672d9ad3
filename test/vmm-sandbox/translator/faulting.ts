/**
 * Instructions that fault, on the host's processor and on ours in user mode: the same exception, error
 * code and CR2, the same registers, flags and memory as at the fault. For a process of its own
 * (host-faults.ts): `tsx faulting.ts SEED ROUNDS [mnemonic]` prints differences as JSON.
 */
import type { Row } from "../../../vmm-sandbox/translator/isa/instruction-set.ts";
import { GuestCpu } from "./guest-cpu.ts";
import { addresses, instructionOffset, offsets, stateBytes } from "./host-cpu.ts";
import { FaultingHost, type HostFault, readOnlyPage } from "./host-faults.ts";
import { encode, fillState, Random, testedRows, undefinedFlags } from "./vectors.ts";

const batch = 32;

/** Where a memory operand points, and so why it faults. */
const targets = {
  "not mapped": (random: Random) => addresses.data + 0x1000 + random.below(0xff0),
  "across the end": (random: Random) => addresses.data + 0x1000 - 1 - random.below(24),
  "read-only": (random: Random) => readOnlyPage + 64 + random.below(64),
  mapped: (random: Random) => addresses.data + random.below(16),
  "not canonical": () => 0,
} as const;
type Target = keyof typeof targets;

const notCanonical = [0x8000_0000_1000n, 0xffff_7fff_ffff_0000n, 0xdead_beef_0000_0000n] as const;

/** What testedRows leaves out: privileged, undefined, or with the stack as its memory. */
const special: readonly (readonly [name: string, hex: string])[] = [
  ...["50", "58", "9c", "c9", "c3", "c20800", "e800000000", "c8100001", "ff33", "8f03", "ff13"].map(
    (hex) => ["stack", hex] as const,
  ),
  ...(
    "f4 fa fb 0f30 0f32 0f20c0 0f22c0 0f20e0 0f06 0f01f8 0f09 0f08 0f0113 0f011b 0f013b 0f00d8 0f00d0 " +
    "ec ee ed ef e420 e620 6c 6e 0f21c0 0f23c0 0f01f0 0f07 0f35 cd20"
  )
    .split(" ")
    .map((hex) => ["privileged", hex] as const),
  ...(
    "0f0b 0fb9c0 06 0e 16 1e 07 17 1f 27 2f 37 3f 60 61 82c000 9a ea ce d40a d50a f001c0 f090 f00fc8 " +
    "f08b03 f00fa300 f00fafc0 0f24c0 8ec8 0f04 0f0a 0f36 0f390000 0fc7c8 fed0 ffff c7c8 c6c8 8fc8 f20f38f1c0 " +
    "660f3800c7"
  )
    .split(" ")
    .map((hex) => ["undefined", hex] as const),
];

export interface FaultReport {
  readonly vectors: number;
  readonly faults: Readonly<Record<string, number>>;
  readonly differences: readonly string[];
}

export async function compareFaults(
  seed: number,
  rounds: number,
  only?: string,
): Promise<FaultReport> {
  const host = await FaultingHost.open();
  const guests = [new GuestCpu(2 ** 30, true), new GuestCpu(1, true)];
  const random = new Random(seed);
  const run = new Comparison(host, random);
  for (let round = 0; round < rounds; round++) {
    const guest = guests[round % 2] as GuestCpu;
    for (const row of testedRows)
      if (only === undefined || row.mnemonic === only) run.row(guest, row);
    if (only === undefined) for (const [name, hex] of special) run.special(guest, name, hex);
  }
  return { vectors: run.vectors, faults: run.faults, differences: run.differences };
}

interface Outcome {
  readonly before: Uint8Array;
  readonly ours: Uint8Array;
  readonly vector: number;
  readonly error: number;
  readonly cr2: bigint;
  readonly rip: bigint;
}

class Comparison {
  vectors = 0;
  readonly faults: Record<string, number> = {};
  readonly differences: string[] = [];
  private readonly host: FaultingHost;
  private readonly random: Random;

  constructor(host: FaultingHost, random: Random) {
    this.host = host;
    this.random = random;
  }

  row(guest: GuestCpu, row: Row): void {
    const { random } = this;
    const { bytes, base } = encodeWithBase(row, random);
    const target = random.pick(Object.keys(targets) as Target[]);
    this.compare(guest, bytes, row.text, row, (state, view) => {
      fillState(state, row, true, random);
      const address =
        target === "not canonical" ? random.pick(notCanonical) : BigInt(targets[target](random));
      for (const register of base) view.setBigUint64(register * 8, address, true);
      if (random.chance(5) && isChecked(row))
        view.setUint32(offsets.flags, view.getUint32(offsets.flags, true) | 0x4_0000, true);
      // Unmasked exceptions of SSE: #XM.
      if (random.chance(3))
        view.setUint32(offsets.fx + 24, (random.below(64) << 7) | (random.below(4) << 13), true);
    });
  }

  special(guest: GuestCpu, name: string, hex: string): void {
    const { random } = this;
    const row = testedRows[0] as Row;
    const target = random.pick(Object.keys(targets) as Target[]);
    this.compare(
      guest,
      Uint8Array.from(Buffer.from(hex, "hex")),
      `${name} ${hex}`,
      undefined,
      (state, view) => {
        fillState(state, row, true, random);
        if (name !== "stack") return;
        const address =
          target === "not canonical" ? random.pick(notCanonical) : BigInt(targets[target](random));
        for (const register of [4, 5]) view.setBigUint64(register * 8, address, true);
      },
    );
  }

  private compare(
    guest: GuestCpu,
    bytes: Uint8Array,
    name: string,
    row: Row | undefined,
    fill: (state: Uint8Array, view: DataView) => void,
  ): void {
    guest.load(bytes);
    const kept: Outcome[] = [];
    for (let i = 0; i < batch; i++) {
      const before = new Uint8Array(stateBytes);
      fill(before, new DataView(before.buffer));
      const ours = before.slice();
      const vector = guest.run(ours);
      this.vectors++;
      const { stepFault, registers } = guest.cpu;
      // Returns and calls into the blue fault at their target with us, on the host some at the jump.
      const hasLeft = registers.rip !== BigInt(addresses.code + instructionOffset);
      if (row === undefined && (vector < 0 || hasLeft)) continue;
      kept.push({
        before,
        ours,
        vector,
        error: stepFault?.errorCode ?? 0,
        cr2: stepFault?.address ?? 0n,
        rip: registers.rip,
      });
      this.host.states.set(before, (kept.length - 1) * stateBytes);
    }
    if (kept.length === 0) return;
    if (process.env["TRACE"]) console.error(name, Buffer.from(bytes).toString("hex"));
    const faults = this.host.runFaulting(bytes, kept.length);
    for (const [i, ours] of kept.entries()) {
      const theirs = faults.get(i);
      const found = this.difference(ours, theirs, row, bytes);
      const key = `${theirs?.vector ?? "none"}`;
      this.faults[key] = (this.faults[key] ?? 0) + 1;
      if (found === undefined) continue;
      const registers = Array.from({ length: 16 }, (_, r) =>
        new DataView(ours.before.buffer).getBigUint64(r * 8, true).toString(16),
      );
      this.differences.push(
        `${name} ${Buffer.from(bytes).toString("hex")}: ${found}\n      with ${registers.join(" ")}`,
      );
      return; // one of a batch says enough
    }
  }

  private difference(
    ours: Outcome,
    theirs: HostFault | undefined,
    row: Row | undefined,
    bytes: Uint8Array,
  ): string | undefined {
    const vector = theirs?.vector ?? -1;
    if (ours.vector !== vector && isOrderOfFaults(ours, vector, row)) return undefined;
    if (ours.vector !== vector)
      return `exception ${ours.vector} (error ${ours.error.toString(16)}, cr2 ${ours.cr2.toString(16)}), host ${vector} (error ${theirs?.errorCode.toString(16)}, cr2 ${theirs?.cr2.toString(16)})`;
    if (theirs === undefined) return undefined; // the other differential test compares those
    const isTrap = vector === 3 || vector === 1;
    const expectedRip = BigInt(addresses.code + instructionOffset + (isTrap ? bytes.length : 0));
    if (ours.rip !== theirs.rip || theirs.rip !== expectedRip)
      return `exception ${vector} at ${ours.rip.toString(16)}, host ${theirs.rip.toString(16)}`;
    if ([10, 11, 12, 13, 14, 17].includes(vector) && ours.error !== theirs.errorCode)
      return `exception ${vector}: error code ${ours.error.toString(16)}, host ${theirs.errorCode.toString(16)} (cr2 ${theirs.cr2.toString(16)})`;
    // MASKMOV writes some bytes; which of a page faults first is the processor's affair.
    const unit = row?.mnemonic.startsWith("maskmov") ? 12n : 0n;
    if (vector === 14 && ours.cr2 >> unit !== theirs.cr2 >> unit)
      return `CR2 ${ours.cr2.toString(16)}, host ${theirs.cr2.toString(16)}`;
    return this.stateDifference(ours.ours, theirs, row);
  }

  private stateDifference(
    ours: Uint8Array,
    theirs: HostFault,
    row: Row | undefined,
  ): string | undefined {
    const view = new DataView(ours.buffer);
    for (const [i, value] of theirs.registers.entries())
      if (view.getBigUint64(i * 8, true) !== value)
        return `exception ${theirs.vector}: register ${i} ${view.getBigUint64(i * 8, true).toString(16)}, host ${value.toString(16)}`;
    const mask = 0xcd5 & ~(row ? undefinedFlags(row, 2, 64) & 0x10 : 0);
    const flags = view.getUint32(offsets.flags, true);
    if ((flags ^ theirs.flags) & mask)
      return `exception ${theirs.vector}: flags ${flags.toString(16)}, host ${theirs.flags.toString(16)}`;
    for (let i = 0; i < 256; i++)
      if (ours[offsets.xmm + i] !== theirs.fx[160 + i])
        return `exception ${theirs.vector}: xmm${i >> 4} differs`;
    const mxcsr = new DataView(theirs.fx.buffer).getUint32(24, true);
    if ((view.getUint32(offsets.fx + 24, true) ^ mxcsr) & 0xffcd)
      return `exception ${theirs.vector}: mxcsr ${view.getUint32(offsets.fx + 24, true).toString(16)}, host ${mxcsr.toString(16)}`;
    for (let i = 0; i < offsets.dataBytes; i++)
      if (ours[offsets.data + i] !== theirs.data[i])
        return `exception ${theirs.vector}: data+${i} differs`;
    return undefined;
  }
}

/** A random encoding whose memory operand, if it has one, starts from RBX, RBP or RSP. */
function encodeWithBase(row: Row, random: Random): { bytes: Uint8Array; base: readonly number[] } {
  for (let attempt = 0; attempt < 40; attempt++) {
    const { bytes } = encode(row, random);
    const at = modRmAt(row, bytes);
    if (at < 0 || (bytes[at] as number) >= 0xc0) return { bytes, base: stringBase(row) };
    if (((bytes[at] as number) & 0xc7) !== 0x43) continue;
    if (!random.chance(3)) return { bytes, base: [3] };
    bytes[at] = ((bytes[at] as number) & 0xf8) | 5; // [rbp + disp8]
    return { bytes, base: [5] };
  }
  return { bytes: encode(row, random).bytes, base: stringBase(row) };
}

/** Where manuals leave open which of several faults of one instruction is reported, or whether. */
function isOrderOfFaults(ours: Outcome, vector: number, row: Row | undefined): boolean {
  const ofAddress = [12, 13, 14, 17];
  const checksAlignment =
    new DataView(ours.before.buffer).getUint32(offsets.flags, true) & 0x4_0000;
  if (checksAlignment && ofAddress.includes(vector) && ofAddress.includes(ours.vector)) return true;
  // With an empty mask MASKMOV may fault or not.
  return (row?.mnemonic.startsWith("maskmov") ?? false) && ours.vector === -1;
}

/** Alignment checks of x87, MMX and SSE operands differ between processors. */
function isChecked(row: Row): boolean {
  return !row.usesVectors && row.mnemonic !== "fpu" && !/^cmpxchg(8|16)b/.test(row.mnemonic);
}

function stringBase(row: Row): readonly number[] {
  if (row.mnemonic === "xlat") return [3];
  return /^(movs|cmps)[bwdqv]?$/.test(row.mnemonic) ? [6] : [7, 6];
}

/** Behind prefixes and opcode. */
function modRmAt(row: Row, bytes: Uint8Array): number {
  if (!row.hasModRm) return -1;
  let at = 0;
  while ([0x66, 0xf2, 0xf3, 0xf0].includes(bytes[at] as number)) at++;
  if (((bytes[at] as number) & 0xf0) === 0x40) at++;
  return at + 1 + ([0, 1, 2, 2][row.map] ?? 0);
}

if (import.meta.url === `file://${process.argv[1]}`) {
  const [, , seed, rounds, only] = process.argv;
  const report = await compareFaults(Number(seed ?? 1), Number(rounds ?? 1), only);
  process.stdout.write(`${JSON.stringify(report)}\n`, () => process.exit(0));
}
