import assert from "node:assert/strict";
import { parseSeccompProfile } from "../../engine/spec/seccomp-profile.ts";

const facts = { capabilities: ["CAP_SYS_TIME"], kernel: "6.1.0-13-amd64", architecture: "amd64" };

function names(syscalls: unknown): string {
  const profile = { defaultAction: "SCMP_ACT_ERRNO", syscalls };
  const { syscalls: rows = [] } = parseSeccompProfile(JSON.stringify(profile), facts);
  return rows.flatMap((row) => row.names).join(" ");
}

describe("parseSeccompProfile()", () => {
  const action = "SCMP_ACT_ALLOW";
  // biome-ignore format: table
  const rows: readonly (readonly [string, unknown, string])[] = [
    ["names", [{ names: ["a", "b"], action }], "a b"],
    ["the old form of one name", [{ name: "a", action }], "a"],
    ["a capability that is there", [{ names: ["a"], action, includes: { caps: ["CAP_SYS_TIME"] } }], "a"],
    ["a capability that is not", [{ names: ["a"], action, includes: { caps: ["CAP_BPF"] } }], ""],
    ["a capability that excludes", [{ names: ["a"], action, excludes: { caps: ["CAP_SYS_TIME"] } }], ""],
    ["another architecture", [{ names: ["a"], action, includes: { arches: ["arm64"] } }], ""],
    ["an architecture that excludes", [{ names: ["a"], action, excludes: { arches: ["amd64"] } }], ""],
    ["an older kernel", [{ names: ["a"], action, includes: { minKernel: "4.8" } }], "a"],
    ["a newer kernel", [{ names: ["a"], action, includes: { minKernel: "6.10" } }], ""],
  ];
  for (const [what, syscalls, expected] of rows) {
    it(`reads ${what}`, () => assert.equal(names(syscalls), expected));
  }
  it("chooses architectures from the map", () => {
    const profile = {
      defaultAction: "SCMP_ACT_ALLOW",
      archMap: [
        { architecture: "SCMP_ARCH_X86_64", subArchitectures: ["SCMP_ARCH_X86"] },
        { architecture: "SCMP_ARCH_AARCH64", subArchitectures: ["SCMP_ARCH_ARM"] },
      ],
    };
    const { architectures } = parseSeccompProfile(JSON.stringify(profile), facts);
    assert.deepEqual(architectures, ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]);
  });
  it("keeps arguments and error numbers", () => {
    const syscalls = [
      {
        names: ["a"],
        action,
        errnoRet: 38,
        args: [{ index: 0, value: 5, valueTwo: 0, op: "SCMP_CMP_EQ" }],
      },
    ];
    const profile = { defaultAction: "SCMP_ACT_ERRNO", defaultErrnoRet: 1, syscalls };
    const made = parseSeccompProfile(JSON.stringify(profile), facts);
    assert.equal(made.defaultErrnoRet, 1);
    assert.deepEqual(made.syscalls?.[0], syscalls[0]);
  });
  for (const [why, text] of [
    ["no JSON", "nope"],
    ["no default action", "{}"],
    ["a number as names", '{"defaultAction":"x","syscalls":[{"names":5,"action":"y"}]}'],
  ] as const) {
    it(`refuses ${why}`, () =>
      assert.throws(() => parseSeccompProfile(text, facts), /seccomp profile/));
  }
});
