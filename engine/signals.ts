/** Signals that reach us go on to the container. */
import { constants } from "node:os";
import { type Fd, SIGKILL, syscall } from "../linux/index.ts";

/** As docker: all that a process can forward but SIGCHLD, SIGPIPE, SIGURG. */
const forwarded = [
  "SIGHUP",
  "SIGINT",
  "SIGQUIT",
  "SIGUSR1",
  "SIGUSR2",
  "SIGALRM",
  "SIGTERM",
  "SIGCONT",
  "SIGTSTP",
  "SIGTTIN",
  "SIGTTOU",
  "SIGWINCH",
] as const;

/** PID 1 ignores what it has no handler for: after so many tries the user means it. */
const PATIENCE = 3;

export interface SignalForwarding extends Disposable {
  /** From now on signals go to this process; those that came before go there at once. */
  target(pidfd: Fd): void;
  /** The same for a process that is not one of this kernel's. */
  targetOf(send: (signal: number) => void): void;
}

export function forwardSignals(enabled: boolean, patience = PATIENCE): SignalForwarding {
  const early: number[] = [];
  let send: ((number: number) => void) | undefined;
  let attempts = 0;
  const targetOf = (to: (signal: number) => void): void => {
    send = to;
    for (const number of early.splice(0)) to(number);
  };
  const listeners = forwarded.map((name) => {
    const listener = (): void => {
      // a terminal's new size is passed on by the relay; without one there is nothing to tell
      if (!enabled || name === "SIGWINCH") return;
      const insisted = (name === "SIGINT" || name === "SIGTERM") && ++attempts >= patience;
      const number = insisted ? SIGKILL : constants.signals[name];
      if (send === undefined) early.push(number);
      else send(number);
    };
    process.on(name, listener);
    return [name, listener] as const;
  });
  return {
    targetOf,
    target: (fd) =>
      targetOf((number) => {
        if (fd.isOpen) syscall("pidfd_send_signal", fd, number, 0, 0);
      }),
    [Symbol.dispose]() {
      for (const [name, listener] of listeners) process.off(name, listener);
    },
  };
}
