/**
 * How threads that run rows wake the device thread: out of its event loop by a byte on a socket, or
 * out of a futex, where it waits for a moment after it has answered: a guest that probes its devices
 * comes back a hundred times in a row, each time within microseconds, and a trip through the event loop
 * takes longer than the answer.
 *
 * ```
 * thread: flag, ATTENTION = 1, futex wake; then a byte, unless AWAKE
 * device thread: event loop ─ byte ─► AWAKE = 1: answers, waits on ATTENTION … AWAKE = 0: looks once more
 * ```
 * A thread stores its flag before it looks at AWAKE, the device thread clears AWAKE before it looks at
 * the flags: one of them sees the other.
 */
import type { Socket } from "node:net";
import {
  type Fd,
  FUTEX_WAIT,
  FUTEX_WAKE,
  type Memory,
  MSG_DONTWAIT,
  MSG_NOSIGNAL,
  mapMemory,
  type Row,
  syscall,
  timespec,
} from "../../linux/index.ts";
import { openSocket } from "../monitor/socket.ts";
import { socketPair } from "./socket-pair.ts";

/**
 * What a listener found. "answered": something that was done at once, the next of its kind is likely to
 * be on its way; "begun": something that goes on in the event loop.
 */
export type Found = "nothing" | "answered" | "begun";

/** The first is the one that is waited on. */
const [ATTENTION, AWAKE] = [0, 1];
const WORD_BYTES = 4;
const ONE = Uint8Array.of(1, 0, 0, 0);
/** How long the next is waited for, and when the event loop has its turn in any case. */
const LINGER = timespec.encode({ tv_sec: 0n, tv_nsec: 1_000_000n });
const MAX_TURN_MS = 10;

export class Waker implements Disposable {
  readonly #theirs: Fd;
  readonly #socket: Socket;
  readonly #listeners = new Set<() => Found>();
  readonly #memory: Memory = mapMemory(2 * WORD_BYTES, { shared: true });
  readonly #words: Int32Array;
  #isOpen = true;

  constructor() {
    const { buffer, byteOffset } = this.#memory.bytes;
    this.#words = new Int32Array(buffer, byteOffset, 2);
    const [ours, theirs] = socketPair();
    this.#theirs = theirs;
    this.#socket = openSocket(ours.release());
    this.#socket.on("data", () => this.#serve());
  }

  /** Called after each wake, whoever woke; returns a function that ends it. */
  listen(listener: () => Found): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /**
   * Rows that wake, and go on at `next`. What is to be seen must have been stored before. When the
   * socket is full, nothing is sent, for what lies in it will wake the device thread later than now.
   */
  wakeRows(next: string): readonly Row[] {
    const { address } = this.#memory;
    const flags = MSG_DONTWAIT | MSG_NOSIGNAL;
    return [
      { copy: ONE, to: address + ATTENTION * WORD_BYTES, length: WORD_BYTES },
      { call: "futex", args: [address + ATTENTION * WORD_BYTES, FUTEX_WAKE, 1] },
      { read: address + AWAKE * WORD_BYTES, width: 4, as: "awake" },
      { jump: next, if: [{ result: "awake" }, "!=", 0] },
      { call: "sendto", args: [this.#theirs.number, "!", 1, flags, 0, 0], onError: next },
      { jump: next },
    ];
  }

  /** Threads that still use its rows must have ended. */
  [Symbol.dispose](): void {
    this.#isOpen = false;
    this.#listeners.clear();
    this.#socket.destroy();
    this.#theirs.close();
    this.#memory[Symbol.dispose]();
  }

  #serve(): void {
    if (this.#ask() !== "answered") return;
    Atomics.store(this.#words, AWAKE, 1);
    try {
      this.#linger();
    } finally {
      if (this.#isOpen) Atomics.store(this.#words, AWAKE, 0);
    }
    this.#ask();
  }

  /** Until nothing comes any more, or something else has its turn. */
  #linger(): void {
    const end = performance.now() + MAX_TURN_MS;
    while (performance.now() < end) {
      Atomics.store(this.#words, ATTENTION, 0);
      const found = this.#ask();
      if (!this.#isOpen || found === "begun") return;
      if (found === "nothing" && !this.#wait()) return;
    }
  }

  /** A listener may end us. */
  #ask(): Found {
    let all: Found = "nothing";
    for (const listener of this.#listeners) {
      const found = listener();
      if (all !== "begun" && found !== "nothing") all = found;
    }
    return all;
  }

  /** False when nothing came in time. */
  #wait(): boolean {
    const { bytes } = this.#memory;
    return (
      syscall("futex", bytes, FUTEX_WAIT, 0, LINGER) === 0 ||
      Atomics.load(this.#words, ATTENTION) !== 0
    );
  }
}
