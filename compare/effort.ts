/** How long each part of a comparison may take, how often it samples, and how much it does at once. */

export interface Budget {
  readonly budgetMs: number;
  readonly maxRounds: number;
}

export interface Effort {
  /** How long one world may take, to start or for one sample. */
  readonly patienceMs: number;
  readonly starts: Budget;
  readonly phases: Budget;
  readonly work: Budget;
  readonly network: Budget;
  /** Each workload's time in a sample. */
  readonly eachMs: number;
  readonly minRounds: number;
  /** Worlds that are held at the same time. */
  readonly together: number;
  /** From the beginning: after it no sample is taken, and what is weighed is weighed once. */
  readonly lateMs: number;
  /** After it nothing is begun. */
  readonly endMs: number;
  /** A first start that takes longer counts as a sample: there will not be many. */
  readonly slowMs: number;
}

export const efforts: Readonly<Record<"quick" | "full", Effort>> = {
  quick: {
    patienceMs: 25_000,
    starts: { budgetMs: 15_000, maxRounds: 20 },
    phases: { budgetMs: 3000, maxRounds: 5 },
    work: { budgetMs: 14_000, maxRounds: 5 },
    network: { budgetMs: 6000, maxRounds: 5 },
    eachMs: 20,
    minRounds: 1,
    together: 4,
    lateMs: 43_000,
    endMs: 51_000,
    slowMs: 1500,
  },
  full: {
    patienceMs: 120_000,
    starts: { budgetMs: 60_000, maxRounds: 60 },
    phases: { budgetMs: 15_000, maxRounds: 9 },
    work: { budgetMs: 90_000, maxRounds: 15 },
    network: { budgetMs: 30_000, maxRounds: 15 },
    eachMs: 30,
    minRounds: 3,
    together: 16,
    lateMs: 400_000,
    endMs: 600_000,
    slowMs: Number.POSITIVE_INFINITY,
  },
};

/** What was begun before the end may go on for so long. */
const LAST_MS = 3000;

/** The time there is: the effort's, and what is left of it. */
export class Clock {
  readonly #started = performance.now();
  readonly #effort: Effort;
  /** The user's: an interruption. */
  readonly interruption: AbortSignal;
  readonly late: AbortSignal;
  readonly end: AbortSignal;

  constructor(effort: Effort, interruption: AbortSignal) {
    this.#effort = effort;
    this.interruption = interruption;
    this.late = AbortSignal.any([interruption, AbortSignal.timeout(effort.lateMs)]);
    this.end = AbortSignal.any([interruption, AbortSignal.timeout(effort.endMs)]);
  }

  get elapsedMs(): number {
    return performance.now() - this.#started;
  }

  /** No more than this part of the time that is left for samples. */
  budget({ budgetMs, maxRounds }: Budget, part: number): Budget {
    const leftMs = Math.max(0, this.#effort.lateMs - this.elapsedMs);
    return { budgetMs: Math.min(budgetMs, leftMs * part), maxRounds };
  }

  /** How long one world may take from now on: one that hangs must not outlast the comparison. */
  readonly patience = (): number => {
    const leftMs = Math.max(LAST_MS, this.#effort.endMs - this.elapsedMs);
    return Math.min(this.#effort.patienceMs, leftMs);
  };
}
