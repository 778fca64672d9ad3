/** One repository in one registry, with what every operation on it needs. */
import { RegistryError } from "./registry-error.ts";
import type { ClientContext, RegistrySession } from "./session.ts";

export interface Repository {
  readonly session: RegistrySession;
  /** Path in this registry: `library/busybox`; safe in a URL since references are parsed. */
  readonly path: string;
  /** As users know it, for messages. */
  readonly name: string;
  /** Where to look first when pulling. */
  readonly mirrors: readonly Repository[];
}

export type Actions = "pull" | "pull,push" | "delete";

export function scopeOf(path: string, actions: Actions): string {
  return `repository:${path}:${actions}`;
}

export function contextOf({ session }: Repository): ClientContext {
  return session.context;
}

/** Pulls from the mirrors in their order, and from the registry itself when they fail. */
export async function pullFromEach<T>(
  repository: Repository,
  signal: AbortSignal,
  pull: (place: Repository, isMirror: boolean) => Promise<T>,
): Promise<T> {
  for (const mirror of repository.mirrors) {
    if (mirror.session.isSkipped) continue;
    try {
      return await pull(mirror, true);
    } catch (reason) {
      signal.throwIfAborted();
      // One that lacks an image may have the next; one that does not answer costs time.
      if (!isMissing(reason)) mirror.session.skip();
      const { host, context } = mirror.session;
      context.emit({ type: "mirror-skipped", host, reason });
    }
  }
  return pull(repository, false);
}

function isMissing(reason: unknown): boolean {
  return reason instanceof RegistryError && reason.failure.problem !== "unavailable";
}
