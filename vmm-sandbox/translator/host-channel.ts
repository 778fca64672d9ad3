/**
 * What the device thread tells the software vCPU's thread, in shared memory: neither waits for the
 * other. (Register accesses of the vCPU are the exception: machine/exit-mailbox.ts.)
 *
 * ```
 * Int32Array  0 wake: bit 0 kick, 1 lines or written code, 2 report   1 lines: a bit for each GSI
 *             2 bells: 1 while a message is on its way            3… bells: a bit for each
 *             16 written pages: count put in   17 taken out   18 too many: look at all marks
 *             32… written pages, a ring
 * Uint8Array  one mark for each page of RAM: bit 0 holds translated code, bit 1 was written
 * ```
 * Marks are set before code is read and looked at after bytes were written, both with sequentially
 * consistent operations: one of the two threads sees what the other did.
 */
import { ramRanges } from "../machine/guest-memory.ts";
import { PAGE_SIZE } from "../machine/layout.ts";
import type { CodePages } from "./system/code-pages.ts";

const WAKE = 0;
const LINES = 1;
const BELLS_SENT = 2;
const BELLS = 3;
export const MAX_BELLS = 13 * 32;
const PUT = 16;
const TAKEN = 17;
const OVERFLOW = 18;
const RING = 32;
const RING_ENTRIES = 256;
const HEADER_BYTES = (RING + RING_ENTRIES) * 4;

const kickBit = 1;
const eventBit = 2;
const reportBit = 4;
const codeMark = 1;
const writtenMark = 2;

export class HostChannel implements CodePages {
  readonly buffer: SharedArrayBuffer;
  readonly #words: Int32Array;
  readonly #marks: Uint8Array;

  private constructor(buffer: SharedArrayBuffer) {
    this.buffer = buffer;
    this.#words = new Int32Array(buffer, 0, HEADER_BYTES / 4);
    this.#marks = new Uint8Array(buffer, HEADER_BYTES);
  }

  static create(ramBytes: number): HostChannel {
    const last = ramRanges(ramBytes).at(-1);
    const pages = last === undefined ? 0 : (last.guestAddress + last.sizeBytes) / PAGE_SIZE;
    return new HostChannel(new SharedArrayBuffer(HEADER_BYTES + pages));
  }

  /** The same channel, on the other thread. */
  static over(buffer: SharedArrayBuffer): HostChannel {
    return new HostChannel(buffer);
  }

  // The device thread's side.

  kick(): void {
    this.#wake(kickBit);
  }

  /** The vCPU is to say what it has counted. */
  askReport(): void {
    this.#wake(reportBit);
  }

  triggerLine(gsi: number): void {
    Atomics.or(this.#words, LINES, 1 << gsi);
    this.#wake(eventBit);
  }

  /** A device wrote RAM. Also the vCPU's own devices may, while it waits for them. */
  written(address: number, sizeBytes: number): void {
    if (sizeBytes === 0) return;
    const last = Math.floor((address + sizeBytes - 1) / PAGE_SIZE);
    for (let page = Math.floor(address / PAGE_SIZE); page <= last; page++) {
      // Adding nothing is a load that no earlier write can pass, which Atomics.load is not on x86.
      const mark = Atomics.add(this.#marks, page, 0);
      if ((mark & codeMark) !== 0 && (mark & writtenMark) === 0) this.#putWritten(page);
    }
  }

  #putWritten(page: number): void {
    const words = this.#words;
    Atomics.or(this.#marks, page, writtenMark);
    const put = Atomics.load(words, PUT);
    if (((put - Atomics.load(words, TAKEN)) | 0) >= RING_ENTRIES) Atomics.store(words, OVERFLOW, 1);
    else words[RING + (put & (RING_ENTRIES - 1))] = page;
    Atomics.store(words, PUT, (put + 1) | 0);
    this.#wake(eventBit);
  }

  /** Bells that rang since the last time. */
  takeBells(ring: (bell: number) => void): void {
    // Cleared before the look, so that whatever comes during it sends another message.
    Atomics.store(this.#words, BELLS_SENT, 0);
    for (let word = 0; word * 32 < MAX_BELLS; word++) {
      let bits = Atomics.exchange(this.#words, BELLS + word, 0);
      for (; bits !== 0; bits &= bits - 1) ring(word * 32 + 31 - Math.clz32(bits & -bits));
    }
  }

  // The vCPU's side.

  /** True: tell the device thread. */
  ringBell(bell: number): boolean {
    Atomics.or(this.#words, BELLS + (bell >> 5), 1 << (bell & 31));
    return Atomics.exchange(this.#words, BELLS_SENT, 1) === 0;
  }

  /** Sleeps until something happens; returns at once when something has. */
  sleep(timeoutMs: number): void {
    Atomics.wait(this.#words, WAKE, 0, timeoutMs);
  }

  /** Hands out lines, and the wish for a report; true after a kick. */
  take(trigger: (gsi: number) => void, report: () => void): boolean {
    if (Atomics.load(this.#words, WAKE) === 0) return false;
    const wake = Atomics.exchange(this.#words, WAKE, 0);
    let lines = Atomics.exchange(this.#words, LINES, 0);
    for (; lines !== 0; lines &= lines - 1) trigger(31 - Math.clz32(lines & -lines));
    if ((wake & reportBit) !== 0) report();
    return (wake & kickBit) !== 0;
  }

  /** Code of this page is about to be read. */
  markCode(page: number): void {
    if (((this.#marks[page] as number) & codeMark) === 0) Atomics.or(this.#marks, page, codeMark);
  }

  get hasWritten(): boolean {
    return Atomics.load(this.#words, PUT) !== Atomics.load(this.#words, TAKEN);
  }

  /** Translations of pages that a device wrote; the marks of those are off from here on. */
  takeWritten(cpu: { codeWritten(address: number, size: number): void }): void {
    const words = this.#words;
    const put = Atomics.load(words, PUT);
    const taken = Atomics.load(words, TAKEN);
    const isComplete = Atomics.exchange(words, OVERFLOW, 0) === 0;
    const pages: number[] = [];
    if (isComplete)
      for (let at = taken; at !== put; at = (at + 1) | 0)
        pages.push(words[RING + (at & (RING_ENTRIES - 1))] as number);
    else for (const [page, mark] of this.#marks.entries()) if (mark & writtenMark) pages.push(page);
    for (const page of pages) Atomics.store(this.#marks, page, 0);
    Atomics.store(words, TAKEN, put);
    for (const page of pages) cpu.codeWritten(page * PAGE_SIZE, PAGE_SIZE);
  }

  #wake(bit: number): void {
    Atomics.or(this.#words, WAKE, bit);
    Atomics.notify(this.#words, WAKE);
  }
}
