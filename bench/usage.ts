/**
 * What the kernel has counted for the children that this process has waited for, and for those that
 * they waited for: getrusage(2), struct rusage.
 */
import { call } from "../linux/index.ts";

const RUSAGE_CHILDREN = -1;
const rusageBytes = 144;

export interface ChildrenUsage {
  /** User and system time of all of them. */
  readonly cpuMs: number;
  /** Peak resident memory of the largest one. */
  readonly peakKiB: number;
}

export function childrenUsage(): ChildrenUsage {
  const usage = new Uint8Array(rusageBytes);
  call("getrusage", RUSAGE_CHILDREN, usage);
  const view = new DataView(usage.buffer);
  const number = (offset: number) => Number(view.getBigInt64(offset, true));
  // ru_utime and ru_stime are timevals, seconds and microseconds; ru_maxrss follows.
  const micros = number(8) + number(24);
  return { cpuMs: (number(0) + number(16)) * 1000 + micros / 1000, peakKiB: number(32) };
}
