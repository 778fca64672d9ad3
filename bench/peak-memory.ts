/**
 * `peak-memory.ts COMMAND…`: runs a command and prints the peak resident memory, in KiB, of the
 * largest process in its tree. A process of its own, because the kernel keeps one maximum for all
 * children that a process has waited for.
 */
import { spawnSync } from "node:child_process";
import { call } from "../linux/index.ts";

const [file = "", ...args] = process.argv.slice(2);
const { status, stderr } = spawnSync(file, args, { stdio: ["ignore", "ignore", "pipe"] });
if (status === 0) {
  console.log(String(peakOfChildrenKiB()));
} else {
  console.error(stderr.toString("utf8"));
  process.exitCode = 1;
}

/** ru_maxrss in the struct rusage of all children that were waited for; getrusage(2). */
function peakOfChildrenKiB(): number {
  const [children, sizeBytes, maxrss] = [-1, 144, 32];
  const usage = new Uint8Array(sizeBytes);
  call("getrusage", children, usage);
  return Number(new DataView(usage.buffer).getBigInt64(maxrss, true));
}
