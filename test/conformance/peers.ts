/**
 * Rows that a peer fails by its own fault: the suite is right, the peer is not. A row that fails
 * and is not listed here, or is listed and passes, makes the run fail.
 */
import { basename } from "node:path";

type Faults = Readonly<Record<string, string>>;

const runc: Faults = {};
const crun: Faults = {};

export function knownFaults(runtime: string): ReadonlyMap<string, string> {
  const name = basename(runtime);
  if (name === "runc") return new Map(Object.entries(runc));
  if (name === "crun") return new Map(Object.entries(crun));
  return new Map();
}
