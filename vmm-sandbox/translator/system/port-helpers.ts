/** IN, OUT, INS and OUTS (SDM volume 2, by name). */
import type { Instruction } from "../isa/decode.ts";
import { state } from "../state.ts";
import type { Cpu } from "./cpu.ts";
import { generalProtection } from "./fault.ts";
import { segmentIndex } from "./registers.ts";
import type { Helper, HelperResult } from "./system-instructions.ts";

export function portIn(cpu: Cpu, it: Instruction): HelperResult {
  const size = it.opcode & 1 ? it.size : 8;
  const value = BigInt(cpu.portRead(port(cpu, it, size / 8), size / 8) >>> 0);
  const old = cpu.registers.gpr(0);
  const mask = size === 32 ? ~0n : (1n << BigInt(size)) - 1n;
  cpu.registers.setGpr(0, size === 32 ? value : (old & ~mask) | (value & mask));
  return "continue";
}

export function portOut(cpu: Cpu, it: Instruction): HelperResult {
  const size = it.opcode & 1 ? it.size : 8;
  const value = Number(BigInt.asUintN(size, cpu.registers.gpr(0)));
  cpu.portWrite(port(cpu, it, size / 8), size / 8, value);
  return "leave";
}

function port(cpu: Cpu, it: Instruction, bytes: number): number {
  const number = it.opcode & 8 ? cpu.registers.gpr32(2) & 0xffff : it.immediate & 0xff;
  checkPort(cpu, number, bytes);
  return number;
}

/** INS and OUTS; one element at a time keeps REP interruptible: RIP goes back to the instruction. */
export function portString(input: boolean): Helper {
  return (cpu, it) => {
    const { registers } = cpu;
    // Operand sizes above 32 do not exist for ports.
    const bytes = it.opcode & 1 ? Math.min(it.size, 32) / 8 : 1;
    const step = BigInt(registers.get32(state.eflags) & 0x400 ? -bytes : bytes);
    const portNumber = registers.gpr32(2) & 0xffff;
    const index = input ? 7 : 6;
    const counter = BigInt.asUintN(it.addressSize, registers.gpr(1));
    if (it.repeat !== 0 && counter === 0n) return "continue";
    checkPort(cpu, portNumber, bytes);
    const offset = BigInt.asUintN(it.addressSize, registers.gpr(index));
    // OUTS has an address record, whose result is its segment's base.
    const base = input
      ? cpu.is64
        ? 0n
        : registers.get64(state.segmentBase)
      : registers.get64(state.ea);
    const address = cpu.is64 ? base + offset : (base + offset) & 0xffff_ffffn;
    if (input) {
      // The page must be writable before the device gives its byte away.
      cpu.checkWritable(address, bytes);
      cpu.writeData(address, bytes, BigInt(cpu.portRead(portNumber, bytes) >>> 0));
    } else cpu.portWrite(portNumber, bytes, Number(cpu.readData(address, bytes)));
    setPart(cpu, index, it.addressSize, offset + step);
    if (it.repeat === 0) return "leave";
    setPart(cpu, 1, it.addressSize, counter - 1n);
    if (counter !== 1n) registers.rip -= BigInt(it.length);
    return "leave";
  };
}

/** Writes a register as an instruction of this address size does. */
function setPart(cpu: Cpu, register: number, size: number, value: bigint): void {
  const old = cpu.registers.gpr(register);
  const kept = size === 16 ? old & ~0xffffn : 0n;
  cpu.registers.setGpr(register, kept | BigInt.asUintN(size, value));
}

/** With IOPL below the CPL, the TSS's bitmap has to allow each port. SDM volume 1 §19.5.2. */
function checkPort(cpu: Cpu, port: number, bytes: number): void {
  const iopl = (cpu.registers.get32(state.eflags) >> 12) & 3;
  if (cpu.isReal || iopl >= cpu.registers.cpl) return;
  const task = cpu.registers.segment(segmentIndex.tr);
  const limit = task.limit >>> 0;
  if (!(task.attributes & 8) || limit < 0x67) throw generalProtection();
  const map = Number(cpu.readSystem(task.base + 0x66n, 2)) + (port >> 3);
  // The processor reads two bytes always, and both must be inside the TSS.
  if (map + 1 > limit) throw generalProtection();
  const bits = Number(cpu.readSystem(task.base + BigInt(map), 2)) >> (port & 7);
  if (bits & ((1 << bytes) - 1)) throw generalProtection();
}
