/**
 * One piece of asynchronous work that many wait for: done once, kept when it succeeds, done anew
 * after a failure. When whoever started it is aborted, the next in line starts it again instead of
 * failing with somebody else's abort.
 */
import { onAbort } from "./on-abort.ts";

export class Shared<T> {
  readonly #run: (signal: AbortSignal) => Promise<T>;
  #current: { readonly promise: Promise<T>; readonly signal: AbortSignal } | undefined;
  #settled: { readonly value: T } | undefined;

  constructor(run: (signal: AbortSignal) => Promise<T>) {
    this.#run = run;
  }

  /** The result, once there is one. */
  get settled(): { readonly value: T } | undefined {
    return this.#settled;
  }

  async get(signal: AbortSignal): Promise<T> {
    if (this.#settled !== undefined) return this.#settled.value;
    for (;;) {
      signal.throwIfAborted();
      this.#current ??= { promise: this.#run(signal), signal };
      const current = this.#current;
      try {
        const value = await unlessAborted(current.promise, signal);
        this.#settled = { value };
        return value;
      } catch (error) {
        const isOurAbort = signal.aborted && !current.signal.aborted;
        if (this.#current === current && !isOurAbort) this.#current = undefined;
        if (!current.signal.aborted || signal.aborted) throw error;
      }
    }
  }
}

/** Settles as the promise does, or rejects with the signal's reason as soon as it is aborted. */
function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  return new Promise((resolve, reject) => {
    const forget = onAbort(signal, () => reject(signal.reason));
    promise.then(resolve, reject).finally(forget);
  });
}
