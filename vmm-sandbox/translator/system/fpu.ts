import { operandKind } from "../isa/decode.ts";
import { state } from "../state.ts";
import { invalidOpcode } from "./fault.ts";
import { checkFpu } from "./fpu-state.ts";
import type { Helper } from "./helpers.ts";

const fpu: Helper = (cpu, it) => {
  checkFpu(cpu);
  const { registers } = cpu;
  const key = ((it.opcode & 7) << 8) | it.modRm;
  const reg = (it.modRm >> 3) & 7;
  if (it.kinds[0] === operandKind.memory) {
    if (it.opcode === 0xd9 && reg === 7) {
      cpu.writeData(registers.get64(state.ea), 2, BigInt(registers.get32(state.fcw) & 0xffff));
      return "continue";
    }
    if (it.opcode === 0xd9 && reg === 5) {
      registers.set32(state.fcw, Number(cpu.readData(registers.get64(state.ea), 2)));
      return "continue";
    }
    if (it.opcode === 0xdd && reg === 7) {
      cpu.writeData(registers.get64(state.ea), 2, BigInt(registers.get32(state.fsw) & 0xffff));
      return "continue";
    }
  }
  if (key === 0x3e3) {
    registers.set32(state.fcw, 0x37f);
    registers.set32(state.fsw, 0);
    registers.set32(state.ftop, 0);
    registers.set32(state.ftags, 0);
    return "continue";
  }
  if (key === 0x3e2) {
    registers.set32(state.fsw, registers.get32(state.fsw) & 0x7f00);
    return "continue";
  }
  if (key === 0x7e0) {
    registers.setGpr(
      0,
      (registers.gpr(0) & ~0xffffn) | BigInt(registers.get32(state.fsw) & 0xffff),
    );
    return "continue";
  }
  cpu.statistics.countUndefined(it);
  throw invalidOpcode();
};
export const fpuHelpers: Readonly<Record<string, Helper>> = { fpu, fwait: () => "continue" };
