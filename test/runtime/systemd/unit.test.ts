import assert from "node:assert/strict";
import { planAnnotatedProperties } from "../../../runtime/cgroups/systemd/annotations.ts";
import { planDeviceProperties } from "../../../runtime/cgroups/systemd/devices.ts";
import { planResourceProperties } from "../../../runtime/cgroups/systemd/properties.ts";
import { parseUnit, sliceDirectory } from "../../../runtime/cgroups/systemd/unit.ts";

const infinity = 2n ** 64n - 1n;

describe("parseUnit()", () => {
  it("reads slice, prefix and name", () =>
    assert.deepEqual(parseUnit("kubepods-burstable.slice:cri-containerd:abc", "id", false), {
      slice: "kubepods-burstable.slice",
      name: "cri-containerd-abc.scope",
    }));

  it("falls back on the system's slice, or the user's", () => {
    assert.deepEqual(parseUnit(undefined, "c1", false), {
      slice: "system.slice",
      name: "manyworlds-c1.scope",
    });
    assert.equal(parseUnit(":libpod:c1", "c1", true).slice, "user.slice");
  });

  it("takes a name that is a slice itself as it is", () =>
    assert.equal(parseUnit("a.slice::a-b.slice", "c1", false).name, "a-b.slice"));

  for (const [why, path] of [
    ["a path", "/docker/abc"],
    ["two parts", "a.slice:b"],
    ["four parts", "a.slice:b:c:d"],
    ["no name", "a.slice:b:"],
    ["a slice that is none", "a:b:c"],
    ["a name with a slash", "a.slice:b:c/d"],
  ] as const)
    it(`rejects ${why}`, () => assert.throws(() => parseUnit(path, "id", false)));
});

describe("sliceDirectory()", () => {
  it("puts a slice into the slices that its name begins with", () => {
    assert.equal(sliceDirectory("system.slice"), "/system.slice");
    assert.equal(sliceDirectory("a-b-c.slice"), "/a.slice/a-b.slice/a-b-c.slice");
    assert.equal(sliceDirectory("-.slice"), "");
  });
  for (const slice of ["-a.slice", "a-.slice", "a--b.slice", ".slice", "a/b.slice", "a.scope"])
    it(`rejects "${slice}"`, () =>
      assert.throws(() => sliceDirectory(slice), /invalid slice name/));
});

describe("planResourceProperties()", () => {
  it("has nothing to say without limits", () => {
    assert.deepEqual(planResourceProperties(undefined, 2), []);
    assert.deepEqual(planResourceProperties({}, 1), []);
  });

  it("turns the limits of v2 into systemd's", () =>
    assert.deepEqual(
      planResourceProperties(
        {
          memory: { limit: 1000, reservation: 500, swap: 1500 },
          cpu: { shares: 1024, quota: 25_000, period: 50_000, cpus: "0-1,8", mems: "0" },
          pids: { limit: -1 },
          unified: { "memory.high": "900", "cpu.max": "max 20000", "io.weight": "50" },
        },
        2,
      ),
      [
        ["CPUQuotaPeriodUSec", { signature: "t", value: 50_000n }],
        ["CPUQuotaPerSecUSec", { signature: "t", value: 500_000n }],
        ["TasksMax", { signature: "t", value: infinity }],
        ["MemoryMax", { signature: "t", value: 1000n }],
        ["MemoryLow", { signature: "t", value: 500n }],
        ["MemorySwapMax", { signature: "t", value: 500n }],
        ["CPUWeight", { signature: "t", value: 39n }],
        ["AllowedCPUs", { signature: "ay", value: new Uint8Array([3, 1, 0, 0, 0, 0, 0, 0]) }],
        [
          "AllowedMemoryNodes",
          { signature: "ay", value: new Uint8Array([1, 0, 0, 0, 0, 0, 0, 0]) },
        ],
        ["MemoryHigh", { signature: "t", value: 900n }],
        ["CPUQuotaPeriodUSec", { signature: "t", value: 20_000n }],
        ["CPUQuotaPerSecUSec", { signature: "t", value: infinity }],
      ],
    ));

  it("rounds a quota up to what systemd keeps", () =>
    assert.deepEqual(planResourceProperties({ cpu: { quota: 1234 } }, 2), [
      ["CPUQuotaPerSecUSec", { signature: "t", value: 20_000n }],
    ]));

  it("uses v1's names on v1", () =>
    assert.deepEqual(
      planResourceProperties(
        { memory: { limit: -1 }, cpu: { shares: 300 }, blockIO: { weight: 20 } },
        1,
      ),
      [
        ["MemoryLimit", { signature: "t", value: infinity }],
        ["CPUShares", { signature: "t", value: 300n }],
        ["BlockIOWeight", { signature: "t", value: 20n }],
      ],
    ));
});

describe("planDeviceProperties()", () => {
  const procDevices =
    "Character devices:\n  1 mem\n136 pts\n195 nvidia\n\nBlock devices:\n  8 sd\n 65 sd\n";

  it("lists what is allowed", () => {
    const [policy, list] = planDeviceProperties(
      [
        { allow: false, access: "rwm" },
        { allow: true, type: "c", major: 195, access: "rw" },
        { allow: true, type: "b", major: 8, minor: 1, access: "r" },
      ],
      procDevices,
    );
    assert.deepEqual(policy, ["DevicePolicy", { signature: "s", value: "strict" }]);
    const allowed = (list?.[1].value ?? []) as readonly (readonly string[])[];
    for (const wanted of [
      ["char-nvidia", "rw"],
      ["/dev/block/8:1", "r"],
      ["char-*", "m"],
      ["/dev/char/1:3", "mrw"],
      ["char-pts", "mrw"],
    ])
      assert.ok(
        allowed.some((row) => row.join() === wanted.join()),
        wanted.join(" "),
      );
  });

  it("leaves all to the files when everything is allowed", () =>
    assert.deepEqual(planDeviceProperties([{ allow: true, access: "rwm" }], procDevices)[0], [
      "DevicePolicy",
      { signature: "s", value: "auto" },
    ]));
});

describe("planAnnotatedProperties()", () => {
  // biome-ignore format: table
  for (const [text, name, want] of [
    ["'one'",        "Documentation",  ["Documentation", { signature: "s", value: "one" }]],
    ["uint64 5",     "TasksMax",       ["TasksMax", { signature: "t", value: 5n }]],
    ["-3",           "Nice",           ["Nice", { signature: "i", value: -3 }]],
    ["true",         "SendSIGHUP",     ["SendSIGHUP", { signature: "b", value: true }]],
    ["['a', \"b\"]", "Before",         ["Before", { signature: "as", value: ["a", "b"] }]],
    ["10",           "TimeoutStopSec", ["TimeoutStopUSec", { signature: "t", value: 10_000_000n }]],
  ] as const)
    it(`reads ${text}`, () =>
      assert.deepEqual(planAnnotatedProperties({ [`org.systemd.property.${name}`]: text, other: "x" }), [want]));

  for (const [why, key, text] of [
    ["what it cannot read", "Nice", "{1: 2}"],
    ["a type that does not exist", "Nice", "int65 3"],
    ["the slice", "Slice", "'a.slice'"],
    ["what is no name", "a b", "1"],
  ] as const)
    it(`rejects ${why}`, () =>
      assert.throws(() => planAnnotatedProperties({ [`org.systemd.property.${key}`]: text })));
});
