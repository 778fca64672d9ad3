/**
 * The machine that both kinds of CPU see: RAM, two buses, interrupt lines, a clock, and a way to
 * stop. It knows neither CPUs nor devices by name.
 */
import { Bus } from "./bus.ts";
import { type Clock, MachineClock } from "./clock.ts";
import type { GuestMemory } from "./guest-memory.ts";
import type { InterruptController, InterruptLine } from "./interrupts.ts";
import { FIRST_DEVICE_GSI, IO_APIC_PINS, SCI_GSI } from "./layout.ts";
import type { Vcpu } from "./vcpu.ts";

/** Why the machine stopped, by the guest's own doing or by its owner's. */
export type StopReason =
  | { readonly kind: "power-off" | "reset" | "stopped" | "paused" }
  | { readonly kind: "crash"; readonly why: string };

export interface MachineParts {
  readonly memory: GuestMemory;
  readonly interrupts: InterruptController;
  readonly clock?: Clock;
}

export class Machine {
  readonly memory: GuestMemory;
  readonly interrupts: InterruptController;
  readonly clock: Clock;
  readonly pio = new Bus("PIO");
  readonly mmio = new Bus("MMIO");
  #stop: StopReason | undefined = undefined;
  #nextGsi = FIRST_DEVICE_GSI;
  readonly #vcpus = new Set<Pick<Vcpu, "kick">>();

  constructor(parts: MachineParts) {
    this.memory = parts.memory;
    this.interrupts = parts.interrupts;
    this.clock = parts.clock ?? new MachineClock();
  }

  /** Set once somebody asked for the end; vCPUs return "kicked" as soon as they see it. */
  get stopReason(): StopReason | undefined {
    return this.#stop;
  }

  /** The first reason counts. */
  stop(reason: StopReason): void {
    this.#stop ??= reason;
    for (const vcpu of this.#vcpus) vcpu.kick();
  }

  /** vCPUs to kick on `stop`. */
  addVcpu(vcpu: Pick<Vcpu, "kick">): void {
    this.#vcpus.add(vcpu);
  }

  /** A line that no other device has. */
  claimLine(): InterruptLine {
    if (this.#nextGsi === SCI_GSI) this.#nextGsi++;
    if (this.#nextGsi >= IO_APIC_PINS) {
      throw new RangeError(`Cannot add a device: all ${IO_APIC_PINS} interrupt lines are taken`);
    }
    return this.interrupts.line(this.#nextGsi++);
  }
}
