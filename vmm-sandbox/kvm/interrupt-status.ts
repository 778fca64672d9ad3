/**
 * The interrupt status registers of virtio-mmio devices, answered by the threads of vCPUs: each
 * interrupt reads InterruptStatus and writes InterruptACK (VIRTIO 1.2 §4.2.3.4), which would be two
 * trips to the device thread.
 *
 * ```
 * words     device 0: used buffer, configuration; device 1: …        1 while the bit is set
 * ```
 */
import { type Argument, type Memory, mapMemory, type Row } from "../../linux/index.ts";
import { CONFIG_CHANGE, mmioRegisters as registers, USED_BUFFER } from "../devices/index.ts";
import { VIRTIO_MMIO_BASE, VIRTIO_MMIO_WINDOW } from "../machine/layout.ts";
import { exitReasons, kvm_run } from "./abi.ts";

const WORD_BYTES = 4;
const DEVICE_BYTES = 2 * WORD_BYTES;
/** More than a machine has interrupt lines. */
const MAX_DEVICES = 64;
const WINDOW_BITS = Math.log2(VIRTIO_MMIO_WINDOW);
const ZEROS = new Uint8Array(WORD_BYTES);

export class InterruptStatus implements Disposable {
  readonly #memory: Memory = mapMemory(MAX_DEVICES * DEVICE_BYTES, { shared: true });
  #claimed = 0;

  /** The words of the device whose registers begin there. */
  claim(base: number): Int32Array {
    const index = this.#claimed++;
    if (index >= MAX_DEVICES || base !== VIRTIO_MMIO_BASE + index * VIRTIO_MMIO_WINDOW)
      throw new RangeError(
        `Cannot share the interrupt status of a device at 0x${base.toString(16)}`,
      );
    const { buffer, byteOffset } = this.#memory.bytes;
    return new Int32Array(buffer, byteOffset + index * DEVICE_BYTES, 2);
  }

  /**
   * Rows that answer the exit in `run` (a struct kvm_run) and go on at `done`, or at `other` when it is
   * another one. They need the buffer "status".
   */
  answerRows(run: number, done: string, other: string): readonly Row[] {
    const register: Argument = { result: "register" };
    const bits: Argument = { result: "bits" };
    const used: Argument = { result: "used-word" };
    const config: Argument = { result: "config-word" };
    const data = run + kvm_run.mmio_data;
    return [
      { read: run + kvm_run.exit_reason, width: 4, as: "reason" },
      { jump: other, if: [{ result: "reason" }, "!=", exitReasons.KVM_EXIT_MMIO] },
      { read: run + kvm_run.mmio_phys_addr, width: 8, as: "address" },
      { compute: [{ result: "address" }, "-", VIRTIO_MMIO_BASE], as: "offset" },
      { jump: other, if: [{ result: "offset" }, "<", 0] },
      { jump: other, if: [{ result: "offset" }, ">=", this.#claimed * VIRTIO_MMIO_WINDOW] },
      { read: run + kvm_run.mmio_len, width: 4, as: "size" },
      { jump: other, if: [{ result: "size" }, "!=", WORD_BYTES] },
      { read: run + kvm_run.mmio_is_write, width: 1, as: "is-write" },
      { compute: [{ result: "offset" }, ">>", WINDOW_BITS], as: "device" },
      { compute: [{ result: "device" }, "*", DEVICE_BYTES], as: "device-words" },
      { compute: [{ result: "device-words" }, "+", this.#memory.address], as: "used-word" },
      { compute: [{ result: "used-word" }, "+", WORD_BYTES], as: "config-word" },
      { compute: [{ result: "offset" }, "&", VIRTIO_MMIO_WINDOW - 1], as: "register" },
      { jump: "acknowledge", if: [register, "==", registers.InterruptACK] },
      { jump: other, if: [register, "!=", registers.InterruptStatus] },
      { jump: other, if: [{ result: "is-write" }, "!=", 0] },
      { read: used, width: 4, as: "used" },
      { read: config, width: 4, as: "config" },
      { compute: [{ result: "config" }, "<<", 1], as: "config-bit" },
      { compute: [{ result: "used" }, "|", { result: "config-bit" }], as: "status" },
      { store: { buffer: "status" }, value: { result: "status" }, width: 4 },
      { copy: { buffer: "status" }, to: data, length: WORD_BYTES },
      { jump: done },
      { label: "acknowledge" },
      { jump: other, if: [{ result: "is-write" }, "==", 0] },
      { read: data, width: 4, as: "bits" },
      { jump: "used-done", if: [bits, "&", USED_BUFFER] },
      { jump: "acknowledge-config" },
      { label: "used-done" },
      { copy: ZEROS, to: used, length: WORD_BYTES },
      { label: "acknowledge-config" },
      { jump: "config-done", if: [bits, "&", CONFIG_CHANGE] },
      { jump: done },
      { label: "config-done" },
      { copy: ZEROS, to: config, length: WORD_BYTES },
      { jump: done },
    ];
  }

  [Symbol.dispose](): void {
    this.#memory[Symbol.dispose]();
  }
}
