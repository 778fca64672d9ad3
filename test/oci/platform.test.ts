import assert from "node:assert/strict";
import {
  choosePlatform,
  compatiblePlatforms,
  formatPlatform,
  hostPlatform,
  parsePlatform,
  SpecError,
} from "../../oci/index.ts";

const host = { os: "linux", architecture: "amd64" };

describe("platform", () => {
  for (const [text, normal] of [
    ["linux/amd64", "linux/amd64"],
    ["linux/x86_64", "linux/amd64"],
    ["Linux/AMD64/v1", "linux/amd64"],
    ["linux/amd64/v3", "linux/amd64/v3"],
    ["linux/arm64", "linux/arm64"],
    ["linux/arm64/v8", "linux/arm64"],
    ["linux/arm64/8", "linux/arm64"],
    ["linux/arm64/v9", "linux/arm64/v9"],
    ["linux/arm64/v9.0", "linux/arm64/v9"],
    ["linux/aarch64", "linux/arm64"],
    ["linux/arm", "linux/arm/v7"],
    ["linux/arm/v6", "linux/arm/v6"],
    ["linux/armhf", "linux/arm/v7"],
    ["linux/armel", "linux/arm/v6"],
    ["linux/i386", "linux/386"],
    ["macos/arm64", "darwin/arm64"],
    ["windows", "windows/amd64"],
    ["arm64", "linux/arm64"],
    ["armhf", "linux/arm/v7"],
    ["riscv64", "linux/riscv64"],
  ] as const) {
    it(`"${text}" means ${normal}`, () =>
      assert.equal(formatPlatform(parsePlatform(text, host)), normal));
  }

  for (const [why, text] of [
    ["an unknown word", "toaster"],
    ["nothing", ""],
    ["an empty part", "linux//v8"],
    ["four parts", "linux/arm/v7/x"],
    ["a space", "linux/amd 64"],
  ] as const) {
    it(`parsePlatform() refuses ${why}`, () =>
      assert.throws(() => parsePlatform(text, host), SpecError));
  }

  it("hostPlatform() is Linux on this processor", () => {
    assert.equal(formatPlatform(hostPlatform("x64")), "linux/amd64");
    assert.equal(formatPlatform(hostPlatform("arm64")), "linux/arm64");
    assert.equal(formatPlatform(hostPlatform("arm")), "linux/arm/v7");
  });

  for (const [wanted, order] of [
    ["linux/amd64", "linux/amd64 linux/386"],
    ["linux/amd64/v3", "linux/amd64/v3 linux/amd64/v2 linux/amd64 linux/386"],
    ["linux/arm/v7", "linux/arm/v7 linux/arm/v6 linux/arm/v5"],
    ["linux/arm64", "linux/arm64 linux/arm/v8 linux/arm/v7 linux/arm/v6 linux/arm/v5"],
    ["linux/s390x", "linux/s390x"],
  ] as const) {
    it(`${wanted} runs ${order}`, () => {
      const platforms = compatiblePlatforms(parsePlatform(wanted, host));
      assert.equal(platforms.map(formatPlatform).join(" "), order);
    });
  }

  it("Armv9.1 runs v9 and v8.6 and lower, but not v8.7", () => {
    const platforms = compatiblePlatforms(parsePlatform("linux/arm64/v9.1", host)).map(
      formatPlatform,
    );
    assert.deepEqual(platforms.slice(0, 3), [
      "linux/arm64/v9.1",
      "linux/arm64/v9",
      "linux/arm64/v8.6",
    ]);
    assert.ok(!platforms.includes("linux/arm64/v8.7"));
  });

  const item = (name: string, platform?: string) => ({
    name,
    ...(platform === undefined ? {} : { platform: parsePlatform(platform, host) }),
  });
  for (const [why, items, wanted, chosen] of [
    ["the exact one", [item("a", "linux/386"), item("b", "linux/amd64")], "linux/amd64", "b"],
    [
      "the nearest lower level",
      [item("a", "linux/amd64"), item("b", "linux/amd64/v2"), item("c", "linux/amd64/v4")],
      "linux/amd64/v3",
      "b",
    ],
    [
      "the first of equals",
      [item("a", "linux/arm64/v8"), item("b", "linux/arm64")],
      "linux/arm64",
      "a",
    ],
    [
      "one without platform as last resort",
      [item("a"), item("b", "linux/s390x")],
      "linux/amd64",
      "a",
    ],
    [
      "one that fits before one without platform",
      [item("a"), item("b", "linux/386")],
      "linux/amd64",
      "b",
    ],
    ["none for another system", [item("a", "windows/amd64")], "linux/amd64", undefined],
    ["no attestation", [item("a", "unknown/unknown")], "linux/amd64", undefined],
  ] as const) {
    it(`choosePlatform() takes ${why}`, () =>
      assert.equal(choosePlatform(items, parsePlatform(wanted, host))?.name, chosen));
  }
});
