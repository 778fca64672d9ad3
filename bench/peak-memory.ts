/**
 * `peak-memory.ts COMMAND…`: runs a command and prints the peak resident memory, in KiB, of the
 * largest process in its tree. A process of its own, because the kernel keeps one maximum for all
 * children that a process has waited for.
 */
import { spawnSync } from "node:child_process";
import { childrenUsage } from "./usage.ts";

const [file = "", ...args] = process.argv.slice(2);
const { status, stderr } = spawnSync(file, args, { stdio: ["ignore", "ignore", "pipe"] });
if (status === 0) {
  console.log(String(childrenUsage().peakKiB));
} else {
  console.error(stderr.toString("utf8"));
  process.exitCode = 1;
}
