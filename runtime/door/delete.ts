/** `delete` in the door: kills when told so, removes the cgroup and the state. */
import { AT_REMOVEDIR, SIGKILL, timespec } from "../../linux/index.ts";
import {
  fact,
  factAddress,
  planFindProcess,
  planLock,
  planNotFrozen,
  planPoll,
  planReadFacts,
} from "./container.ts";
import type { DoorRows } from "./door-rows.ts";
import { facts, factsFile, may } from "./facts.ts";
import { execFile, pidFile, socketFile, startReportFile, stateFile } from "./files.ts";

const killPatienceMs = 10_000;
const EBUSY = 16;
/** A cgroup is busy for a moment after its last process; or it has others below it. */
const rmdirTries = 20;
const rmdirPauseNs = 100_000;

/** The record goes last: without it nobody would know what else there is. */
const stateFiles = [socketFile, startReportFile, execFile, pidFile, factsFile, stateFile];

export function planDelete(rows: DoorRows): void {
  planLock(rows);
  planReadFacts(rows);
  const allowed = rows.compute(fact(rows, facts.may), "&", may.delete);
  rows.gotoIf("fallback", allowed, "==", 0);
  planFindProcess(rows, "dead");
  rows.gotoIf("fallback", rows.get("force"), "==", 0);
  planNotFrozen(rows);
  rows.call("pidfd_send_signal", [rows.get("pidfd"), SIGKILL, 0, 0], { ignore: ["ESRCH"] });
  planPoll(rows, killPatienceMs);
  rows.gotoIf("fallback", { last: true }, "!=", 1);
  rows.label("dead");
  planRemoveCgroups(rows);
  for (const name of stateFiles)
    rows.call("unlinkat", [rows.get("state_fd"), name, 0], { ignore: ["ENOENT"] });
  rows.call("unlinkat", [rows.get("root_fd"), rows.get("id"), AT_REMOVEDIR]);
  rows.goto("done");
}

function planRemoveCgroups(rows: DoorRows): void {
  const [next, retry, gone, done] = ["cgroup", "rmdir", "cgroup_gone", "no_cgroup"] as const;
  rows.gotoIf(done, fact(rows, facts.cgroups), "==", 0);
  rows.set("cgroup", factAddress(rows, facts.cgroups));
  rows.set("tries", 0);
  rows.label(next);
  rows.gotoIf(done, rows.read(rows.get("cgroup"), 1), "==", 0);
  rows.label(retry);
  const removed = rows.result("rmdir", [rows.get("cgroup")], { ignore: ["ENOENT", "EBUSY"] });
  rows.gotoIf(gone, removed, "!=", -EBUSY);
  rows.advance("tries", 1);
  rows.gotoIf("fallback", rows.get("tries"), ">", rmdirTries);
  const pause = timespec.encode({ tv_sec: 0, tv_nsec: rmdirPauseNs });
  rows.call("nanosleep", [pause, 0], { ignore: ["EINTR"] });
  rows.goto(retry);
  rows.label(gone);
  rows.scan("length", rows.get("cgroup"), () => {});
  rows.advance("cgroup", rows.compute(rows.get("length"), "+", 1));
  rows.goto(next);
  rows.label(done);
}
