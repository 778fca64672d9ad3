/** Processes of this machine, from /proc: trees, names, memory. */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { basename } from "node:path";

export interface ProcessMemory {
  readonly pid: number;
  readonly name: string;
  readonly pssKiB: number;
  readonly privateKiB: number;
}

/** All descendants of `roots`, without them. */
export function descendantsOf(roots: readonly number[]): readonly number[] {
  const children = new Map<number, number[]>();
  for (const entry of readdirSync("/proc")) {
    if (!/^\d+$/.test(entry)) continue;
    const parent = parentOf(Number(entry));
    if (parent === undefined) continue;
    children.set(parent, [...(children.get(parent) ?? []), Number(entry)]);
  }
  const found: number[] = [];
  const queue = [...roots];
  for (let pid = queue.pop(); pid !== undefined; pid = queue.pop()) {
    for (const child of children.get(pid) ?? []) {
      found.push(child);
      queue.push(child);
    }
  }
  return found;
}

/** Zombies, which have no memory left, count as gone. */
function parentOf(pid: number): number | undefined {
  const status = read(pid, "status");
  if (/^State:\s*Z/m.test(status)) return undefined;
  const parent = /^PPid:\s*(\d+)/m.exec(status)?.[1];
  return parent === undefined ? undefined : Number(parent);
}

/** Undefined when it has ended, or belongs to somebody whose memory we may not see. */
export function memoryOf(pid: number): ProcessMemory | undefined {
  const rollup = read(pid, "smaps_rollup");
  const field = (name: string): number =>
    Number(new RegExp(`^${name}:\\s*(\\d+)`, "m").exec(rollup)?.[1] ?? 0);
  if (rollup === "") return undefined;
  return {
    pid,
    name: nameOf(pid),
    pssKiB: field("Pss"),
    privateKiB: field("Private_Clean") + field("Private_Dirty"),
  };
}

export function nameOf(pid: number): string {
  return basename(executableOf(pid)) || read(pid, "comm").trim();
}

export function executableOf(pid: number): string {
  try {
    return readlinkSync(`/proc/${pid}/exe`);
  } catch {
    return "";
  }
}

export function read(pid: number | "self", file: string): string {
  try {
    return readFileSync(`/proc/${pid}/${file}`, "utf8");
  } catch {
    return "";
  }
}
