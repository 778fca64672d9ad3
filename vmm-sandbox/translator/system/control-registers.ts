/** Control registers and EFER: which bits may change, and what has to be forgotten then. */
import { state } from "../state.ts";
import type { Cpu } from "./cpu.ts";
import { GuestFault, generalProtection, vector } from "./fault.ts";
import { attribute, segmentIndex } from "./registers.ts";

export function setEfer(cpu: Cpu, value: bigint): void {
  const { registers } = cpu;
  if (value & ~0xd01n) throw generalProtection();
  const old = registers.get64(state.efer);
  // LME cannot change while paging is on.
  if ((old ^ value) & 0x100n && registers.get32(state.cr0) < 0) throw generalProtection();
  registers.set64(state.efer, (value & ~0x400n) | (old & 0x400n));
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
      if ((value & 0x8000_0001n) === 0x8000_0000n || value >> 32n) throw generalProtection();
      // NW without CD.
      if ((value & 0x6000_0000n) === 0x2000_0000n) throw generalProtection();
      if (!(value & 0x8000_0000n) && cpu.is64) throw generalProtection();
      setLongMode(cpu, (value & 0x8000_0000n) !== 0n);
      registers.set64(state.cr0, (value & 0xe005_003fn) | 0x10n);
      if ((old ^ value) & 0x8001_0001n) cpu.flushMapping(true);
      cpu.modeChanged();
      return;
    }
    case 2:
      registers.set64(state.cr2, value);
      return;
    case 3:
      // Bits above the physical width are reserved, but for the one PCID would use.
      if (cpu.isLongMode && value >> 40n) throw generalProtection();
      registers.set64(state.cr3, value);
      cpu.flushMapping(false);
      return;
    case 4: {
      // VME PVI TSD DE PSE PAE MCE PGE PCE OSFXSR OSXMMEXCPT FSGSBASE
      if (value & ~0x1_07ffn || (!(value & 0x20n) && cpu.isLongMode)) throw generalProtection();
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

/** Turning paging on with EFER.LME enters IA-32e mode, which needs CR4.PAE and a 32-bit CS. */
function setLongMode(cpu: Cpu, paging: boolean): void {
  const { registers } = cpu;
  const efer = registers.get64(state.efer);
  const long = paging && (efer & 0x100n) !== 0n;
  if (long && !(efer & 0x400n)) {
    const code = registers.segment(segmentIndex.cs).attributes;
    if (!(registers.get64(state.cr4) & 0x20n) || code & attribute.long) throw generalProtection();
  }
  registers.set64(state.efer, long ? efer | 0x400n : efer & ~0x400n);
}
