/**
 * The VM generation ID: 16 bytes in the guest's memory that change when a machine goes on from a
 * snapshot, and an interrupt that says so. Linux then reseeds its random generator, so that two
 * clones of one snapshot do not draw the same numbers. Described in ACPI (boot/acpi.ts).
 */
import type { GuestMemory } from "../machine/guest-memory.ts";
import type { InterruptLine } from "../machine/interrupts.ts";

const ID_BYTES = 16;

export class GenerationId {
  readonly address: number;
  readonly line: InterruptLine;
  readonly #memory: Pick<GuestMemory, "copyIn">;

  /** `address` is 8-byte aligned and in memory that the guest does not use as RAM. */
  constructor(memory: Pick<GuestMemory, "copyIn">, address: number, line: InterruptLine) {
    this.#memory = memory;
    this.address = address;
    this.line = line;
    this.#draw();
  }

  /** This machine is another one from now on. */
  renew(): void {
    this.#draw();
    this.line.trigger();
  }

  #draw(): void {
    this.#memory.copyIn(this.address, crypto.getRandomValues(new Uint8Array(ID_BYTES)));
  }
}
