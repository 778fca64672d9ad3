/** Control registers and EFER: which bits may change, and what has to be forgotten then. */
import { state } from "../state.ts";
import type { Cpu } from "./cpu.ts";
import { GuestFault, generalProtection, vector } from "./fault.ts";

export function setEfer(cpu: Cpu, value: bigint): void {
  const { registers } = cpu;
  if (value & ~0xd01n) throw generalProtection();
  const active = registers.get64(state.efer) & 0x400n;
  registers.set64(state.efer, (value & ~0x400n) | active);
  cpu.flushMapping(true);
}

export function readControl(cpu: Cpu, number: number): bigint {
  const { registers } = cpu;
  switch (number) {
    case 0:
      return registers.get64(state.cr0);
    case 2:
      return registers.get64(state.cr2);
    case 3:
      return registers.get64(state.cr3);
    case 4:
      return registers.get64(state.cr4);
    case 8:
      return BigInt(cpu.apic.taskPriority);
    default:
      throw new GuestFault(vector.invalidOpcode);
  }
}

export function writeControl(cpu: Cpu, number: number, value: bigint): void {
  const { registers } = cpu;
  switch (number) {
    case 0: {
      const old = registers.get64(state.cr0);
      if ((value & 0x8000_0001n) === 0x8000_0000n) throw generalProtection();
      if (!(value & 0x8000_0000n) && cpu.isLong) throw generalProtection();
      registers.set64(state.cr0, value | 0x10n);
      if ((old ^ value) & 0x8001_0000n) cpu.flushMapping(true);
      return;
    }
    case 2:
      registers.set64(state.cr2, value);
      return;
    case 3:
      registers.set64(state.cr3, value & ~(1n << 63n));
      cpu.flushMapping(false);
      return;
    case 4: {
      // VME PVI TSD DE PSE PAE MCE PGE PCE OSFXSR OSXMMEXCPT
      if (value & ~0x7ffn || !(value & 0x20n)) throw generalProtection();
      const old = registers.get64(state.cr4);
      registers.set64(state.cr4, value);
      if ((old ^ value) & 0xb0n) cpu.flushMapping(true);
      return;
    }
    case 8:
      if (value & ~15n) throw generalProtection();
      cpu.apic.taskPriority = Number(value);
      return;
    default:
      throw new GuestFault(vector.invalidOpcode);
  }
}
