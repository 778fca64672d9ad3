/** The time-stamp counter: the machine's clock, moved to where the guest set it. */
import type { Clock } from "../../machine/clock.ts";

export class TimeStampCounter {
  /** What it shows when the clock shows 0. */
  atClockZero = 0;
  readonly #clock: Clock;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Below 2^53 for as long as the clock is. */
  now(): number {
    return Math.floor(this.#clock.now()) + this.atClockZero;
  }

  set(value: bigint): void {
    this.atClockZero = Number(value) - Math.floor(this.#clock.now());
  }

  /** When the clock shows what this counter calls `value`; 0 stays 0. */
  toClock(value: bigint): number {
    return value === 0n ? 0 : Math.max(1, Number(value) - this.atClockZero);
  }

  fromClock(time: number): bigint {
    return BigInt(Math.floor(time) + this.atClockZero);
  }
}
