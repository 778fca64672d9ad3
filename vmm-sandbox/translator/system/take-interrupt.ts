/** Interrupts that come from outside of the program (SDM volume 3A §6.3.1 and §6.7). */
import type { Cpu } from "./cpu.ts";
import { GuestFault, vector } from "./fault.ts";
import { deliver } from "./interrupts.ts";

/** The APIC's, when RFLAGS.IF allows it. */
export function takeExternal(cpu: Cpu, number: number): void {
  cpu.apic.acknowledge(number);
  take(cpu, number);
}

/** Further ones wait for IRET. SDM volume 3A §6.7.1. */
export function takeNmi(cpu: Cpu): void {
  cpu.apic.nmi = false;
  cpu.nmiMasked = true;
  take(cpu, vector.nmi);
}

function take(cpu: Cpu, number: number): void {
  cpu.statistics.interrupts++;
  cpu.halted = false;
  try {
    deliver(cpu, number, 0, "external");
  } catch (fault) {
    if (!(fault instanceof GuestFault)) throw fault;
    cpu.deliverFault(fault);
  }
}
