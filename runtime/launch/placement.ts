/** CPU affinity and memory policy: what a process is told about CPUs and NUMA nodes. */
import { type Linux, type Process, SpecError } from "../../oci/index.ts";
import type { RowList } from "./row-list.ts";

/** set_mempolicy(2), linux/mempolicy.h. */
// biome-ignore format: table
const modes: Readonly<Record<string, number>> = {
  MPOL_DEFAULT: 0, MPOL_PREFERRED: 1, MPOL_BIND: 2, MPOL_INTERLEAVE: 3, MPOL_LOCAL: 4,
  MPOL_PREFERRED_MANY: 5, MPOL_WEIGHTED_INTERLEAVE: 6,
};
// biome-ignore format: table
const modeFlags: Readonly<Record<string, number>> = {
  MPOL_F_NUMA_BALANCING: 1 << 13, MPOL_F_RELATIVE_NODES: 1 << 14, MPOL_F_STATIC_NODES: 1 << 15,
};
export const memoryPolicyModes = Object.keys(modes);
export const memoryPolicyFlags = Object.keys(modeFlags);
const listPattern = /^\d+(-\d+)?(,\d+(-\d+)?)*$/;
const largestNumber = 8191;

/** "0-3,7" as a bit mask of 64-bit words; cpuset(7), "List format". */
export function parseNumberList(text: string, path: string): Uint8Array {
  const clean = text.replace(/\s/g, "");
  if (!listPattern.test(clean))
    throw new SpecError({
      document: "config.json",
      path,
      problem: `is ${JSON.stringify(text)}, expected a list such as "0-3,7"`,
    });
  const numbers = clean.split(",").flatMap((range) => {
    const [first = 0, last = first] = range.split("-").map(Number);
    if (last > largestNumber || first > last)
      throw new SpecError({ document: "config.json", path, problem: `has the range "${range}"` });
    return Array.from({ length: last - first + 1 }, (_, index) => first + index);
  });
  const mask = new Uint8Array(8 * (Math.floor(Math.max(...numbers) / 64) + 1));
  for (const number of numbers) mask[number >> 3] = (mask[number >> 3] ?? 0) | (1 << (number & 7));
  return mask;
}

export function planAffinity(
  rows: RowList,
  { execCPUAffinity }: Process,
  when: "initial" | "final",
): void {
  const cpus = execCPUAffinity?.[when];
  if (!cpus) return;
  const path = `process.execCPUAffinity.${when}`;
  const mask = parseNumberList(cpus, path);
  rows.call("sched_setaffinity", [0, mask.length, mask], { note: path });
}

export function checkMemoryPolicy({ memoryPolicy: policy }: Linux): void {
  if (policy === undefined) return;
  const broken = (field: string, problem: string) =>
    new SpecError({ document: "config.json", path: `linux.memoryPolicy.${field}`, problem });
  if (!Object.hasOwn(modes, policy.mode))
    throw broken(
      "mode",
      `is ${JSON.stringify(policy.mode)}, expected ${Object.keys(modes).join(", ")}`,
    );
  for (const flag of policy.flags ?? [])
    if (!Object.hasOwn(modeFlags, flag)) throw broken("flags", `has ${JSON.stringify(flag)}`);
  const takesNodes = policy.mode !== "MPOL_DEFAULT" && policy.mode !== "MPOL_LOCAL";
  if (!takesNodes && policy.nodes) throw broken("nodes", `must be empty for ${policy.mode}`);
  if (takesNodes && !policy.nodes && policy.mode !== "MPOL_PREFERRED")
    throw broken("nodes", `is missing for ${policy.mode}`);
  if (policy.nodes) parseNumberList(policy.nodes, "linux.memoryPolicy.nodes");
}

export function planMemoryPolicy(rows: RowList, { memoryPolicy: policy }: Linux): void {
  if (policy === undefined) return;
  const flags = (policy.flags ?? []).reduce((all, flag) => all | (modeFlags[flag] ?? 0), 0);
  const mode = (modes[policy.mode] ?? 0) | flags;
  if (!policy.nodes) {
    rows.call("set_mempolicy", [mode, 0, 0], { note: "linux.memoryPolicy" });
    return;
  }
  const mask = parseNumberList(policy.nodes, "linux.memoryPolicy.nodes");
  // get_mempolicy(2), BUGS: the kernel takes one bit less than it is told.
  rows.call("set_mempolicy", [mode, mask, mask.length * 8 + 1], { note: "linux.memoryPolicy" });
}
