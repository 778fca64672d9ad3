/**
 * The OCI lifecycle beside runc and crun: run, create + start + delete of a container, and exec into
 * a running one. All see the machine as crun 1.8 needs it, in a mount namespace of their own where a
 * cgroup2 beside v1's hierarchies is out of sight.
 */
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Bench, BenchOptions, Report } from "./report.ts";

export const bench: Bench = { name: "lifecycle", title: "run; create, start, delete; exec", run };

const inside = fileURLToPath(new URL("lifecycle-inside.ts", import.meta.url));
const cgroup2 = "/sys/fs/cgroup/unified";

async function run(options: BenchOptions): Promise<readonly Report[]> {
  const directory = mkdtempSync(join(tmpdir(), "manyworlds-lifecycle-"));
  try {
    const results = join(directory, "reports.json");
    const hide = existsSync(`${cgroup2}/cgroup.procs`) ? `umount ${cgroup2} &&` : "";
    const node = [process.execPath, "--import", "tsx", inside, directory, results];
    const command = [...node, ...(options.quick ? ["--quick"] : [])];
    const args = ["-m", "--propagation", "private", "sh", "-c", `${hide} exec "$@"`, "sh"];
    const { status } = spawnSync("unshare", [...args, ...command], { stdio: "inherit" });
    if (status !== 0) throw new Error(`The measuring process ended with ${status}`);
    return JSON.parse(readFileSync(results, "utf8"), reviveInfinity) as readonly Report[];
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

/** JSON writes a goal without a bound as null. */
function reviveInfinity(key: string, value: unknown): unknown {
  return key === "atMost" && value === null ? Number.POSITIVE_INFINITY : value;
}
