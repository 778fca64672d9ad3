import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import type { RuntimeConfig } from "../../oci/index.ts";
import { mountPointOf } from "../../runtime/root-facts.ts";
import { warningsOf } from "../../runtime/warnings.ts";

const base: RuntimeConfig = { ociVersion: "1.3.0" };

describe("warningsOf()", () => {
  it("names capabilities that nobody has, once each", () => {
    const capabilities = { bounding: ["CAP_CHOWN", "CAP_NOTHING"], permitted: ["CAP_NOTHING"] };
    const config = { ...base, process: { cwd: "/", capabilities } };
    // In a user namespace everything that exists can be granted, whoever runs this test.
    const linux = { namespaces: [{ type: "user" }] } as const;
    assert.deepEqual(
      [...warningsOf({ ...config, linux })],
      ["process.capabilities: CAP_NOTHING cannot be granted here and are left out"],
    );
  });

  it("says nothing of what can be had", () => assert.deepEqual([...warningsOf(base)], []));

  it("says that a mount label labels nothing without SELinux", function () {
    if (existsSync("/sys/fs/selinux/enforce")) this.skip();
    const [warning] = warningsOf({ ...base, linux: { mountLabel: "a:b:c:s0" } });
    assert.match(warning ?? "", /^linux\.mountLabel: "a:b:c:s0"/);
  });
});

describe("mountPointOf()", () => {
  const mountinfo = [
    "1 0 0:1 / / rw shared:1 - ext4 x rw",
    "2 1 0:2 / /var rw - ext4 x rw",
    "3 2 0:3 / /var/a\\040b rw - tmpfs x rw",
    "4 2 0:4 / /variant rw - tmpfs x rw",
    "",
  ].join("\n");
  for (const [path, point] of [
    ["/home", "/"],
    ["/var", "/var"],
    ["/var/lib/x", "/var"],
    ["/var/a b/c", "/var/a b"],
    ["/various", "/"],
  ] as const)
    it(`"${path}" lies on "${point}"`, () => assert.equal(mountPointOf(path, mountinfo), point));
});
