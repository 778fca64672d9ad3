/**
 * Port and MMIO accesses from a vCPU's thread to the thread that runs the devices.
 *
 * ```
 * Int32Array  0 state: 0 idle, 1 asked, 2 answered   1 bus: 0 PIO, 1 MMIO   2 write?   3 length
 *             4, 5 address, low and high half          6, 7 data
 * ```
 * The vCPU's thread fills it in, posts a message and sleeps until the answer is there. Notifications
 * of queues never come this way (CpuBackend.bindBell), so this is the path of probing and set-up.
 */
import type { AccessSize, Bus, BusDevice } from "./bus.ts";

export const MAILBOX_BYTES = 32;
const STATE = 0;
const [IDLE, ASKED, ANSWERED] = [0, 1, 2];
const DATA_OFFSET = 24;
const [PIO, MMIO] = [0, 1];

/** The vCPU's end: looks like a bus. `post` wakes the other thread. */
export class RemoteBus {
  readonly #words: Int32Array;
  readonly #data: Uint8Array;
  readonly #bus: number;
  readonly #post: () => void;

  constructor(mailbox: SharedArrayBuffer, bus: "pio" | "mmio", post: () => void) {
    this.#words = new Int32Array(mailbox);
    this.#data = new Uint8Array(mailbox, DATA_OFFSET, 8);
    this.#bus = bus === "pio" ? PIO : MMIO;
    this.#post = post;
  }

  readBytes(address: number, data: Uint8Array): void {
    this.#ask(address, data.length, false);
    data.set(this.#data.subarray(0, data.length));
  }

  writeBytes(address: number, data: Uint8Array): void {
    this.#data.set(data);
    this.#ask(address, data.length, true);
  }

  /** What lies at `base` on this bus, as a device of the vCPU's own bus. */
  device(base: number): BusDevice {
    const piece = new Uint8Array(4);
    const view = new DataView(piece.buffer);
    return {
      read: (offset: number, sizeBytes: AccessSize): number => {
        piece.fill(0);
        this.readBytes(base + offset, piece.subarray(0, sizeBytes));
        return view.getUint32(0, true);
      },
      write: (offset: number, sizeBytes: AccessSize, value: number): void => {
        view.setUint32(0, value, true);
        this.writeBytes(base + offset, piece.subarray(0, sizeBytes));
      },
    };
  }

  #ask(address: number, length: number, write: boolean): void {
    const words = this.#words;
    words[1] = this.#bus;
    words[2] = write ? 1 : 0;
    words[3] = length;
    words[4] = address | 0;
    words[5] = Math.floor(address / 2 ** 32);
    Atomics.store(words, STATE, ASKED);
    this.#post();
    while (Atomics.load(words, STATE) === ASKED) Atomics.wait(words, STATE, ASKED);
    Atomics.store(words, STATE, IDLE);
  }
}

/** The devices' end: serves what is in the mailbox. */
export function serveMailbox(
  mailbox: SharedArrayBuffer,
  buses: { readonly pio: Bus; readonly mmio: Bus },
): void {
  const words = new Int32Array(mailbox);
  if (Atomics.load(words, STATE) !== ASKED) return;
  const bus = words[1] === PIO ? buses.pio : buses.mmio;
  const length = Math.min(8, words[3] ?? 0);
  const address = ((words[4] ?? 0) >>> 0) + (words[5] ?? 0) * 2 ** 32;
  const data = new Uint8Array(mailbox, DATA_OFFSET, length);
  try {
    if (words[2] === 1) bus.writeBytes(address, data);
    else bus.readBytes(address, data);
  } finally {
    // Whatever a device did, the vCPU's thread must not sleep for ever.
    Atomics.store(words, STATE, ANSWERED);
    Atomics.notify(words, STATE);
  }
}
