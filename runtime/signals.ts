/** Signals by name: signal(7), x86-64. */

// biome-ignore format: table
export const signalNumbers: Readonly<Record<string, number>> = {
  SIGHUP: 1, SIGINT: 2, SIGQUIT: 3, SIGILL: 4, SIGTRAP: 5, SIGABRT: 6, SIGBUS: 7, SIGFPE: 8,
  SIGKILL: 9, SIGUSR1: 10, SIGSEGV: 11, SIGUSR2: 12, SIGPIPE: 13, SIGALRM: 14, SIGTERM: 15,
  SIGSTKFLT: 16, SIGCHLD: 17, SIGCONT: 18, SIGSTOP: 19, SIGTSTP: 20, SIGTTIN: 21, SIGTTOU: 22,
  SIGURG: 23, SIGXCPU: 24, SIGXFSZ: 25, SIGVTALRM: 26, SIGPROF: 27, SIGWINCH: 28, SIGIO: 29,
  SIGPWR: 30, SIGSYS: 31,
};

/** Passed on to the container's process. Those left out cannot be caught or are about us. */
// biome-ignore format: table
export const forwardedSignals = [
  "SIGHUP", "SIGINT", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGALRM", "SIGTERM", "SIGCONT", "SIGTSTP",
  "SIGTTIN", "SIGTTOU", "SIGXCPU", "SIGXFSZ", "SIGVTALRM", "SIGWINCH", "SIGIO", "SIGPWR",
] as const;

const largest = 64;

/** "9", "KILL", "SIGKILL", "kill"; real-time signals by number. undefined for anything else. */
export function parseSignal(text: string): number | undefined {
  if (/^\d+$/.test(text)) return Number(text) <= largest ? Number(text) : undefined;
  const name = text.toUpperCase();
  const wanted = name.startsWith("SIG") ? name : `SIG${name}`;
  return Object.hasOwn(signalNumbers, wanted) ? signalNumbers[wanted] : undefined;
}
