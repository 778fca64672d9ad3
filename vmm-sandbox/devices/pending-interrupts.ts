/**
 * Why a virtio-mmio device interrupts its driver: InterruptStatus, VIRTIO 1.2 §4.2.2, a word for each
 * of its bits, 1 while it is set.
 *
 * A vCPU's thread may answer the driver from them, and take its acknowledgement, without asking us
 * (kvm/interrupt-status.ts). Words of their own keep one cause's clearing from losing the other; between
 * setting and clearing the same one nothing is lost, since the driver looks at its rings and at the
 * configuration after it has acknowledged.
 */
export const USED_BUFFER = 1;
export const CONFIG_CHANGE = 2;
/** In the order of their words. */
const causes = [USED_BUFFER, CONFIG_CHANGE];

export class PendingInterrupts {
  readonly #words: Int32Array;

  constructor(words: Int32Array = new Int32Array(causes.length)) {
    this.#words = words;
  }

  get bits(): number {
    return causes.reduce(
      (bits, cause, word) => (Atomics.load(this.#words, word) === 0 ? bits : bits | cause),
      0,
    );
  }

  add(bits: number): void {
    this.#store(bits, 1);
  }

  remove(bits: number): void {
    this.#store(bits, 0);
  }

  #store(bits: number, value: 0 | 1): void {
    causes.forEach((cause, word) => {
      if ((bits & cause) !== 0) Atomics.store(this.#words, word, value);
    });
  }
}
