import assert from "node:assert/strict";
import { Differential } from "./differential.ts";
import { compareTranscendental } from "./transcendental.ts";
import { testedRows } from "./vectors.ts";

describe("the software CPU against the host's processor", function () {
  this.timeout(120_000);
  if (process.arch !== "x64" || process.platform !== "linux") {
    it("needs an x86-64 Linux host as oracle", function () {
      this.skip();
    });
    return;
  }

  for (const [tier, threshold, rounds] of [
    ["the interpreter", 2 ** 30, 5],
    ["compiled regions", 1, 2],
  ] as const)
    it(`gives the same registers, flags and memory for every instruction form in ${tier}`, async () => {
      const differential = await Differential.open(20_261_122, threshold);
      const differences: string[] = [];
      for (let round = 0; round < rounds; round++)
        for (const row of testedRows) {
          const difference = differential.run(row, 32);
          if (difference) differences.push(`${difference.row}: ${difference.text}`);
        }
      assert.deepEqual(differences, []);
      assert.ok(differential.vectors > rounds * 15_000, `${differential.vectors} vectors`);
      assert.ok(differential.faults < differential.vectors / 4, "most vectors must reach the host");
      if (threshold === 1) assert.ok(differential.regions > testedRows.length);
    });
  it("computes x87's transcendental functions within one unit in the last place", async () => {
    assert.deepEqual(await compareTranscendental(20_261_122, 2), []);
  });
});
