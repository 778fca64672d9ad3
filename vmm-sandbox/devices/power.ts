/**
 * How a guest turns the machine off or restarts it: ACPI's sleep and reset registers, and the
 * i8042's reset line, which `reboot=k` and old kernels use.
 */
import { RESET_VALUE, SLEEP_ENABLE, SLEEP_TYPE_S5 } from "../boot/acpi.ts";
import type { AccessSize, BusDevice } from "../machine/bus.ts";
import type { Machine } from "../machine/machine.ts";

/** Sleep control, sleep status, reset: the ports that the FADT names. ACPI 6.5 §4.8.3.7. */
export class PowerPorts implements BusDevice {
  readonly #machine: Pick<Machine, "stop">;

  constructor(machine: Pick<Machine, "stop">) {
    this.#machine = machine;
  }

  read(): number {
    return 0;
  }

  write(offset: number, _sizeBytes: AccessSize, value: number): void {
    const sleepType = (value >> 2) & 7;
    if (offset === 0 && (value & SLEEP_ENABLE) !== 0 && sleepType === SLEEP_TYPE_S5) {
      this.#machine.stop({ kind: "power-off" });
    }
    if (offset === 2 && value === RESET_VALUE) this.#machine.stop({ kind: "reset" });
  }
}

/** An i8042 with nothing plugged in: status says "ready", command 0xfe pulses the reset line. */
export class KeyboardController implements BusDevice {
  readonly #machine: Pick<Machine, "stop">;

  constructor(machine: Pick<Machine, "stop">) {
    this.#machine = machine;
  }

  read(): number {
    return 0;
  }

  write(offset: number, _sizeBytes: AccessSize, value: number): void {
    const COMMAND = 4;
    const PULSE_RESET = 0xfe;
    if (offset === COMMAND && value === PULSE_RESET) this.#machine.stop({ kind: "reset" });
  }
}
