/** Tries again what may succeed later: exponential back-off with jitter, or when the server says. */
import type { EmitEvent } from "./events.ts";
import { ConnectionError } from "./http/connection-error.ts";
import { onAbort } from "./on-abort.ts";
import { RegistryError } from "./registry-error.ts";

export interface RetryPolicy {
  /** How often something is tried in all. */
  readonly attempts: number;
  readonly baseDelayMs: number;
  readonly maxDelayMs: number;
  /** A Retry-After beyond this ends the attempts. */
  readonly maxRetryAfterMs: number;
}

export const defaultRetryPolicy: RetryPolicy = {
  attempts: 5,
  baseDelayMs: 500,
  maxDelayMs: 15_000,
  maxRetryAfterMs: 120_000,
};

export interface RetryOptions {
  readonly policy: RetryPolicy;
  readonly action: string;
  readonly emit: EmitEvent;
  readonly signal: AbortSignal;
}

/** Runs `attempt` until it succeeds, fails for good, or the policy is exhausted. */
export async function withRetry<T>(attempt: () => Promise<T>, options: RetryOptions): Promise<T> {
  for (let count = 1; ; count++) {
    try {
      return await attempt();
    } catch (error) {
      await waitForRetry(error, count, options);
    }
  }
}

/** Sleeps before the next attempt; throws `error` when there shall be none. */
export async function waitForRetry(
  error: unknown,
  attempt: number,
  { policy, action, emit, signal }: RetryOptions,
): Promise<void> {
  signal.throwIfAborted();
  const delayMs = attempt < policy.attempts ? retryDelay(error, attempt, policy) : undefined;
  if (delayMs === undefined) throw error;
  emit({ type: "retry", action, attempt, delayMs, reason: error });
  await sleep(delayMs, signal);
}

/** How long to wait after a failed attempt (from 1); undefined when repeating is no use. */
export function retryDelay(
  error: unknown,
  attempt: number,
  policy: RetryPolicy,
  random: () => number = Math.random,
): number | undefined {
  if (!isTransient(error)) return undefined;
  const asked = error instanceof RegistryError ? error.failure.retryAfterMs : undefined;
  if (asked !== undefined) return asked <= policy.maxRetryAfterMs ? asked : undefined;
  const ceiling = Math.min(policy.maxDelayMs, policy.baseDelayMs * 2 ** (attempt - 1));
  // Jitter keeps many clients that failed together from coming back together.
  return Math.round(ceiling * (0.5 + random() / 2));
}

export function isTransient(error: unknown): boolean {
  if (error instanceof ConnectionError)
    return error.problem === "broken" || error.problem === "timeout";
  if (!(error instanceof RegistryError)) return false;
  return error.failure.problem === "rate-limited" || error.failure.problem === "unavailable";
}

function sleep(durationMs: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      forget();
      resolve();
    }, durationMs);
    const forget = onAbort(signal, () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });
}
