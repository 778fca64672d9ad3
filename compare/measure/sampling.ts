/**
 * Samples of several candidates in turn: each round takes one of each, in an order that turns, so
 * that what slows the machine down slows all alike. A slow candidate gets fewer samples than a
 * fast one, when all rounds together would take longer than there is time.
 */
import { setImmediate as turnOfLoop } from "node:timers/promises";

const SIGNAL_TURNS = 3;

export interface Sampled {
  readonly name: string;
  /** Takes one sample and keeps it. Throws when it cannot; it is not asked again then. */
  take(): void | Promise<void>;
  onFailure(error: unknown): void;
}

export interface SamplingOptions {
  readonly budgetMs: number;
  readonly maxRounds: number;
  /** Samples that each gets even when time is up. */
  readonly minRounds: number;
  /** Ends it. */
  readonly signal: AbortSignal;
  /** Whoever fails because of this one did not fail. */
  readonly interruption?: AbortSignal;
  readonly onSample: (name: string, share: number) => void;
  /** Milliseconds; tests have a clock of their own. */
  readonly now?: () => number;
}

export async function sampleInTurn(
  candidates: readonly Sampled[],
  {
    budgetMs,
    maxRounds,
    minRounds,
    signal,
    interruption = signal,
    onSample,
    now = () => performance.now(),
  }: SamplingOptions,
): Promise<void> {
  const entries = candidates.map((candidate) => ({
    candidate,
    count: 0,
    spentMs: 0,
    failed: false,
  }));
  const started = now();
  const elapsed = (): number => now() - started;
  for (let round = 0; round < maxRounds; round++) {
    const left = entries.filter((entry) => !entry.failed);
    if (left.every(({ count }) => count >= minRounds) && elapsed() >= budgetMs) return;
    for (let turn = 0; turn < left.length; turn++) {
      const entry = left[(turn + round) % left.length];
      if (entry === undefined) continue;
      await turnOfLoop(); // signals and timers are heard between samples
      if (signal.aborted) return;
      if (entry.count >= minRounds && isOverdue(entry, elapsed(), budgetMs, left.length)) continue;
      onSample(entry.candidate.name, Math.min(1, elapsed() / budgetMs));
      const before = now();
      try {
        await entry.candidate.take();
        entry.count += 1;
      } catch (error) {
        entry.failed = true;
        await afterSignals();
        if (!interruption.aborted) entry.candidate.onFailure(error);
      }
      entry.spentMs += now() - before;
    }
  }
}

/** Ctrl-C ends a sample first, and is heard of after it. */
export async function afterSignals(): Promise<void> {
  for (let turn = 0; turn < SIGNAL_TURNS; turn++) await turnOfLoop();
}

/** No time for one more of it: the budget is spent, or its own share of it. */
function isOverdue(
  { count, spentMs }: { readonly count: number; readonly spentMs: number },
  elapsedMs: number,
  budgetMs: number,
  candidates: number,
): boolean {
  const nextMs = spentMs / count;
  const fairMs = budgetMs / candidates;
  return elapsedMs + nextMs > budgetMs || (spentMs + nextMs > fairMs && nextMs > fairMs / 8);
}
