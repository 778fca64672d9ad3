import assert from "node:assert/strict";
import { type CpuReport, parseCpuReport } from "../../../vmm-sandbox/index.ts";

const report: CpuReport = {
  translation: {
    ...{ runs: 2, instructions: 20, regions: 1, regionInstructions: 9 },
    ...{ regionBytes: 100, compileMs: 3, invalidations: 0, flushes: 0 },
  },
  hitRate: 0.5,
  exits: { fuel: 1, lookup: 2, fault: 3, helper: 4, hot: 5 },
  tlb: { misses: 6, flushes: 7 },
  helpers: 8,
  slowAccesses: 9,
  interrupts: 10,
  exceptions: { "14": 11 },
  sensitive: [{ instruction: "PUSHF", kernel: 1, user: 2, handled: "emitted" }],
  refused: { instructions: { "vaddps (opcode 58 modrm c0)": 1 }, msrs: [0x34] },
};

/** The report with one field, named by its path, replaced. */
function changed(path: string, value: unknown): unknown {
  const copy: unknown = structuredClone(report);
  const names = path.split(".");
  const last = names.pop() ?? "";
  // SAFE: the paths below lead through objects.
  let at = copy as Record<string, unknown>;
  for (const name of names) at = at[name] as Record<string, unknown>;
  at[last] = value;
  return copy;
}

describe("parseCpuReport()", () => {
  it("takes what a CPU reports, and nothing that is not part of it", () => {
    assert.deepEqual(parseCpuReport(JSON.parse(JSON.stringify(report))), report);
    assert.deepEqual(parseCpuReport({ ...report, more: "\x1b[2J" }), report);
  });

  for (const [why, path, value] of [
    ["a count that is text", "exits.fuel", "1"],
    ["a negative count", "tlb.misses", -1],
    ["a missing group", "tlb", undefined],
    ["a share above one", "hitRate", 1.5],
    ["a list where names belong", "exceptions", []],
    ["a name that would speak to the terminal", "refused.instructions", { "\x1b[2J": 1 }],
    ["a very long name", "refused.instructions", { ["x".repeat(200)]: 1 }],
    ["more rows than any CPU has", "refused.msrs", new Array(5000).fill(0)],
    ["a way of handling that does not exist", "sensitive.0.handled", "trapped"],
    ["an instruction without a name", "sensitive.0.instruction", ""],
  ] as const)
    it(`refuses ${why}`, () => {
      assert.throws(() => parseCpuReport(changed(path, value)), /^TypeError: Cannot read a CPU's/);
    });

  it("refuses what is no object", () => {
    for (const value of [null, undefined, 5, "report", []])
      assert.throws(() => parseCpuReport(value), TypeError);
  });
});
