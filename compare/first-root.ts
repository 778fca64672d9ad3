/** A machine's first root that holds nothing but the probe, which is its first process. */
import { readFileSync } from "node:fs";
import { encodeInitramfs } from "../vmm-sandbox/index.ts";

export function probeRoot(probe: string): Uint8Array {
  return encodeInitramfs([
    { path: "dev", type: "directory" },
    { path: "dev/console", type: "character", major: 5, minor: 1 },
    { path: "init", type: "file", mode: 0o755, data: readFileSync(probe) },
  ]);
}
