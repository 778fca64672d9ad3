/**
 * Engines with our runtime, compared with the same engines on runc. By default those that take two
 * minutes together; MANYWORLDS_ENGINES="podman swarm docker-userns" names others, "docker-vm" those of
 * docker with machines, "all" runs all.
 */
import { chmodSync, existsSync, mkdtempSync, rmSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { bridgeRows } from "./bridge.ts";
import { missingFor, type Place, startEngine } from "./engines.ts";
import {
  holdsInMachines,
  machineEngines,
  shortMachineRows,
  whyNoMachines,
  writeMachineRuntime,
} from "./machines.ts";
import type { Engine, EngineName } from "./row.ts";
import { engineRows } from "./rows.ts";
import { compareRow } from "./run-row.ts";
import { swarmRows } from "./swarm.ts";

const underTest = fileURLToPath(new URL("../../dist/manyworlds-oci", import.meta.url));
const runc = "/usr/sbin/runc";
// biome-ignore format: table
const engineNames = [
  "docker", "containerd", "docker-bridge", "docker-userns", "podman", "podman-rootless", "swarm",
] as const;
const chosen = (process.env["MANYWORLDS_ENGINES"] ?? "docker containerd").split(" ");
const rowLimitMs = 130_000;
const allRows = [...engineRows, ...swarmRows, ...bridgeRows];

for (const name of engineNames) describeEngine(name);
for (const name of machineEngines) describeEngine(name, "machines");

function describeEngine(name: EngineName, kind?: "machines"): void {
  const isShort = kind !== undefined && !chosen.includes(`${name}-vm`) && !chosen.includes("all");
  const rows = allRows
    .filter(({ engines }) => engines.includes(name))
    .filter((row) => kind === undefined || holdsInMachines(row))
    .filter(({ id }) => !isShort || shortMachineRows.includes(id));
  if (rows.length === 0) return;
  describe(`${name} with our ${kind ?? "runtime"}`, () => {
    const why = kind === undefined ? whyNot(name) : (whyNoEngine(name) ?? whyNoMachines());
    if (why !== undefined) {
      it.skip(`behaves as with runc in ${rows.length} rows: ${why}`);
      return;
    }
    const place: Place = { directory: mkdtempSync("/tmp/mwe-"), runc, underTest };
    let engine: Engine | undefined;
    before("start the engine", async function () {
      this.timeout(120_000);
      chmodSync(place.directory, 0o711); // a remapped root has to pass
      const runtime = kind === undefined ? underTest : writeMachineRuntime(place.directory);
      engine = await startEngine(name, { ...place, underTest: runtime });
    });
    after("stop the engine", async function () {
      this.timeout(60_000);
      await engine?.[Symbol.asyncDispose]();
      rmSync(place.directory, { recursive: true, force: true });
    });
    for (const row of rows) {
      it(`${row.id}: ${row.claim}`, async function () {
        this.timeout(rowLimitMs);
        if (engine === undefined) throw new Error("The engine did not start");
        const { outcome, reason } = await compareRow(row, engine, place.directory);
        if (outcome === "failed") throw new Error(reason);
      });
    }
  });
}

function whyNot(name: EngineName): string | undefined {
  if (!existsSync(underTest)) return "it is not built: npm run build";
  if (!chosen.includes(name) && !chosen.includes("all"))
    return "MANYWORLDS_ENGINES does not name it";
  return whyNoEngine(name);
}

function whyNoEngine(name: EngineName): string | undefined {
  if (!existsSync(runc)) return "Debian's package runc is not installed";
  if (process.getuid?.() !== 0) return "engines of the suite need root";
  return missingFor(name, existsSync);
}
