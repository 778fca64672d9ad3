/**
 * A 16550A UART: the early console, and the only one of kernels without virtio-console.
 *
 * Output leaves at once (the transmitter is always empty); input waits in a bounded FIFO. Baud
 * rates and modem lines are remembered and mean nothing. Register map: National Semiconductor
 * PC16550D data sheet, table 2.
 */
import type { BusDevice } from "../machine/bus.ts";
import type { InterruptLine } from "../machine/interrupts.ts";

// Register offsets; some are shared by reads, writes and the divisor latch.
const DATA = 0;
const INTERRUPT_ENABLE = 1;
const INTERRUPT_ID = 2;
const LINE_CONTROL = 3;
const MODEM_CONTROL = 4;
const LINE_STATUS = 5;
const MODEM_STATUS = 6;
const SCRATCH = 7;

const IER_RECEIVED = 1;
const IER_TRANSMITTER_EMPTY = 2;
const IIR_NONE = 1;
const IIR_TRANSMITTER_EMPTY = 2;
const IIR_RECEIVED = 4;
const IIR_FIFO_ENABLED = 0xc0;
const LCR_DIVISOR_LATCH = 0x80;
const MCR_LOOP = 0x10;
const LSR_DATA_READY = 1;
const LSR_TRANSMITTER_EMPTY = 0x60;
/** Carrier, data set ready, clear to send: somebody is at the other end. */
const MSR_CONNECTED = 0xb0;

const MAX_WAITING_BYTES = 4096;

export interface SerialState {
  readonly registers: readonly number[];
  readonly received: readonly number[];
}

export class Serial implements BusDevice {
  readonly #line: InterruptLine;
  readonly #onOutput: (byte: number) => void;
  readonly #received: number[] = [];
  #interruptEnable = 0;
  #fifoControl = 0;
  #lineControl = 0;
  #modemControl = 0;
  #scratch = 0;
  #divisor = 12;
  #transmitterEmptyPending = false;

  constructor(line: InterruptLine, onOutput: (byte: number) => void) {
    this.#line = line;
    this.#onOutput = onOutput;
  }

  /** Returns how many bytes found room. */
  input(bytes: Uint8Array): number {
    const taken = Math.min(bytes.length, MAX_WAITING_BYTES - this.#received.length);
    for (let i = 0; i < taken; i++) this.#received.push(bytes[i] ?? 0);
    if (taken > 0) this.#raise();
    return taken;
  }

  read(offset: number): number {
    if (this.#divisorSelected(offset)) return (this.#divisor >> (8 * offset)) & 0xff;
    switch (offset) {
      case DATA:
        return this.#receive();
      case INTERRUPT_ENABLE:
        return this.#interruptEnable;
      case INTERRUPT_ID:
        return this.#identify();
      case LINE_CONTROL:
        return this.#lineControl;
      case MODEM_CONTROL:
        return this.#modemControl;
      case LINE_STATUS:
        return LSR_TRANSMITTER_EMPTY | (this.#received.length > 0 ? LSR_DATA_READY : 0);
      case MODEM_STATUS:
        return this.#modemStatus();
      default:
        return this.#scratch;
    }
  }

  write(offset: number, _sizeBytes: number, wide: number): void {
    const value = wide & 0xff;
    if (this.#divisorSelected(offset)) {
      const shift = 8 * offset;
      this.#divisor = (this.#divisor & ~(0xff << shift)) | (value << shift);
      return;
    }
    switch (offset) {
      case DATA:
        this.#transmit(value);
        break;
      case INTERRUPT_ENABLE:
        this.#enable(value & 0xf);
        break;
      case INTERRUPT_ID:
        this.#fifoControl = value;
        if ((value & 2) !== 0) this.#received.length = 0;
        break;
      case LINE_CONTROL:
        this.#lineControl = value;
        break;
      case MODEM_CONTROL:
        this.#modemControl = value & 0x1f;
        break;
      case SCRATCH:
        this.#scratch = value;
        break;
      default:
    }
  }

  save(): SerialState {
    return {
      registers: [
        this.#interruptEnable,
        this.#fifoControl,
        this.#lineControl,
        this.#modemControl,
        this.#scratch,
        this.#divisor,
        this.#transmitterEmptyPending ? 1 : 0,
      ],
      received: [...this.#received],
    };
  }

  restore(state: SerialState): void {
    const [ier = 0, fcr = 0, lcr = 0, mcr = 0, scratch = 0, divisor = 12, pending = 0] =
      state.registers;
    this.#interruptEnable = ier;
    this.#fifoControl = fcr;
    this.#lineControl = lcr;
    this.#modemControl = mcr;
    this.#scratch = scratch;
    this.#divisor = divisor;
    this.#transmitterEmptyPending = pending === 1;
    this.#received.splice(0, this.#received.length, ...state.received);
    // An edge of before the snapshot may be lost; one too many does no harm.
    this.#raise();
  }

  #divisorSelected(offset: number): boolean {
    return offset <= 1 && (this.#lineControl & LCR_DIVISOR_LATCH) !== 0;
  }

  #receive(): number {
    const byte = this.#received.shift() ?? 0;
    // The line is edge-triggered: say again that there is more.
    if (this.#received.length > 0) this.#raise();
    return byte;
  }

  #transmit(byte: number): void {
    if ((this.#modemControl & MCR_LOOP) !== 0) this.input(Uint8Array.of(byte));
    else this.#onOutput(byte);
    this.#transmitterEmptyPending = true;
    this.#raise();
  }

  #enable(value: number): void {
    const newly = value & ~this.#interruptEnable;
    this.#interruptEnable = value;
    if ((newly & IER_TRANSMITTER_EMPTY) !== 0) this.#transmitterEmptyPending = true;
    if (newly !== 0) this.#raise();
  }

  #identify(): number {
    const fifo = (this.#fifoControl & 1) !== 0 ? IIR_FIFO_ENABLED : 0;
    if (this.#dataPending()) return IIR_RECEIVED | fifo;
    if (this.#emptyPending()) {
      this.#transmitterEmptyPending = false; // reading the cause clears it
      return IIR_TRANSMITTER_EMPTY | fifo;
    }
    return IIR_NONE | fifo;
  }

  /** In loop-back the outputs of the modem control register feed the status lines. */
  #modemStatus(): number {
    if ((this.#modemControl & MCR_LOOP) === 0) return MSR_CONNECTED;
    const outputs = this.#modemControl;
    return (
      ((outputs & 2) << 3) | ((outputs & 1) << 5) | ((outputs & 4) << 4) | ((outputs & 8) << 4)
    );
  }

  #dataPending(): boolean {
    return (this.#interruptEnable & IER_RECEIVED) !== 0 && this.#received.length > 0;
  }

  #emptyPending(): boolean {
    return (this.#interruptEnable & IER_TRANSMITTER_EMPTY) !== 0 && this.#transmitterEmptyPending;
  }

  #raise(): void {
    if (this.#dataPending() || this.#emptyPending()) this.#line.trigger();
  }
}
