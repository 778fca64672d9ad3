import assert from "node:assert/strict";
import { mapEverybody, nobodyOf, parseIdRanges } from "../../../vmm-sandbox/confine/id-ranges.ts";

describe("IDs that the monitor's user namespace is given", () => {
  // biome-ignore format: table
  const cases: readonly (readonly [where: string, map: string, everybody: string, nobody: number])[] = [
    ["on the host", "         0          0 4294967295\n", "0 0 4294967295", 65_534],
    ["as an ordinary user's root", "         0       1000          1\n         1     100000      65536\n", "0 0 1\n1 1 65536", 65_534],
    ["with a single ID", "         0       1000          1\n", "0 0 1", 0],
    ["with few", "0 5000 1000\n", "0 0 1000", 999],
    ["of nobody", "", "", 0],
  ];
  for (const [where, map, everybody, nobody] of cases)
    it(`are those that there are ${where}`, () => {
      assert.equal(mapEverybody(parseIdRanges(map)), everybody);
      assert.equal(nobodyOf(parseIdRanges(map)), nobody);
    });
});
