/** IN, OUT, INS and OUTS (SDM volume 2, by name). */
import type { Instruction } from "../isa/decode.ts";
import { state } from "../state.ts";
import type { Cpu } from "./cpu.ts";
import type { Helper, HelperResult } from "./system-instructions.ts";

export function portIn(cpu: Cpu, it: Instruction): HelperResult {
  const size = it.opcode & 1 ? it.size : 8;
  const value = BigInt(cpu.portRead(port(cpu, it), size / 8) >>> 0);
  const old = cpu.registers.gpr(0);
  const mask = size === 32 ? ~0n : (1n << BigInt(size)) - 1n;
  cpu.registers.setGpr(0, size === 32 ? value : (old & ~mask) | (value & mask));
  return "continue";
}

export function portOut(cpu: Cpu, it: Instruction): HelperResult {
  const size = it.opcode & 1 ? it.size : 8;
  const value = Number(BigInt.asUintN(size, cpu.registers.gpr(0)));
  cpu.portWrite(port(cpu, it), size / 8, value);
  return "leave";
}

/** Operand sizes above 32 do not exist for ports. */
function port(cpu: Cpu, it: Instruction): number {
  cpu.checkPort();
  return it.opcode & 8 ? cpu.registers.gpr32(2) & 0xffff : it.immediate & 0xff;
}

export function portString(input: boolean): Helper {
  return (cpu, it) => {
    cpu.checkPort();
    const { registers } = cpu;
    const bytes = it.opcode & 1 ? Math.min(it.size, 32) / 8 : 1;
    const step = BigInt(registers.get32(state.eflags) & 0x400 ? -bytes : bytes);
    const portNumber = registers.gpr32(2) & 0xffff;
    const index = input ? 7 : 6;
    if (it.repeat !== 0 && registers.gpr(1) === 0n) return "continue";
    if (input) {
      // The page must be writable before the device gives its byte away.
      cpu.writeData(registers.gpr(7), bytes, BigInt(cpu.portRead(portNumber, bytes) >>> 0));
    } else cpu.portWrite(portNumber, bytes, Number(cpu.readData(registers.gpr(6), bytes)));
    registers.setGpr(index, BigInt.asUintN(64, registers.gpr(index) + step));
    if (it.repeat === 0) return "leave";
    const left = registers.gpr(1) - 1n;
    registers.setGpr(1, left);
    // One element at a time keeps it interruptible: RIP goes back to this instruction.
    if (left !== 0n) registers.rip -= BigInt(it.length);
    return "leave";
  };
}
