/** Small parts of a launch that exec has as well: working directory, standard streams, signals. */
import { sigsetSizeBytes } from "../../linux/index.ts";
import type { RowList } from "./row-list.ts";

const lastSignal = 64;

/** As the user, and never outside the root: a leaked descriptor could be one (CVE-2024-21626). */
export function planWorkingDirectory(rows: RowList, cwd: string): void {
  rows.call("chdir", [cwd], { note: "process.cwd" });
  const path = rows.buffer("cwd", 4096);
  rows.call("getcwd", [path, 4096], { note: "process.cwd" });
  rows.add({ read: path, width: 1, as: "cwd_start" });
  const inside = rows.freshLabel("inside");
  rows.add({ jump: inside, if: [{ last: true }, "==", "/".charCodeAt(0)] });
  // "(unreachable)": the directory lies outside. The call below fails and says so.
  rows.call("fchdir", [-1], { note: "process.cwd is outside the container" });
  rows.label(inside);
}

/** Pipes and sockets that the runtime was given are handed to the user, so /dev/stdout opens. */
export function planStdioOwner(rows: RowList, uid: number): void {
  for (const fd of [0, 1, 2]) {
    const next = rows.freshLabel("owned");
    rows.call("newfstatat", [fd, "", rows.buffer("stat", 144), 0x1000], { ignore: ["EBADF"] });
    rows.gotoIfFailed(next);
    rows.add({ compute: [{ load: "stat", offset: 24, width: 4 }, "&", 0xf000], as: `stdio_${fd}` });
    const own = rows.freshLabel("own");
    rows.add({ jump: own, if: [{ result: `stdio_${fd}` }, "==", 0x1000] });
    rows.add({ jump: next, if: [{ result: `stdio_${fd}` }, "!=", 0xc000] });
    rows.label(own);
    rows.call("fchown", [fd, uid, -1], { ignore: ["EPERM", "EINVAL", "EROFS"] });
    rows.label(next);
  }
}

/** The runtime's ignored signals (SIGPIPE) would survive execve; handlers never do. */
export function planSignals(rows: RowList): void {
  const signal = rows.buffer("signal", 8);
  const again = "next_signal";
  rows.add({ store: signal, value: 1, width: 4 });
  rows.label(again);
  rows.call(
    "rt_sigaction",
    [{ load: "signal", width: 4 }, new Uint8Array(32), 0, sigsetSizeBytes],
    {
      ignore: ["EINVAL"],
    },
  );
  rows.add({ compute: [{ load: "signal", width: 4 }, "+", 1], as: "signal_after" });
  rows.add({ store: signal, value: { result: "signal_after" }, width: 4 });
  rows.add({ jump: again, if: [{ result: "signal_after" }, "<=", lastSignal] });
}
