/**
 * The I/O APIC (Intel 82093AA data sheet, 1996): 24 lines to vectors of the local APIC. Our lines
 * are edges, so a level-triggered entry delivers once per edge as well.
 */
import type { BusDevice } from "../../machine/bus.ts";
import type { InterruptController, InterruptLine } from "../../machine/interrupts.ts";
import { IO_APIC_PINS } from "../../machine/layout.ts";

const masked = 0x1_0000;

export type IoApicState = { readonly select: number; readonly redirection: readonly number[] };

export class IoApic implements BusDevice, InterruptController {
  private select = 0;
  private readonly redirection = new Uint32Array(IO_APIC_PINS * 2);
  private readonly lines: readonly InterruptLine[];
  private readonly deliver: (vector: number) => void;

  constructor(deliver: (vector: number) => void) {
    this.deliver = deliver;
    for (let pin = 0; pin < IO_APIC_PINS; pin++) this.redirection[pin * 2] = masked;
    this.lines = Array.from({ length: IO_APIC_PINS }, (_, gsi) => ({
      gsi,
      trigger: () => this.trigger(gsi),
    }));
  }

  line(gsi: number): InterruptLine {
    const line = this.lines[gsi];
    if (!line) throw new RangeError(`Cannot use interrupt line ${gsi}: expected 0 to 23`);
    return line;
  }

  save(): IoApicState {
    return { select: this.select, redirection: [...this.redirection] };
  }

  restore({ select, redirection }: IoApicState): void {
    if (redirection.length !== this.redirection.length)
      throw new RangeError(
        `Cannot restore ${redirection.length} words of an I/O APIC: expected ${this.redirection.length}`,
      );
    this.select = select;
    this.redirection.set(redirection);
  }

  private trigger(gsi: number): void {
    const low = this.redirection[gsi * 2] as number;
    if (!(low & masked)) this.deliver(low & 0xff);
  }

  read(offset: number): number {
    if (offset === 0) return this.select;
    if (offset !== 0x10) return 0;
    switch (this.select) {
      case 0:
        return 0;
      case 1:
        return ((IO_APIC_PINS - 1) << 16) | 0x11;
      case 2:
        return 0;
      default:
        return this.redirection[this.select - 0x10] ?? 0;
    }
  }

  write(offset: number, _sizeBytes: number, value: number): void {
    if (offset === 0) this.select = value & 0xff;
    else if (offset === 0x10 && this.select >= 0x10 && this.select < 0x10 + IO_APIC_PINS * 2) {
      const index = this.select - 0x10;
      // Delivery status and remote IRR are read-only.
      this.redirection[index] = index & 1 ? value : value & ~0x5000;
    }
  }
}
