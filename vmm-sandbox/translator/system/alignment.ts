/**
 * #AC: a program that has set RFLAGS.AC wants to hear of accesses that are not aligned to their size
 * (SDM volume 3A §6.15, interrupt 17). It then runs one instruction at a time (single-step.ts).
 *
 * Operands of 2, 4 and 8 bytes, strings and the stack are checked; operands of x87 and of 16 bytes are
 * not, where processors differ.
 */
import { type Instruction, operandKind } from "../isa/decode.ts";
import { state } from "../state.ts";
import type { Cpu } from "./cpu.ts";
import { GuestFault } from "./fault.ts";
import { effectiveAddress } from "./single-step.ts";

const [alignmentMask, alignmentCheck] = [0x4_0000, 0x4_0000];
const touchesNothing = /^(lea|nop|prefetch|invlpg|clflush)/;
const [RSP, RSI, RDI] = [4, 6, 7] as const;

export function checksAlignment({ registers }: Cpu): boolean {
  if ((registers.get32(state.eflags) & alignmentCheck) === 0 || registers.cpl !== 3) return false;
  return (registers.get32(state.cr0) & alignmentMask) !== 0;
}

/** A page fault comes first, so only what can be reached counts. */
export function isMisaligned(cpu: Cpu, it: Instruction): boolean {
  return accesses(cpu, it).some(([address, bytes]) => {
    if (![2, 4, 8].includes(bytes) || address % BigInt(bytes) === 0n) return false;
    try {
      cpu.readData(address, bytes);
      return true;
    } catch (fault) {
      if (fault instanceof GuestFault) return false;
      throw fault;
    }
  });
}

type Access = readonly [address: bigint, bytes: number];

function accesses(cpu: Cpu, it: Instruction): readonly Access[] {
  const { registers } = cpu;
  const { mnemonic } = it;
  const all: Access[] = [];
  const word = cpu.is64 ? 8 : 4;
  if (mnemonic !== "fpu" && !touchesNothing.test(mnemonic))
    for (let i = 0; i < it.operandCount; i++)
      if (it.kinds[i] === operandKind.memory)
        all.push([effectiveAddress(cpu, it), (it.sizes[i] ?? 0) / 8]);
  if (/^(push|call)/.test(mnemonic)) all.push([registers.gpr(RSP) - BigInt(word), word]);
  if (/^(pop|ret|leave)/.test(mnemonic))
    all.push([registers.gpr(mnemonic === "leave" ? 5 : RSP), word]);
  if (isRepeatedZero(cpu, it)) return all;
  if (/^(movs|stos|cmps|scas)[bwdqv]?$/.test(mnemonic)) all.push([registers.gpr(RDI), it.size / 8]);
  if (/^(movs|lods|cmps)[bwdqv]?$/.test(mnemonic)) all.push([registers.gpr(RSI), it.size / 8]);
  return all;
}

function isRepeatedZero(cpu: Cpu, it: Instruction): boolean {
  return it.repeat !== 0 && cpu.registers.gpr(1) === 0n;
}
