/**
 * SSE floating-point instructions executed by TypeScript, exactly as MXCSR says: when it rounds
 * otherwise than to nearest, flushes denormals or unmasks exceptions, and when a result is one that
 * may set a flag. Emitted code leaves with the pseudo-vector `delegated`, nothing being changed,
 * and the run loop comes here.
 */
import { type Instruction, operandKind } from "../isa/decode.ts";
import { state } from "../state.ts";
import * as ieee from "../x87/ieee.ts";
import type { Cpu } from "./cpu.ts";
import { GuestFault, generalProtection, vector } from "./fault.ts";
import { decodeHere, effectiveAddress } from "./single-step.ts";
import { settleFault } from "./stack-fault.ts";

const { SseContext } = ieee;
type SseContext = ieee.SseContext;
type Size = ieee.Size;

const defaultControls = 0x1f80;
const controlBits = 0xffc0;

/** After MXCSR changed: whether emitted code must leave every instruction to us. */
export function mxcsrChanged(cpu: Cpu): void {
  const controls = cpu.registers.get32(state.mxcsr) & controlBits;
  cpu.registers.set32(state.sseStrict, controls === defaultControls ? 0 : 1);
}

/** Executes the instruction at RIP; the fault it raises, if any. */
export function executeDelegated(cpu: Cpu): GuestFault | undefined {
  const here = decodeHere(cpu);
  if (!here) return cpu.takePending();
  const { it } = here;
  const context = new SseContext(cpu.registers.get32(state.mxcsr));
  try {
    const store = compute(cpu, it, context);
    const fault = conclude(cpu, context);
    if (fault) return fault;
    store();
    cpu.registers.rip = BigInt.asUintN(64, cpu.registers.rip + BigInt(it.length));
    return undefined;
  } catch (fault) {
    if (fault instanceof GuestFault) return settleFault(cpu, fault);
    throw fault;
  }
}

/** Exceptions into MXCSR. An unmasked one keeps the destination as it was (SDM vol. 1 §11.5.3). */
function conclude(cpu: Cpu, { flags, mxcsr }: SseContext): GuestFault | undefined {
  const unmasked = flags & ~(mxcsr >> 7) & 0x3f;
  // Invalid, denormal and divide-by-zero are found before computing: then there is no other.
  const reported = unmasked & 7 ? flags & 7 : flags & 0x3f;
  cpu.registers.set32(state.mxcsr, mxcsr | reported);
  if (!unmasked) return undefined;
  const canHandle = cpu.registers.get32(state.cr4) & 0x400;
  return new GuestFault(canHandle ? vector.simdException : vector.invalidOpcode);
}

type Lanes = bigint[];

const laneBits = (value: bigint, size: number, lane: number): bigint =>
  BigInt.asUintN(size, value >> BigInt(size * lane));

function split(value: bigint, size: number): Lanes {
  return Array.from({ length: 128 / size }, (_, lane) => laneBits(value, size, lane));
}

function join(lanes: Lanes, size: number): bigint {
  return lanes.reduce((sum, lane, i) => sum | (BigInt.asUintN(size, lane) << BigInt(size * i)), 0n);
}

function readVector(cpu: Cpu, it: Instruction, operand: number): bigint {
  const value = it.values[operand] as number;
  const kind = it.kinds[operand];
  const { registers } = cpu;
  if (kind === operandKind.mmx) return registers.get64(state.st + value * 16);
  if (kind === operandKind.xmm) {
    const at = state.xmm + value * 16;
    return registers.get64(at) | (registers.get64(at + 8) << 64n);
  }
  const address = effectiveAddress(cpu, it);
  const bytes = (it.sizes[operand] as number) / 8;
  if (bytes === 16 && address & 15n) throw generalProtection();
  if (bytes <= 8) return cpu.readData(address, bytes);
  return cpu.readData(address, 8) | (cpu.readData(address + 8n, 8) << 64n);
}

function readInteger(cpu: Cpu, it: Instruction, operand: number): bigint {
  const size = it.sizes[operand] as number;
  const value =
    it.kinds[operand] === operandKind.memory
      ? cpu.readData(effectiveAddress(cpu, it), size / 8)
      : cpu.registers.gpr(it.values[operand] as number);
  return BigInt.asIntN(size, value);
}

