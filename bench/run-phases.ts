/** What each phase of an `oci run` costs: runtime/phases.ts tells, beside our own clock. */
import { spawnSync } from "node:child_process";
import { readFileSync, rmSync } from "node:fs";
import { spreadOf } from "../compare/index.ts";
import { formatMs } from "./report.ts";

/** In order; each lasts until the next one is reached. */
// biome-ignore format: table
const phases: readonly (readonly [mark: string, until: string])[] = [
  ["javascript", "door, the frozen executable thawed, words read"],
  ["configured", "command line, config.json, checks, cgroup layout"],
  ["cgroups",    "cgroups made and limited"],
  ["planned",    "process made, program planned beside it"],
  ["loaded",     "program encoded and handed over"],
  ["runs",       "namespaces, mounts, pivot_root, execve: the command runs"],
  ["end",        "the command itself, removal, the executable's end beside them"],
];

/** Lines for a report; empty when the runtime does not tell. */
export function measurePhases(
  [file = "", ...args]: readonly string[],
  rounds: number,
  directory: string,
): readonly string[] {
  const path = `${directory}/phases`;
  const samples = new Map<string, number[]>();
  for (let round = 0; round < rounds; round++) {
    const env = { ...process.env, MANYWORLDS_PHASES: path };
    let last = process.hrtime.bigint();
    const { status } = spawnSync(file, args, { env, stdio: "ignore" });
    const end = process.hrtime.bigint();
    if (status !== 0) return [];
    const reached = new Map<string, bigint>([["end", end]]);
    for (const line of readFileSync(path, "utf8").trim().split("\n")) {
      const [name = "", at = "0"] = line.split(" ");
      reached.set(name, BigInt(at));
    }
    rmSync(path);
    for (const [mark] of phases) {
      const at = reached.get(mark);
      if (at === undefined) continue;
      const list = samples.get(mark) ?? [];
      list.push(Number(at - last) / 1e6);
      samples.set(mark, list);
      last = at;
    }
  }
  return phases.map(([mark, text]) => {
    const { median, low } = spreadOf(samples.get(mark) ?? [0]);
    return `${formatMs(median).padStart(9)} (${formatMs(low)})  ${text}`;
  });
}
