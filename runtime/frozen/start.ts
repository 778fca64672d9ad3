/** Programs that start the maker of an image, in the background, and the process to be frozen. */
import {
  type Argument,
  F_DUPFD,
  O_CLOEXEC,
  O_RDWR,
  PR_SET_PDEATHSIG,
  type Program,
  SIGCHLD,
  SIGKILL,
} from "../../linux/index.ts";
import { DoorRows } from "../door/door-rows.ts";
import { calledAs, reportDescriptor } from "./layout.ts";

const lastDescriptor = 0xffff_ffff;
/**
 * JavaScriptCore without threads of its own: a frozen process has but one. GLIBC: the kernel would
 * have to be told again where restartable sequences are.
 */
const environment = [
  "BUN_JSC_useWarmUpMarkedBlocks=0",
  "BUN_JSC_useConcurrentGC=0",
  "BUN_JSC_useConcurrentJIT=0",
  "BUN_JSC_numberOfGCMarkers=1",
  "BUN_JSC_thresholdForJITAfterWarmUp=1000000",
  "GLIBC_TUNABLES=glibc.pthread.rseq=0",
] as const;

/** Everything below `reportDescriptor` is taken when Bun starts. */
export function subjectProgram(executable: string, report: number): Program {
  const rows = new DoorRows();
  rows.call("prctl", [PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0]);
  planNothing(rows);
  rows.call("dup3", [report, reportDescriptor, 0]);
  rows.label("next");
  const taken = rows.result("fcntl", [reportDescriptor, F_DUPFD, 3]);
  rows.gotoIf("next", taken, "<", reportDescriptor);
  rows.call("close", [taken]);
  planExecute(rows, executable, calledAs.subject);
  return { rows: rows.rows, buffers: rows.buffers, onError: "failed" };
}

/** A child of nobody who would wonder about it. */
export function makerProgram(executable: string): Program {
  const rows = new DoorRows();
  rows.call("setsid", []);
  rows.call("clone", [SIGCHLD, 0, 0, 0, 0]);
  rows.gotoIf("maker", { last: true }, "==", 0);
  rows.call("exit_group", [0]);
  rows.label("maker");
  planNothing(rows);
  rows.call("close_range", [3, lastDescriptor, 0]);
  rows.call("chdir", ["/"]);
  planExecute(rows, executable, calledAs.maker);
  return { rows: rows.rows, buffers: rows.buffers, onError: "failed" };
}

/** Nothing to read, nobody who reads. */
function planNothing(rows: DoorRows): void {
  const nothing = rows.result("openat", [-100, "/dev/null", O_RDWR | O_CLOEXEC]);
  for (const stream of [0, 1, 2]) rows.call("dup3", [nothing, stream, 0]);
  rows.call("close", [nothing]);
}

function planExecute(rows: DoorRows, executable: string, name: string): void {
  const argv: Argument = { strings: [name] };
  rows.call("rt_sigprocmask", [2, new Uint8Array(8), 0, 8]);
  rows.call("execve", [executable, argv, { strings: environment }]);
  rows.label("failed");
  rows.call("exit_group", [1]);
}