function vectorStore(cpu: Cpu, it: Instruction, value: bigint): () => void {
  const register = it.values[0] as number;
  if (it.kinds[0] === operandKind.mmx)
    return () => {
      cpu.registers.set64(state.st + register * 16, BigInt.asUintN(64, value));
      cpu.registers.set64(state.st + register * 16 + 8, 0xffffn);
      cpu.registers.set32(state.ftop, 0);
      cpu.registers.set32(state.ftags, 0xff);
    };
  return () => {
    cpu.registers.set64(state.xmm + register * 16, BigInt.asUintN(64, value));
    cpu.registers.set64(state.xmm + register * 16 + 8, BigInt.asUintN(64, value >> 64n));
  };
}

/** Computes everything and returns what stores it. */
function compute(cpu: Cpu, it: Instruction, context: SseContext): () => void {
  const name = it.mnemonic;
  const parts = /^(add|sub|mul|div|min|max|sqrt|cmp)([ps])([sd])$/.exec(name);
  if (parts) {
    const [, operation = "", packed, kind] = parts;
    return lanewise(cpu, it, context, operation, packed === "p", kind === "s" ? 32 : 64);
  }
  if (/^u?comis/.test(name)) return compareToFlags(cpu, it, context);
  if (/^(addsub|hadd|hsub)/.test(name)) return pairwise(cpu, it, context);
  if (name.startsWith("dpp")) return dotProduct(cpu, it, context);
  if (name.startsWith("round")) return rounding(cpu, it, context);
  return conversion(cpu, it, context);
}

function lanewise(
  cpu: Cpu,
  it: Instruction,
  context: SseContext,
  name: string,
  packed: boolean,
  size: Size,
): () => void {
  const a = split(readVector(cpu, it, 0), size);
  const b = split(readVector(cpu, it, 1), size);
  const operate =
    name === "cmp" ? predicate(it.immediate & 7) : (ieee.operations[name] as ieee.Operation);
  const result = a.map((x, i) =>
    i === 0 || packed ? operate(context, x, b[i] as bigint, size) : x,
  );
  return vectorStore(cpu, it, join(result, size));
}

/** CMPPS: EQ LT LE UNORD, and their opposites; LT and LE take no NaN at all. */
function predicate(number: number): ieee.Operation {
  return (context, a, b, size) => {
    const kind = number & 3;
    const order = ieee.compare(context, a, b, size, kind === 0 || kind === 3);
    const holds = [order === 0, order === -1, order === 0 || order === -1, order === undefined][
      kind
    ];
    return holds !== number >= 4 ? (1n << BigInt(size)) - 1n : 0n;
  };
}

function compareToFlags(cpu: Cpu, it: Instruction, context: SseContext): () => void {
  const size: Size = it.mnemonic.endsWith("ss") ? 32 : 64;
  const a = laneBits(readVector(cpu, it, 0), size, 0);
  const b = laneBits(readVector(cpu, it, 1), size, 0);
  const order = ieee.compare(context, a, b, size, it.opcode === 0x2e);
  const flags = order === undefined ? 0x45 : order === 0 ? 0x40 : order === -1 ? 1 : 0;
  return () => {
    cpu.registers.rflags = (cpu.registers.rflags & ~0x8d5) | flags;
  };
}

const { add, sub, mul } = ieee.operations as Readonly<
  Record<"add" | "sub" | "mul", ieee.Operation>
>;

function pairwise(cpu: Cpu, it: Instruction, context: SseContext): () => void {
  const size: Size = it.mnemonic.endsWith("s") ? 32 : 64;
  const a = split(readVector(cpu, it, 0), size);
  const b = split(readVector(cpu, it, 1), size);
  const lane = (list: Lanes, i: number): bigint => list[i] as bigint;
  let result: Lanes;
  if (it.mnemonic.startsWith("addsub"))
    result = a.map((x, i) => (i & 1 ? add : sub)(context, x, lane(b, i), size));
  else {
    const operate = it.mnemonic.startsWith("hadd") ? add : sub;
    const both = [...a, ...b];
    result = a.map((_, i) => operate(context, lane(both, i * 2), lane(both, i * 2 + 1), size));
  }
  return vectorStore(cpu, it, join(result, size));
}

