/** Measures the rungs side by side, and shows what each kind of isolation costs. */
export { type CompareProgress, type CompareRequest, compare } from "./compare.ts";
export { toHtml } from "./html/page.ts";
export { type MachineFacts, machineFacts } from "./machine.ts";
export { type Workload, type WorkloadName, workloads } from "./probe.ts";
export type * from "./result.ts";
export { ratioOf, type Spread, spreadOf } from "./statistics.ts";
export { type TimedCommand, type Timing, timeCommand } from "./stopwatch.ts";
export {
  bareRung,
  formatAround,
  formatEstimate,
  formatKiB,
  formatOperation,
  formatRatio,
  formatTime,
  measuredRungs,
  missingRungs,
  notesOf,
  overheadOf,
  workSpread,
} from "./summary.ts";
