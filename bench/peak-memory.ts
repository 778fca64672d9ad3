/**
 * `peak-memory.ts COMMAND…`: runs a command and prints the peak resident memory, in KiB, of the
 * largest process in its tree. A process of its own, because the kernel keeps one maximum for all
 * children that a process has waited for.
 */
import { spawnSync } from "node:child_process";
import { syscall } from "../linux/index.ts";

/** getrusage(2): struct rusage, two timevals before ru_maxrss, 144 bytes on 64-bit systems. */
const RUSAGE_CHILDREN = -1;
const rusageBytes = 144;
const maxrssOffset = 32;

const [file = "", ...args] = process.argv.slice(2);
const { status, stderr } = spawnSync(file, args, { stdio: ["ignore", "ignore", "pipe"] });
if (status === 0) {
  const usage = new Uint8Array(rusageBytes);
  syscall("getrusage", RUSAGE_CHILDREN, usage);
  console.log(String(new DataView(usage.buffer).getBigUint64(maxrssOffset, true)));
} else {
  console.error(stderr.toString("utf8"));
  process.exitCode = 1;
}
