/** Waiting in the foreground for a child, with signals passed on; verbs/foreground.ts in rows. */
import { SIGCHLD, sigsetSizeBytes, WNOHANG } from "../../linux/index.ts";
import { forwardedSignals, signalNumbers } from "../signals.ts";
import type { DoorRows } from "./door-rows.ts";

const signalBits = 0x7f;
const siginfoSize = 128;
const siginfoCode = 8;
/** sigaction(2): sent by the kernel, such as a terminal's to everybody in front. */
const SI_KERNEL = 0x80;

/** Those passed on, and SIGCHLD; bit 0 is signal 1. */
export const awaitedSignals = signalSet([
  ...forwardedSignals.map((name) => signalNumbers[name] ?? 0),
  SIGCHLD,
]);

export interface WaitOptions {
  /** The child is in front with us, so it has the terminal's own signals already. */
  readonly sharesTerminal?: boolean;
}

/**
 * Waits for the process whose PID is in the variable `child`; `awaitedSignals` are blocked. Leaves
 * what a shell would report in `status`. `name` tells the labels of several waits apart.
 */
export function planWaitFor(
  rows: DoorRows,
  name: string,
  child: string,
  { sharesTerminal = false }: WaitOptions = {},
): void {
  const [reap, wait] = [`${name}_reap`, `${name}_wait`];
  const lost = { onError: `${name}_lost` };
  const raw = rows.buffer("wait_status", 8);
  const info = rows.buffer("siginfo", siginfoSize);
  rows.label(reap);
  const how = { ignore: ["EINTR"], ...lost } as const;
  const ended = rows.result("wait4", [rows.get(child), raw, WNOHANG, 0], how);
  rows.gotoIf(`${name}_ended`, ended, "==", rows.get(child));
  rows.label(wait);
  const signal = rows.result("rt_sigtimedwait", [awaitedSignals, info, 0, sigsetSizeBytes], how);
  rows.gotoIf(reap, signal, "<=", 0);
  rows.gotoIf(reap, signal, "==", SIGCHLD);
  if (sharesTerminal)
    rows.gotoIf(wait, { load: info.buffer, offset: siginfoCode, width: 4 }, "==", SI_KERNEL);
  // Without a terminal of its own, its size is no news to the child.
  else rows.gotoIf(wait, signal, "==", signalNumbers["SIGWINCH"] ?? 0);
  rows.call("kill", [rows.get(child), signal], { onError: wait });
  rows.goto(wait);
  planStatus(rows, name);
}

function planStatus(rows: DoorRows, name: string): void {
  const [killed, known] = [`${name}_killed`, `${name}_known`];
  const raw = { load: "wait_status", width: 4 } as const;
  rows.label(`${name}_lost`); // somebody else reaped it: as wait.ts, it counts as ended well
  rows.set("status", 0);
  rows.goto(known);
  rows.label(`${name}_ended`);
  const signalled = rows.compute(raw, "&", signalBits);
  rows.gotoIf(killed, signalled, "!=", 0);
  rows.set("status", rows.compute(rows.compute(raw, ">>", 8), "&", 0xff));
  rows.goto(known);
  rows.label(killed);
  rows.set("status", rows.compute(signalled, "+", 128));
  rows.label(known);
}

function signalSet(numbers: readonly number[]): Uint8Array {
  const set = new Uint8Array(sigsetSizeBytes);
  let bits = 0n;
  for (const number of numbers) bits |= 1n << BigInt(number - 1);
  new DataView(set.buffer).setBigUint64(0, bits, true);
  return set;
}
