/** Work that ctrl-c may end: what has been fetched is kept, and the exit status says why. */
import { constants } from "node:os";
import { ExitError } from "../errors.ts";

const signals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;

export interface Stop extends Disposable {
  readonly signal: AbortSignal;
}

export function abortOnSignal(): Stop {
  const controller = new AbortController();
  const listeners = signals.map((name) => {
    const listener = (): void => {
      const status = 128 + constants.signals[name];
      controller.abort(new ExitError(status, `Stopped by ${name}; what was fetched is kept`));
    };
    process.once(name, listener);
    return [name, listener] as const;
  });
  return {
    signal: controller.signal,
    [Symbol.dispose]() {
      for (const [name, listener] of listeners) process.off(name, listener);
    },
  };
}
