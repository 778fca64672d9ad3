/**
 * Callbacks for file descriptors that become readable, on the device thread, whose own event loop
 * cannot watch eventfds.
 *
 * ```
 * a thread of rows                         this thread
 * epoll_pwait ── flags[id] = 1, a byte ──► callbacks of the ids whose flag is set
 * ```
 * Edge-triggered: an eventfd fires at each write and need not be read at all.
 */
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
import { RowThread, type RowThreadPlan } from "./row-thread.ts";
import type { Found, Waker } from "./waker.ts";

const QUIT = 0;
/** The flag that says whether there are others; its id is QUIT's, which needs none. */
const ANY = 0;
const FIRST_ID = 1;
const MAX_WATCHED = 1024;
const FLAG_BYTES = 4;
/** struct epoll_event: events u32, data u64, packed. */
const EVENT_BYTES = 12;
const DATA_OFFSET = 4;

export class Poller implements Disposable {
  readonly #epoll = Fd.from("epoll_create1", EPOLL_CLOEXEC);
  readonly #quit = Fd.from("eventfd2", 0, EFD_CLOEXEC);
  readonly #callbacks = new Map<number, () => void>();
  readonly #unlisten: () => void;
  readonly #thread: RowThread;
  readonly #flags: Int32Array;
  #nextId = FIRST_ID;

  /** `waker` is its owner's. */
  constructor(waker: Waker) {
    this.#control(EPOLL_CTL_ADD, this.#quit, QUIT);
    this.#thread = new RowThread(planPolling(this.#epoll, waker));
    this.#flags = this.#thread.words("flags");
    this.#unlisten = waker.listen(() => this.#dispatch());
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

  [Symbol.dispose](): void {
    this.#callbacks.clear();
    call("write", this.#quit, Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0), 8);
    this.#thread.join();
    this.#unlisten();
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

  #dispatch(): Found {
    if (Atomics.exchange(this.#flags, ANY, 0) === 0) return "nothing";
    for (const [id, callback] of [...this.#callbacks])
      if (Atomics.exchange(this.#flags, id, 0) === 1) callback();
    return "begun";
  }
}

/** One event at a time: the kernel takes those that were reported to the end of its list. */
function planPolling(epoll: Fd, waker: Waker): RowThreadPlan {
  return {
    rows: [
      { store: { buffer: "one" }, value: 1, width: 4 },
      { label: "poll" },
      {
        call: "epoll_pwait",
        args: [epoll.number, { buffer: "event" }, 1, -1, 0, 8],
        ignore: ["EINTR"],
      },
      { jump: "poll", if: [{ last: true }, "!=", 1] },
      {
        compute: [{ load: "event", offset: DATA_OFFSET, width: 4 }, "*", FLAG_BYTES],
        as: "offset",
      },
      { jump: "failed", if: [{ last: true }, "==", QUIT * FLAG_BYTES] },
      { compute: [{ result: "offset" }, "+", { buffer: "flags" }], as: "flag" },
      { copy: { buffer: "one" }, to: { result: "flag" }, length: FLAG_BYTES },
      { store: { buffer: "flags", offset: ANY * FLAG_BYTES }, value: 1, width: FLAG_BYTES },
      ...waker.wakeRows("poll"),
    ],
    buffers: { event: EVENT_BYTES + 4, one: 8, flags: MAX_WATCHED * FLAG_BYTES },
    signals: [],
  };
}
