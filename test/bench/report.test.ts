import assert from "node:assert/strict";
import { formatVerdict, type Report } from "../../bench/report.ts";

function report(title: string, ours: number, atMost: number): Report {
  const samples = [
    { name: "ours", ms: [ours] },
    { name: "peer", ms: [10] },
  ];
  const goals = [{ ours: "ours", peer: "peer", atMost }];
  return { title, rounds: 1, measured: { samples, left: [] }, goals };
}

describe("bench/report", () => {
  it("formatVerdict() counts what was met and names what was not", () =>
    assert.deepEqual(formatVerdict([report("fast", 5, 1), report("slow", 25, 2)]), [
      "Goals met: 1 of 2; missed:",
      "  slow: ours ÷ peer: 2.500 > 2",
    ]));
  it("formatVerdict() does not count a peer that was left out as met", () => {
    const { measured, ...rest } = report("alone", 5, 1);
    const alone = { ...measured, samples: measured.samples.slice(0, 1) };
    assert.deepEqual(formatVerdict([{ ...rest, measured: alone }]), [
      "Goals met: 0 of 1; missed:",
      "  alone: ours ÷ peer: not measured",
    ]);
  });
  it("formatVerdict() says nothing of ratios without a goal", () =>
    assert.deepEqual(formatVerdict([report("free", 5, Number.POSITIVE_INFINITY)]), []));
});
