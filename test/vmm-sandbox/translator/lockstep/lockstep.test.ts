import assert from "node:assert/strict";
import { bootOf, missing } from "../run-linux.ts";
import { compareTiers } from "./lockstep.ts";
import { tierOf } from "./tiers.ts";
import { TracedMachine } from "./traced-machine.ts";
import { withWrong } from "./wrong-tiers.ts";

/** Enough for the kernel's own initialization and its first processes. */
const maxGates = 600;

describe("tiers of the software CPU in lockstep", function () {
  this.timeout(300_000);

  before(function () {
    if (missing.length === 0) return;
    console.log(`      needs ${missing.join(" and ")} (npm run guest:kernel; busybox-static)`);
    this.skip();
  });

  const boot = () => bootOf("#!/bin/busybox sh\n/bin/busybox poweroff -f\n", 96 << 20);

  it("begin to boot Linux with equal registers, events and memory", () => {
    const image = boot();
    const pair = () =>
      [
        new TracedMachine(image, tierOf("interpreter")),
        new TracedMachine(image, tierOf("early")),
      ] as const;
    const found = compareTiers(pair, { maxGates });
    assert.ok(found.kind === "agreement", JSON.stringify(found));
    assert.ok(found.regions > 200, `${found.regions} regions`);
    assert.ok(found.events > 10_000, `${found.events} events`);
  });

  it("lead to the block of a compiled instruction that is wrong", () => {
    const image = boot();
    const wrong = withWrong("popcnt");
    const pair = () =>
      [new TracedMachine(image, tierOf("interpreter")), new TracedMachine(image, wrong)] as const;
    const found = compareTiers(pair, { maxGates });
    assert.ok(found.kind === "difference", "no difference was found");
    assert.match(found.code.join("\n"), /: popcnt/);
    assert.ok(found.code.length < 100, found.code.join("\n"));
    assert.ok(found.values.length > 0);
  });
});
