/**
 * An address that is not canonical is #SS when it was meant for the stack, else #GP (SDM volume 3A
 * §6.15, interrupt 12): PUSH and its kind, and operands that start from RSP or RBP, unless FS or GS
 * says otherwise. Nothing on the way of an access knows which it was; the instruction does, and faults
 * of this kind are rare enough to decode it again.
 */
import { Decoder, Instruction, maxInstructionBytes, operandKind } from "../isa/decode.ts";
import type { Cpu } from "./cpu.ts";
import { GuestFault, generalProtection, vector } from "./fault.ts";

const [RSP, RBP, FS] = [4, 5, 4] as const;
/** Instructions whose own memory is the stack. */
const stackMnemonics = /^(push|pop|call|ret|enter|leave|iret|int)/;
/** ENTER reaches furthest below RSP: its frame pointers. */
const REACH = 8n * 33n;

/** What the fault of the instruction at RIP is in truth. */
export function settleFault(cpu: Cpu, fault: GuestFault): GuestFault {
  if (fault.vector !== vector.generalProtection || fault.address === 0n) return fault;
  const it = decodeAtRip(cpu);
  if (it === undefined || !isOfStack(cpu, it, fault.address)) return generalProtection();
  return new GuestFault(vector.stackFault);
}

function isOfStack(cpu: Cpu, it: Instruction, address: bigint): boolean {
  if (stackMnemonics.test(it.mnemonic)) {
    const from = it.mnemonic === "leave" ? RBP : RSP;
    const distance = BigInt.asIntN(64, address - cpu.registers.gpr(from));
    if (distance >= -REACH && distance <= REACH) return true;
  }
  const hasMemory = it.kinds.slice(0, it.operandCount).includes(operandKind.memory);
  return hasMemory && (it.base === RSP || it.base === RBP) && it.segment < FS;
}

function decodeAtRip(cpu: Cpu): Instruction | undefined {
  const code = new Uint8Array(maxInstructionBytes);
  let size = 0;
  try {
    for (; size < code.length; size++)
      code[size] = Number(cpu.readSystem(cpu.registers.rip + BigInt(size), 1));
  } catch (fault) {
    if (!(fault instanceof GuestFault)) throw fault; // the next page is not mapped
  }
  const it = new Instruction();
  return new Decoder().decode(it, code, 0, size, 64) === "ok" ? it : undefined;
}
