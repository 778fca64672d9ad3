import assert from "node:assert/strict";
import { Differential } from "./differential.ts";
import { testedRows } from "./vectors.ts";

describe("the software CPU against the host's processor", function () {
  this.timeout(120_000);
  if (process.arch !== "x64" || process.platform !== "linux") {
    it("needs an x86-64 Linux host as oracle", function () {
      this.skip();
    });
    return;
  }

  it("gives the same registers, flags and memory for every instruction form", async () => {
    const differential = await Differential.open(20_261_122);
    const differences: string[] = [];
    for (let round = 0; round < 6; round++)
      for (const row of testedRows) {
        const difference = differential.run(row, 32);
        if (difference) differences.push(`${difference.row}: ${difference.text}`);
      }
    assert.deepEqual(differences, []);
    assert.ok(differential.vectors > 90_000, `${differential.vectors} vectors`);
    assert.ok(differential.faults < differential.vectors / 4, "most vectors must reach the host");
  });
});
