import assert from "node:assert/strict";
import { formatDiagnosis } from "../../cli/verbs/doctor.ts";
import type { Finding, Rung } from "../../engine/index.ts";

const findings: readonly Finding[] = [
  {
    name: "kvm",
    usable: "partly",
    detail: "/dev/kvm opens",
    cause: "the CPU shows neither vmx nor svm, so its guests would be interpreted",
    cure: "use a machine with nested virtualization",
  },
];
const rungs: readonly Rung[] = [
  {
    name: "container",
    usable: true,
    reason: "usable",
    chosenBy: ["--isolation auto", "--isolation container"],
    why: "the default",
    expected: "starts in milliseconds",
  },
];

describe("formatDiagnosis()", () => {
  it("says what would choose a rung, and why", () => {
    const text = formatDiagnosis(findings, rungs, false);
    assert.match(text, /chosen by --isolation auto, --isolation container: the default\n/);
  });

  it("breaks lines between words where a terminal ends, in the column of the text", () => {
    const text = formatDiagnosis(findings, rungs, false, 60);
    const lines = text.split("\n");
    assert.ok(lines.every((line) => line.length <= 60));
    assert.ok(lines.includes("                 the CPU shows neither vmx nor svm, so its"), text);
    assert.ok(lines.includes("                 guests would be interpreted"), text);
  });

  it("keeps lines whole where no terminal is", () => {
    const text = formatDiagnosis(findings, rungs, false);
    assert.match(text, /neither vmx nor svm, so its guests would be interpreted\n/);
  });
});
