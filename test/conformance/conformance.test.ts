/**
 * The conformance suite as mocha tests: our executable against every row, and runc against a few
 * of each kind, which checks the suite itself. `npm run test:conformance` runs it on any runtime.
 */
import { existsSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { readMachine } from "./machine.ts";
import { knownFault } from "./peers.ts";
import type { Row } from "./row.ts";
import { allRows } from "./rows.ts";
import { type Result, runRows, surround } from "./run-rows.ts";

const ours = fileURLToPath(new URL("../../dist/manyworlds-oci", import.meta.url));
const runc = "/usr/sbin/runc";

/** Every n-th row is enough to see that the suite still fits a runtime that others wrote. */
const runcSample = 8;

const unbuilt = "it is not built: npm run build";
describeRuntime("our OCI runtime, thawed (decision 130)", ours, allRows, unbuilt);
describeRuntime("our OCI runtime, started for each verb", ours, allRows, unbuilt, [
  "/usr/bin/env",
  "MANYWORLDS_COLD=1",
]);
describeRuntime(
  "the conformance suite on runc",
  runc,
  allRows.filter((_, index) => index % runcSample === 0),
  "Debian's package runc is not installed",
);

function describeRuntime(
  title: string,
  runtime: string,
  rows: readonly Row[],
  absent: string,
  prefix: readonly string[] = [],
) {
  describe(title, () => {
    const why = whyNot(runtime, absent);
    if (why !== undefined) {
      it.skip(`passes its ${rows.length} rows: ${why}`);
      return;
    }
    const results = new Map<Row, Result>();
    before("run the rows, some at a time", async function () {
      this.timeout(10 * 60_000);
      const { surroundings, close } = surround([...prefix, runtime]);
      for (const result of await runRows(rows, surroundings, () => undefined))
        results.set(result.row, result);
      close();
    });
    for (const row of rows) {
      it(`${row.id}: ${row.claim} (${row.level}, ${row.section})`, function () {
        const result = results.get(row);
        if (result === undefined) throw new Error("The row did not run");
        if (result.outcome === "skipped") {
          if (this.test) this.test.title += `: ${result.reason}`;
          this.skip();
        }
        if (result.outcome === "failed" && knownFault(runtime, row.id) === undefined)
          throw new Error(result.reason);
      });
    }
  });
}

function whyNot(runtime: string, absent: string): string | undefined {
  if (!existsSync(runtime)) return absent;
  return readMachine().isRoot ? undefined : "containers of the suite need root";
}

describe("the list of rows", () => {
  it("names each row once", () => {
    const ids = allRows.map(({ id }) => id);
    const twice = ids.filter((id, index) => ids.indexOf(id) !== index);
    if (twice.length > 0) throw new Error(`Named twice: ${twice.join(" ")}`);
  });
});
