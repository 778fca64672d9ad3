/** Ends an exchange in which the network makes no progress; a slow reader is not its fault. */

import { onAbort } from "../on-abort.ts";
import type { ByteSource } from "./byte-source.ts";
import { ConnectionError } from "./connection-error.ts";

const CHECKS_PER_TIMEOUT = 8;
const MIN_CHECK_MS = 10;

export class IdleWatch {
  readonly #controller = new AbortController();
  readonly #timer: ReturnType<typeof setInterval>;
  readonly #forgetOuter: () => void;
  #waitingSinceMs: number | undefined = performance.now();

  /** @param outer aborts the watched exchange as well */
  constructor(url: URL, timeoutMs: number, outer: AbortSignal) {
    this.#forgetOuter = onAbort(outer, () => this.#controller.abort(outer.reason));
    this.#timer = setInterval(
      () => {
        const since = this.#waitingSinceMs;
        if (since === undefined || performance.now() - since < timeoutMs) return;
        this.stop();
        this.#controller.abort(new ConnectionError(url.host, "timeout"));
      },
      Math.max(MIN_CHECK_MS, timeoutMs / CHECKS_PER_TIMEOUT),
    );
    // A body that nobody reads any more must not keep the process alive.
    this.#timer.unref();
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** From now on it is the network that we wait for. */
  waitForNetwork(): void {
    this.#waitingSinceMs = performance.now();
  }

  /** From now on it is our side that takes its time. */
  pause(): void {
    this.#waitingSinceMs = undefined;
  }

  stop(): void {
    clearInterval(this.#timer);
    this.#forgetOuter();
  }

  /** Watches a response's body; the watch stops with it. */
  watchResponse(source: ByteSource): ByteSource {
    this.pause();
    return {
      read: async () => {
        this.waitForNetwork();
        try {
          const chunk = await source.read();
          if (chunk === undefined) this.stop();
          return chunk;
        } catch (error) {
          this.stop();
          throw error;
        } finally {
          this.pause();
        }
      },
      cancel: (reason) => {
        this.stop();
        return source.cancel(reason);
      },
    };
  }

  /** Watches a request's body, whose source may be slow without guilt of the network. */
  watchRequest(source: ByteSource): ByteSource {
    return {
      read: async () => {
        this.pause();
        try {
          return await source.read();
        } finally {
          this.waitForNetwork();
        }
      },
      cancel: source.cancel,
    };
  }
}
