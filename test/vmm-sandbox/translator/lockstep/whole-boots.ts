/**
 * Whole boots of Linux, tier against tier, and differences on purpose that must be found. Takes minutes:
 *
 *   npx mocha --no-config --node-option import=tsx test/vmm-sandbox/translator/lockstep/whole-boots.ts
 */
import assert from "node:assert/strict";
import { bootOf, init, missing } from "../run-linux.ts";
import { compareTiers } from "./lockstep.ts";
import { tierOf } from "./tiers.ts";
import { type Tier, TracedMachine } from "./traced-machine.ts";
import { withWrong } from "./wrong-tiers.ts";

describe("whole boots of Linux in lockstep", function () {
  this.timeout(3_600_000);

  before(function () {
    if (missing.length === 0) return;
    console.log(`      needs ${missing.join(" and ")} (npm run guest:kernel; busybox-static)`);
    this.skip();
  });

  const compare = (suspect: Tier) => {
    const image = bootOf(init, 96 << 20);
    return compareTiers(() => [
      new TracedMachine(image, tierOf("interpreter")),
      new TracedMachine(image, suspect),
    ]);
  };

  for (const name of ["usual", "early", "at-once"])
    it(`are the same when compiled as "${name}" and when interpreted`, () => {
      const found = compare(tierOf(name));
      assert.ok(found.kind === "agreement", JSON.stringify(found, undefined, 1));
      console.log(
        `      ${found.events} events, ${found.gates} gates, ${found.regions} regions in ${name}`,
      );
      assert.ok(found.events > 20_000 && found.regions > 200);
      assert.equal(found.ended, "power-off");
      assert.match(found.output, /loop 300/);
    });

  for (const mnemonic of ["popcnt", "leave"] as const)
    it(`lead to the block of a compiled ${mnemonic.toUpperCase()} that is wrong`, () => {
      const found = compare(withWrong(mnemonic));
      assert.ok(found.kind === "difference", "no difference was found");
      assert.match(found.code.join("\n"), new RegExp(`: ${mnemonic}`));
    });
});
