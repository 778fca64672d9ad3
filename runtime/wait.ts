/** Waiting for processes. */
import { call, syscall } from "../linux/index.ts";

export interface ExitStatus {
  /** What a shell reports: the exit status, or 128 + the signal. */
  readonly code: number;
  readonly signal?: number;
}

const WNOHANG = 1;
const ECHILD = -10;
const EINTR = -4;

/** The int that wait4(2) fills in; wait(2), WIFEXITED. */
export function decodeStatus(status: Uint8Array): ExitStatus {
  const [low = 0, high = 0] = status;
  const signal = low & 0x7f;
  return signal === 0 ? { code: high } : { code: 128 + signal, signal };
}

/** Reaps the child; undefined while it runs. A child that is not ours counts as gone. */
export function tryWait(pid: number): ExitStatus | undefined {
  const status = new Uint8Array(4);
  const result = syscall("wait4", pid, status, WNOHANG, 0);
  if (result === ECHILD) return { code: 0 };
  return result === pid ? decodeStatus(status) : undefined;
}

/** Blocks until the child has ended. */
export function waitForChild(pid: number): ExitStatus {
  const status = new Uint8Array(4);
  for (;;) {
    const result = syscall("wait4", pid, status, 0, 0);
    if (result === pid) return decodeStatus(status);
    if (result !== EINTR) call("wait4", pid, status, 0, 0);
  }
}
