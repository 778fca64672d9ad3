/** `start` in the door: connects to the container, which then executes its command. */
import {
  AF_UNIX,
  O_CLOEXEC,
  O_CREAT,
  O_EXCL,
  O_WRONLY,
  SOCK_CLOEXEC,
  SOCK_SEQPACKET,
} from "../../linux/index.ts";
import { reportSizeLimit } from "../launch/sync.ts";
import { fact, factAddress, planLock, planNotFrozen, planReadFacts } from "./container.ts";
import type { DoorRows } from "./door-rows.ts";
import { facts, may } from "./facts.ts";
import { socketFile, startReportFile } from "./files.ts";

export function planStart(rows: DoorRows): void {
  planLock(rows);
  planReadFacts(rows);
  const allowed = rows.compute(fact(rows, facts.may), "&", may.start);
  rows.gotoIf("fallback", allowed, "==", 0);
  planNotFrozen(rows);
  const socket = rows.result("socket", [AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0]);
  rows.call("connect", [socket, factAddress(rows, facts.socket), fact(rows, facts.socketSize)]);
  rows.call("unlinkat", [rows.get("state_fd"), socketFile, 0]);
  const report = rows.buffer("report", reportSizeLimit);
  const size = rows.result("read", [socket, report, reportSizeLimit], { ignore: ["ECONNRESET"] });
  rows.gotoIf("done", size, "<=", 0);
  // Words for people come from the executable (lifecycle.ts), which finds the report there.
  const how = O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC;
  const file = rows.result("openat", [rows.get("state_fd"), startReportFile, how, 0o600]);
  rows.call("write", [file, report, size]);
  rows.goto("fallback");
}
