import assert from "node:assert/strict";
import { parseSignal } from "../../../engine/detached/control.ts";

describe("parseSignal()", () => {
  for (const [text, number] of [
    ["TERM", 15],
    ["sigkill", 9],
    ["1", 1],
    ["RTMIN", 34],
    ["SIGRTMIN+3", 37],
    ["RTMAX-1", 63],
  ] as const)
    it(`reads "${text}"`, () => assert.equal(parseSignal(text), number));
  for (const bad of ["", "0", "65", "NOPE", "RTMIN+99", "-9"])
    it(`refuses "${bad}"`, () =>
      assert.throws(() => parseSignal(bad), /expected a name or 1 to 64/));
});
