/**
 * Interrupt lines: how a device gets a vCPU's attention without knowing which CPU runs.
 *
 * All lines are edge-triggered: the device says "something happened" and the interrupt controller
 * remembers it until a vCPU takes it. KVM implements a line with an irqfd, the software CPU with
 * its own IO-APIC.
 */
export interface InterruptLine {
  /** Pin of the IO-APIC. */
  readonly gsi: number;
  /** Raises and lowers the line. Cheap, may be called from the thread that runs the devices. */
  trigger(): void;
}

export interface InterruptController {
  /** The line of this GSI, the same object each time. Throws RangeError when there is none. */
  line(gsi: number): InterruptLine;
}
