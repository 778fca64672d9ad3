/** How threads that run rows wake the device thread's event loop: a byte on a socket. */
import type { Socket } from "node:net";
import { type Fd, MSG_DONTWAIT, MSG_NOSIGNAL, type Row } from "../../linux/index.ts";
import { openSocket } from "../monitor/socket.ts";
import { socketPair } from "./socket-pair.ts";

export class Waker implements Disposable {
  readonly #theirs: Fd;
  readonly #socket: Socket;
  readonly #listeners = new Set<() => void>();

  constructor() {
    const [ours, theirs] = socketPair();
    this.#theirs = theirs;
    this.#socket = openSocket(ours.release());
    this.#socket.on("data", () => {
      for (const listener of [...this.#listeners]) listener();
    });
  }

  /** Called after each wake, whoever woke; returns a function that ends it. */
  listen(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /**
   * Wakes. What is to be seen must have been stored before: when the socket is full, nothing is sent,
   * for what lies in it will wake the device thread later than now.
   */
  wakeRow(next: string): Row {
    const flags = MSG_DONTWAIT | MSG_NOSIGNAL;
    return { call: "sendto", args: [this.#theirs.number, "!", 1, flags, 0, 0], onError: next };
  }

  [Symbol.dispose](): void {
    this.#listeners.clear();
    this.#socket.destroy();
    this.#theirs.close();
  }
}
