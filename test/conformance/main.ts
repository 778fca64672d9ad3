/**
 * `npm run test:conformance -- --runtime PATH`: holds a runtime binary against the specification.
 *
 *   --runtime PATH   the binary; the environment variable RUNTIME does the same; without either,
 *                    dist/manyworlds-oci
 *   --only TEXT      only rows whose id or section contains TEXT; may be repeated
 *   --systemd        all rows with systemd as cgroup driver
 *   --patience N     multiplies time limits, for slow machines
 *   --list           prints the rows and runs nothing
 *
 * Ends with a table of what did not pass and "N passed, N failed, N skipped"; exit status 0 when
 * nothing failed but what peers.ts says of this runtime.
 */
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { basename, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { formatSeconds, style } from "../../scripts/terminal.ts";
import { type KnownFault, knownFault } from "./peers.ts";
import { setPatience } from "./processes.ts";
import { allRows } from "./rows.ts";
import { type Result, runRows, surround } from "./run-rows.ts";

const ownRuntime = fileURLToPath(new URL("../../dist/manyworlds-oci", import.meta.url));

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      runtime: { type: "string" },
      only: { type: "string", multiple: true, default: [] },
      list: { type: "boolean", default: false },
      systemd: { type: "boolean", default: false },
      patience: { type: "string", default: "1" },
    },
  });
  const rows = allRows.filter(
    ({ id, section }) =>
      values.only.length === 0 ||
      values.only.some((text) => id.includes(text) || section.includes(text)),
  );
  if (values.list) {
    for (const { id, level, section, claim } of rows) {
      console.log(`${id.padEnd(36)} ${level.padEnd(8)} ${section}: ${claim}`);
    }
    return 0;
  }
  const runtime = findRuntime(values.runtime ?? process.env["RUNTIME"] ?? ownRuntime);
  if (needsPrivateCgroups(runtime)) return rerunWithoutCgroup2();
  const faults: Faults = (id) => knownFault(runtime, id);
  const started = performance.now();
  const { surroundings, close } = surround([runtime], { systemd: values.systemd });
  setPatience(Number(values.patience));
  const results = await runRows(rows, surroundings, (result) => printResult(result, faults));
  close();
  const failed = printSummary(results, faults);
  console.error(style.dim(`${runtime}: ${formatSeconds(performance.now() - started)}`));
  const counts = count(results);
  console.log(`${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`);
  return failed === 0 ? 0 : 1;
}

function findRuntime(given: string): string {
  const found = given.includes("/")
    ? [resolve(given)]
    : (process.env["PATH"] ?? "").split(":").map((folder) => `${folder}/${given}`);
  const path = found.find((candidate) => existsSync(candidate));
  if (path === undefined)
    throw new Error(`Cannot find the runtime "${given}": expected a path, or build ours first`);
  return path;
}

/** crun before 1.9 refuses cgroup v1 with a cgroup2 mounted beside it. */
function needsPrivateCgroups(runtime: string): boolean {
  return (
    basename(runtime).startsWith("crun") &&
    existsSync("/sys/fs/cgroup/unified/cgroup.procs") &&
    process.env["MANYWORLDS_CONFORMANCE_CHILD"] === undefined
  );
}

/** Runs this program again in a mount namespace of its own, where that mount is out of sight. */
function rerunWithoutCgroup2(): number {
  const script = 'umount /sys/fs/cgroup/unified && exec "$@"';
  const command = [process.execPath, ...process.execArgv, ...process.argv.slice(1)];
  const args = ["-m", "--propagation", "private", "sh", "-c", script, "sh", ...command];
  const env = { ...process.env, MANYWORLDS_CONFORMANCE_CHILD: "1" };
  return spawnSync("unshare", args, { stdio: "inherit", env }).status ?? 1;
}

type Faults = (id: string) => KnownFault | undefined;

function printResult({ row, outcome, reason = "", tookMs }: Result, faults: Faults): void {
  const known = outcome === "failed" && faults(row.id) ? " (known)" : "";
  const mark = {
    passed: style.green("ok  "),
    failed: style.red("FAIL"),
    skipped: style.yellow("skip"),
  };
  const why = reason === "" ? "" : style.dim(` ${reason.replaceAll("\n", " ").slice(0, 300)}`);
  console.error(`${mark[outcome]} ${row.id}${known}${why} ${style.dim(`${tookMs} ms`)}`);
}

/** Returns how many failed unexpectedly, or passed although peers.ts knows a fault. */
function printSummary(results: readonly Result[], faults: Faults): number {
  let unexpected = 0;
  for (const { row, outcome, reason = "" } of sorted(results)) {
    const fault = faults(row.id);
    if (outcome === "passed" && fault?.sometimes === false) {
      console.log(`PASS?    ${row.id}: peers.ts says it fails (${fault.reason})`);
      unexpected += 1;
    }
    if (outcome !== "failed") continue;
    if (fault === undefined) unexpected += 1;
    console.log(`FAIL     ${row.level} ${row.id} (${row.section})`);
    console.log(`         wanted: ${row.claim}`);
    const text = fault === undefined ? reason : `known: ${fault.reason}`;
    console.log(`         ${text.trim().replaceAll("\n", "\n         ").slice(0, 1500)}`);
  }
  for (const [reason, ids] of groupSkipped(results))
    console.log(`SKIPPED  ${ids.join(" ")}: ${reason}`);
  return unexpected;
}

function sorted(results: readonly Result[]): readonly Result[] {
  return [...results].sort((a, b) => allRows.indexOf(a.row) - allRows.indexOf(b.row));
}

function groupSkipped(results: readonly Result[]): ReadonlyMap<string, string[]> {
  const groups = new Map<string, string[]>();
  for (const { row, outcome, reason = "" } of sorted(results)) {
    if (outcome !== "skipped") continue;
    groups.set(reason, [...(groups.get(reason) ?? []), row.id]);
  }
  return groups;
}

function count(results: readonly Result[]) {
  const counts = { passed: 0, failed: 0, skipped: 0 };
  for (const { outcome } of results) counts[outcome] += 1;
  return counts;
}

process.exitCode = await main();
