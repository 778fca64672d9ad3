/**
 * x87's transcendental functions against the host's processor. Those approximate: each maker promises
 * less than one unit in the last place (SDM volume 1 §8.3.10), so a result may differ by that; the
 * exceptions and the stack may not.
 */
import { GuestCpu } from "./guest-cpu.ts";
import { HostCpu, maxBatch, offsets, stateBytes } from "./host-cpu.ts";
import { Random } from "./vectors.ts";

interface Function {
  readonly name: string;
  readonly modRm: number;
  /** Exponents (unbiased) of operands for which the result is defined: ST(0), ST(1). */
  readonly exponents: readonly (readonly [low: number, high: number])[];
}

const any = [-16383, 16384] as const;
// biome-ignore format: table
export const functions: readonly Function[] = [
  { name: "F2XM1",   modRm: 0xf0, exponents: [[-16383, -1]] },
  { name: "FYL2X",   modRm: 0xf1, exponents: [any, any] },
  { name: "FPTAN",   modRm: 0xf2, exponents: [any] },
  { name: "FPATAN",  modRm: 0xf3, exponents: [any, any] },
  { name: "FYL2XP1", modRm: 0xf9, exponents: [[-16383, -3], any] },
  { name: "FSINCOS", modRm: 0xfb, exponents: [any] },
  { name: "FSIN",    modRm: 0xfe, exponents: [any] },
  { name: "FCOS",    modRm: 0xff, exponents: [any] },
];

/** Runs `batches` of each function; the differences, as text. */
export async function compareTranscendental(seed: number, batches: number): Promise<string[]> {
  const host = await HostCpu.open();
  const guest = new GuestCpu();
  const random = new Random(seed);
  const differences: string[] = [];
  for (let batch = 0; batch < batches; batch++)
    for (const one of functions) {
      const instruction = Uint8Array.of(0xd9, one.modRm);
      guest.load(instruction);
      const before = Array.from({ length: maxBatch }, () => makeState(one, random));
      for (const [i, state] of before.entries()) host.states.set(state, i * stateBytes);
      host.run(instruction, maxBatch);
      for (const [i, state] of before.entries()) {
        const ours = state.slice();
        const fault = guest.run(ours);
        const theirs = host.states.slice(i * stateBytes, (i + 1) * stateBytes);
        const difference = fault >= 0 ? `exception ${fault}` : compare(ours, theirs);
        if (difference) differences.push(`${one.name} ${describe(state)}: ${difference}`);
      }
    }
  return differences;
}

function makeState({ exponents }: Function, random: Random): Uint8Array {
  const state = new Uint8Array(stateBytes);
  const view = new DataView(state.buffer);
  view.setBigUint64(offsets.flags, 0x202n, true);
  const at = offsets.fx;
  view.setUint16(at, 0x37f | (random.below(4) << 10), true);
  view.setUint16(at + 2, random.below(8) << 11, true);
  // Mostly room for a result and nothing missing.
  const top = (view.getUint16(at + 2, true) >> 11) & 7;
  const tags = random.chance(16) ? random.below(256) : 0b0000_0111;
  view.setUint8(at + 4, ((tags << top) | (tags >> (8 - top))) & 0xff);
  view.setUint32(at + 24, 0x1f80, true);
  for (let i = 0; i < 8; i++) {
    const [mantissa, high] = operand(exponents[i] ?? any, random);
    view.setBigUint64(at + 32 + i * 16, mantissa, true);
    view.setUint16(at + 40 + i * 16, high, true);
  }
  return state;
}

function operand([low, high]: readonly [number, number], random: Random): [bigint, number] {
  const sign = random.below(2) << 15;
  const integer = 1n << 63n;
  const word = (): bigint => (BigInt(random.word()) << 32n) | BigInt(random.word());
  const fraction = random.pick([
    0n,
    1n,
    integer - 1n,
    word() >> 1n,
    word() >> 1n,
    (word() >> 40n) << 39n,
  ]);
  const special = random.below(24);
  if (special === 0) return [0n, sign];
  if (special === 1) return [integer | fraction, sign | 0x7fff];
  if (special === 2) return [integer, sign | 0x7fff];
  if (special === 3) return [fraction, sign]; // denormal, or zero
  const near = random.chance(3) ? random.below(4) - 3 : random.below(140) - 70;
  const wide = low + random.below(high - low);
  const exponent = Math.max(low, Math.min(high - 1, random.chance(4) ? wide : near));
  return [integer | fraction, sign | Math.max(1, exponent + 16383)];
}

const C1 = 0x200;

function compare(ours: Uint8Array, theirs: Uint8Array): string | undefined {
  const [o, t] = [new DataView(ours.buffer), new DataView(theirs.buffer)];
  const at = offsets.fx;
  const status = (v: DataView): number => v.getUint16(at + 2, true) & ~C1;
  if (status(o) !== status(t) || o.getUint8(at + 4) !== t.getUint8(at + 4))
    return `status ${status(o).toString(16)} tags ${o.getUint8(at + 4).toString(16)}, host ${status(t).toString(16)} ${t.getUint8(at + 4).toString(16)}`;
  for (let i = 0; i < 8; i++) {
    const distance = place(o, at + 32 + i * 16) - place(t, at + 32 + i * 16);
    if (distance < -1n || distance > 1n)
      return `ST(${i}) ${number(o, i)}, host ${number(t, i)}: ${distance} units apart`;
  }
  return undefined;
}

/** Numbers in order of size, neighbours one apart. */
function place(view: DataView, at: number): bigint {
  const high = view.getUint16(at + 8, true);
  const magnitude =
    (BigInt(high & 0x7fff) << 63n) + (view.getBigUint64(at, true) & ((1n << 63n) - 1n));
  return high & 0x8000 ? -magnitude - 1n : magnitude;
}

function number(view: DataView, i: number): string {
  const at = offsets.fx + 32 + i * 16;
  return `${view.getUint16(at + 8, true).toString(16)}:${view.getBigUint64(at, true).toString(16)}`;
}

function describe(state: Uint8Array): string {
  const view = new DataView(state.buffer);
  return `of ${number(view, 0)} and ${number(view, 1)}, control ${view.getUint16(offsets.fx, true).toString(16)}, tags ${view.getUint8(offsets.fx + 4).toString(16)}, status ${view.getUint16(offsets.fx + 2, true).toString(16)}`;
}
