/** What both kinds of running containers do with signals of the library's callers. */
import { constants } from "node:os";
import { ContainerError } from "./errors.ts";

/** Kills when `signal` is aborted, now or later, until `end` has come. */
export function killOnAbort(
  signal: AbortSignal | undefined,
  kill: () => void,
  end: Promise<unknown>,
): void {
  signal?.addEventListener("abort", kill, { once: true });
  if (signal?.aborted) kill();
  const forget = (): void => signal?.removeEventListener("abort", kill);
  end.then(forget, forget);
}

/** Throws ContainerError for a name that is no signal's. */
export function numberOfSignal(name: NodeJS.Signals): number {
  const number = constants.signals[name];
  if (number === undefined) throw new ContainerError(`Cannot send "${name}": no such signal`);
  return number;
}
