/** Time as the machine sees it: it stands still while the machine is paused or saved. */
export interface Clock {
  /** Nanoseconds since the machine's start, monotonic. A double holds 104 days of them exactly. */
  now(): number;
  /** Host wall-clock time, nanoseconds since 1970. */
  wallTime(): bigint;
}

export class MachineClock implements Clock {
  #base: number;
  #pausedAt: number | undefined = undefined;

  /** `startNs`: what `now` begins with; not 0 after a restore. */
  constructor(startNs = 0) {
    this.#base = hostNow() - startNs;
  }

  now(): number {
    return (this.#pausedAt ?? hostNow()) - this.#base;
  }

  wallTime(): bigint {
    return BigInt(Date.now()) * 1_000_000n;
  }

  pause(): void {
    this.#pausedAt ??= hostNow();
  }

  resume(): void {
    if (this.#pausedAt === undefined) return;
    this.#base += hostNow() - this.#pausedAt;
    this.#pausedAt = undefined;
  }
}

function hostNow(): number {
  return performance.now() * 1e6;
}
