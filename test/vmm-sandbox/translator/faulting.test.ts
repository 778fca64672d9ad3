import assert from "node:assert/strict";
import { runFaultComparison } from "./run-faulting.ts";

describe("faults of the software CPU against the host's processor", function () {
  this.timeout(120_000);
  if (process.arch !== "x64" || process.platform !== "linux") {
    it("needs an x86-64 Linux host as oracle", function () {
      this.skip();
    });
    return;
  }

  it("are the same exceptions, with the same registers and memory, on both tiers", () => {
    const { vectors, faults, differences } = runFaultComparison({ seed: 20_261_122, rounds: 2 });
    assert.deepEqual(differences, []);
    assert.ok(vectors > 40_000, `${vectors} vectors`);
    // #DE, #UD, #SS, #GP, #PF, #AC and #XM all happened.
    for (const vector of [0, 6, 12, 13, 14, 17, 19])
      assert.ok((faults[vector] ?? 0) > 20, `exception ${vector} ${faults[vector]} times`);
  });
});
