/**
 * Callbacks for file descriptors that become readable, on the device thread.
 *
 * ```
 * poll-worker.ts            shared Int32Array        this thread
 * epoll_wait ── sets ─────► [0] message on its way
 *                           [id] fd `id` is ready ──► callbacks
 * ```
 * Edge-triggered: an eventfd fires at each write and need not be read at all.
 */
import type { Worker } from "node:worker_threads";
import {
  call,
  EFD_CLOEXEC,
  EPOLL_CLOEXEC,
  EPOLL_CTL_ADD,
  EPOLL_CTL_DEL,
  EPOLLET,
  EPOLLIN,
  epoll_event,
  Fd,
} from "../../linux/index.ts";
import { startWorker } from "./start-worker.ts";

export interface PollSetup {
  readonly epoll: number;
  readonly flags: SharedArrayBuffer;
}

export const PENDING = 0;
export const QUIT = 1;
const FIRST_ID = 2;
export const MAX_EVENTS = 64;
export const EVENT_BYTES = 12;
const MAX_WATCHED = 1024;

export class Poller implements AsyncDisposable {
  readonly #epoll = Fd.from("epoll_create1", EPOLL_CLOEXEC);
  readonly #quit = Fd.from("eventfd2", 0, EFD_CLOEXEC);
  readonly #flags = new SharedArrayBuffer(4 * MAX_WATCHED);
  readonly #words = new Int32Array(this.#flags);
  readonly #callbacks = new Map<number, () => void>();
  readonly #worker: Worker;
  readonly #ended: Promise<void>;
  #nextId = FIRST_ID;

  constructor() {
    this.#control(EPOLL_CTL_ADD, this.#quit, QUIT);
    const workerData: PollSetup = { epoll: this.#epoll.number, flags: this.#flags };
    const path = "vmm-sandbox/host/poll-worker.ts";
    this.#worker = startWorker(path, import.meta.url, { workerData });
    this.#worker.on("message", () => this.#dispatch());
    this.#ended = new Promise((resolve) => {
      this.#worker.once("exit", () => resolve());
    });
  }

  /** Returns a function that ends the watch. */
  watch(fd: Fd, callback: () => void): () => void {
    const id = this.#freeId();
    this.#callbacks.set(id, callback);
    this.#control(EPOLL_CTL_ADD, fd, id);
    return () => {
      if (!this.#callbacks.delete(id)) return;
      if (fd.isOpen) this.#control(EPOLL_CTL_DEL, fd, id);
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#callbacks.clear();
    call("write", this.#quit, Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0), 8);
    await this.#ended;
    this.#epoll.close();
    this.#quit.close();
  }

  #freeId(): number {
    for (let tries = FIRST_ID; tries < MAX_WATCHED; tries++) {
      const id = this.#nextId;
      this.#nextId = this.#nextId + 1 < MAX_WATCHED ? this.#nextId + 1 : FIRST_ID;
      if (!this.#callbacks.has(id)) return id;
    }
    throw new RangeError(`Cannot watch more than ${MAX_WATCHED - FIRST_ID} file descriptors`);
  }

  #control(operation: number, fd: Fd, id: number): void {
    const data = new Uint8Array(8);
    new DataView(data.buffer).setUint32(0, id, true);
    call(
      "epoll_ctl",
      this.#epoll,
      operation,
      fd,
      epoll_event.encode({ events: EPOLLIN | EPOLLET, data }),
    );
  }

  #dispatch(): void {
    // Cleared before the look, so that whatever comes during it sends another message.
    Atomics.store(this.#words, PENDING, 0);
    for (const [id, callback] of [...this.#callbacks]) {
      if (Atomics.exchange(this.#words, id, 0) === 1) callback();
    }
  }
}
