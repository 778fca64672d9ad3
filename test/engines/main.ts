/**
 * `npm run test:engines -- --runtime PATH [--engine NAME] [--only TEXT]`: Docker, Podman, containerd
 * and Swarm with a runtime binary, compared with the same engines on runc.
 *   --machines  the runtime is dist/manyworlds-vm, and the rows are those that hold in machines
 *   --systemd   the rows of systemd's cgroup driver; needs systemd and cgroup v2
 *
 * Ends with "N passed, N failed, N skipped".
 */
import { chmodSync, existsSync, mkdtempSync, rmSync } from "node:fs";
import { resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { style } from "../../scripts/terminal.ts";
import { bridgeRows } from "./bridge.ts";
import { missingFor, startEngine } from "./engines.ts";
import { holdsInMachines, machineEngines, writeMachineRuntime } from "./machines.ts";
import type { EngineName, EngineRow } from "./row.ts";
import { engineRows } from "./rows.ts";
import { compareRow, type RowResult, setTimeLimit } from "./run-row.ts";
import { swarmRows } from "./swarm.ts";
import { systemdRows } from "./systemd.ts";

const ours = fileURLToPath(new URL("../../dist/manyworlds-oci", import.meta.url));
// biome-ignore format: table
const engineNames = [
  "docker", "docker-bridge", "docker-userns", "podman", "podman-rootless", "containerd", "swarm",
] as const;
/** systemd runs where we have it on an emulated processor. */
const slowLimitMs = 180_000;

async function main(): Promise<number> {
  const { values } = parseArgs({
    options: {
      runtime: { type: "string" },
      engine: { type: "string", multiple: true, default: [] },
      only: { type: "string", multiple: true, default: [] },
      machines: { type: "boolean", default: false },
      systemd: { type: "boolean", default: false },
    },
  });
  const underTest = resolve(values.runtime ?? process.env["RUNTIME"] ?? ours);
  if (!existsSync(underTest)) throw new Error(`Cannot find the runtime "${underTest}"`);
  const { systemd } = values;
  if (systemd) setTimeLimit(slowLimitMs);
  const directory = mkdtempSync("/tmp/mwe-");
  const runtime = values.machines ? writeMachineRuntime(directory) : underTest;
  const place = { directory, runc: "/usr/sbin/runc", underTest: runtime, systemd };
  chmodSync(place.directory, 0o711); // a remapped root has to pass
  const counts = { passed: 0, failed: 0, skipped: 0 };
  for (const engine of engineNames) {
    if (values.engine.length > 0 && !values.engine.includes(engine)) continue;
    if (values.machines && !machineEngines.includes(engine)) continue;
    const rows = (systemd ? systemdRows : [...engineRows, ...swarmRows, ...bridgeRows]).filter(
      (row) =>
        row.engines.includes(engine) &&
        (!values.machines || holdsInMachines(row)) &&
        (values.only.length === 0 || values.only.some((text) => row.id.includes(text))),
    );
    for (const result of await runEngine(engine, rows, place)) {
      counts[result.outcome] += 1;
      print(engine, result);
    }
  }
  rmSync(place.directory, { recursive: true, force: true });
  console.log(`${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`);
  return counts.failed === 0 ? 0 : 1;
}

async function runEngine(
  name: EngineName,
  rows: readonly EngineRow[],
  place: Parameters<typeof startEngine>[1],
): Promise<readonly RowResult[]> {
  if (rows.length === 0) return [];
  const missing = missingFor(name, existsSync);
  if (missing !== undefined)
    return rows.map((row) => ({ row, outcome: "skipped", reason: missing }));
  try {
    await using engine = await startEngine(name, place);
    const results: RowResult[] = [];
    for (const row of rows) results.push(await compareRow(row, engine, place.directory));
    return results;
  } catch (error) {
    const reason = (error as Error).message;
    return rows.map((row) => ({ row, outcome: "failed", reason }));
  }
}

function print(engine: EngineName, { row, outcome, reason = "" }: RowResult): void {
  const mark = { passed: style.green("ok  "), failed: style.red("FAIL"), skipped: "skip" }[outcome];
  console.log(`${mark} ${engine} ${row.id}${outcome === "passed" ? "" : `: ${row.claim}`}`);
  if (reason !== "") console.log(`     ${reason.trim().replaceAll("\n", "\n     ")}`);
}

process.exitCode = await main();
