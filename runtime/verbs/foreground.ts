/** Waits for a process of ours in the foreground: signals are passed on, a terminal is joined. */
import { type Fd, SOCK_STREAM, syscall } from "../../linux/index.ts";
import { copyTerminalSize, makeRaw, relayTerminal, waitWithSignals } from "../pty.ts";
import { forwardedSignals, signalNumbers } from "../signals.ts";
import { receiveDescriptor, socketPair } from "../sockets.ts";
import { waitForChild } from "../wait.ts";

export interface TerminalPair {
  /** For the program, which sends the terminal's outer end. */
  readonly theirs: Fd;
  receive(): Fd;
}

export function terminalPair(): TerminalPair {
  const [ours, theirs] = socketPair(SOCK_STREAM);
  return {
    theirs,
    receive() {
      theirs.close();
      using socket = ours;
      return receiveDescriptor(socket);
    },
  };
}

/** The exit status as a shell reports it; `onReady` is called when signals are passed on. */
export async function waitInForeground(
  pid: number,
  pidfd: Fd,
  terminal: TerminalPair | undefined,
  onReady: () => void = () => undefined,
): Promise<number> {
  using master = terminal?.receive();
  const stop = forwardSignals(pid, () => {
    if (master !== undefined) copyTerminalSize(0, master.number);
  });
  try {
    onReady();
    if (master === undefined) await waitWithSignals(pidfd, nextTick);
    else {
      copyTerminalSize(0, master.number);
      using _raw = makeRaw(0);
      await relayTerminal({ master, input: 0, output: 1, pidfd, onSignal: nextTick });
    }
  } finally {
    stop();
  }
  return waitForChild(pid).code;
}

/** Lets the event loop call the handlers of signals that came. */
function nextTick(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

function forwardSignals(pid: number, onResize: () => void): () => void {
  const handlers = new Map<NodeJS.Signals, () => void>();
  for (const signal of forwardedSignals) {
    const number = signalNumbers[signal] ?? 0;
    const handler = signal === "SIGWINCH" ? onResize : () => void syscall("kill", pid, number);
    handlers.set(signal, handler);
    process.on(signal, handler);
  }
  return () => {
    for (const [signal, handler] of handlers) process.off(signal, handler);
  };
}