function dotProduct(cpu: Cpu, it: Instruction, context: SseContext): () => void {
  const size: Size = it.mnemonic === "dpps" ? 32 : 64;
  const a = split(readVector(cpu, it, 0), size);
  const b = split(readVector(cpu, it, 1), size);
  const chosen = (i: number): boolean => ((it.immediate >> (4 + i)) & 1) !== 0;
  const products = a.map((x, i) => (chosen(i) ? mul(context, x, b[i] as bigint, size) : 0n));
  const pair = (i: number): bigint =>
    add(context, products[i] as bigint, products[i + 1] as bigint, size);
  const sum = size === 64 ? pair(0) : add(context, pair(0), pair(2), size);
  const result = a.map((_, i) => ((it.immediate >> i) & 1 ? sum : 0n));
  return vectorStore(cpu, it, join(result, size));
}

function rounding(cpu: Cpu, it: Instruction, context: SseContext): () => void {
  const size: Size = it.mnemonic.endsWith("s") ? 32 : 64;
  const packed = it.mnemonic.startsWith("roundp");
  const control = it.immediate;
  const mode = control & 4 ? context.mode : control & 3;
  const a = split(readVector(cpu, it, 0), size);
  const b = split(readVector(cpu, it, 1), size);
  const result = a.map((x, i) =>
    i === 0 || packed
      ? ieee.roundToIntegral(context, b[i] as bigint, size, mode, (control & 8) !== 0)
      : x,
  );
  return vectorStore(cpu, it, join(result, size));
}

/** From and to of the packed conversions; "i" is a 32-bit integer. */
const packedConversions: Readonly<Record<string, readonly [from: Size | "i", to: Size | "i"]>> = {
  cvtps2pd: [32, 64],
  cvtpd2ps: [64, 32],
  cvtdq2ps: ["i", 32],
  cvtdq2pd: ["i", 64],
  cvtps2dq: [32, "i"],
  cvtpd2dq: [64, "i"],
  cvtps2pimm: [32, "i"],
  cvtpd2pimm: [64, "i"],
  cvtpi2psmm: ["i", 32],
  cvtpi2pdmm: ["i", 64],
};

function conversion(cpu: Cpu, it: Instruction, context: SseContext): () => void {
  const name = it.mnemonic.replace("cvtt", "cvt");
  const mode = it.mnemonic.startsWith("cvtt") ? 3 : context.mode;
  const old = readVector0(cpu, it);
  const scalar = /^cvt(si|s[sd])2(si|s[sd])$/.exec(name);
  if (scalar) {
    const [, from = "", to = ""] = scalar;
    const sizeOf = (letter: string): Size => (letter === "ss" ? 32 : 64);
    if (to === "si") {
      const source = laneBits(readVector(cpu, it, 1), sizeOf(from), 0);
      const bits = it.sizes[0] as number;
      const value = ieee.toInteger(context, source, sizeOf(from), bits, mode);
      return () => cpu.registers.setGpr(it.values[0] as number, value);
    }
    const size = sizeOf(to);
    const value =
      from === "si"
        ? ieee.fromInteger(context, readInteger(cpu, it, 1), size)
        : ieee.convert(
            context,
            laneBits(readVector(cpu, it, 1), sizeOf(from), 0),
            sizeOf(from),
            size,
          );
    return vectorStore(cpu, it, (old & ~((1n << BigInt(size)) - 1n)) | value);
  }
  const known = packedConversions[name];
  if (!known) throw new GuestFault(vector.invalidOpcode);
  const [from, to] = known;
  const source = split(readVector(cpu, it, 1), from === "i" ? 32 : from);
  const toBits = to === "i" ? 32 : to;
  const isMmx = name.endsWith("mm");
  const count = from === 64 || to === 64 || isMmx ? 2 : 4;
  const result = source.slice(0, count).map((lane) => {
    if (from === "i") return ieee.fromInteger(context, BigInt.asIntN(32, lane), toBits as Size);
    return to === "i"
      ? ieee.toInteger(context, lane, from, 32, mode)
      : ieee.convert(context, lane, from, to);
  });
  const value = join(result, toBits);
  // CVTPI2PS keeps the upper half; the others clear it.
  const kept = name === "cvtpi2psmm" ? (old >> 64n) << 64n : 0n;
  const store = vectorStore(cpu, it, kept | value);
  if (it.kinds[1] !== operandKind.mmx) return store;
  return () => {
    store();
    cpu.registers.set32(state.ftop, 0);
    cpu.registers.set32(state.ftags, 0xff);
  };
}

function readVector0(cpu: Cpu, it: Instruction): bigint {
  return it.kinds[0] === operandKind.xmm ? readVector(cpu, it, 0) : 0n;
}
