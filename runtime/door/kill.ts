/** `kill` in the door: one signal for the container's first process. */
import { signalNumbers } from "../signals.ts";
import { planFindProcess, planNotFrozen, planReadFacts } from "./container.ts";
import type { DoorRows } from "./door-rows.ts";

/** By name the usual ones; the executable knows all. */
const names = ["KILL", "TERM", "INT", "HUP", "QUIT", "USR1", "USR2", "WINCH"] as const;
const largest = 64;
const [zero, nine] = ["0".charCodeAt(0), "9".charCodeAt(0)] as const;

/** `signal`: address of its text, 0 for SIGTERM. */
export function planKill(rows: DoorRows): void {
  planReadSignal(rows);
  planReadFacts(rows);
  planFindProcess(rows, "fallback");
  planNotFrozen(rows);
  rows.call("pidfd_send_signal", [rows.get("pidfd"), rows.get("number"), 0, 0]);
  rows.goto("done");
}

function planReadSignal(rows: DoorRows): void {
  rows.set("number", signalNumbers["SIGTERM"] ?? 0);
  rows.gotoIf("signal_read", rows.get("signal"), "==", 0);
  for (const name of names)
    for (const text of [name, `SIG${name}`])
      rows.gotoIfText(`signal_${name}`, rows.get("signal"), text);
  rows.set("number", 0);
  rows.scan("length", rows.get("signal"), (byte) => {
    rows.gotoIf("fallback", byte, "<", zero);
    rows.gotoIf("fallback", byte, ">", nine);
    const tens = rows.compute(rows.get("number"), "*", 10);
    rows.set("number", rows.compute(tens, "+", rows.compute(byte, "-", zero)));
    rows.gotoIf("fallback", rows.get("number"), ">", largest);
  });
  rows.gotoIf("fallback", rows.get("number"), "==", 0);
  rows.goto("signal_read");
  for (const name of names) {
    rows.label(`signal_${name}`);
    rows.set("number", signalNumbers[`SIG${name}`] ?? 0);
    rows.goto("signal_read");
  }
  rows.label("signal_read");
}
