/** A container's limits in a guest, as rows; what they do there, oci-config.test.ts sees. */
import assert from "node:assert/strict";
import { checkLimits, limitResources } from "../../../engine/vm/guest-limits.ts";
import type { Resources } from "../../../oci/index.ts";

const denyAll = { allow: false, access: "rwm" } as const;

describe("limits of a guest", () => {
  const calls = (resources: Resources | undefined) =>
    limitResources(resources).flatMap((row) => ("call" in row ? [row.call] : []));

  it("are a cgroup alone where nothing is limited", () => {
    assert.deepEqual(calls(undefined), ["mkdir"]);
    assert.deepEqual(calls({ memory: { limit: -1 }, pids: { limit: 0 } }), ["mkdir"]);
  });

  it("load no filter for a privileged container, and one for any other", () => {
    assert.ok(!calls({ devices: [{ allow: true, access: "rwm" }] }).includes("bpf"));
    const loaded = calls({ devices: [denyAll] }).filter((call) => call === "bpf");
    assert.equal(loaded.length, 2, "loaded and attached");
  });

  it("are refused by a guest without cgroups, each by its name", () => {
    const resources = {
      memory: { limit: 1000 },
      pids: { limit: 5 },
      unified: { "memory.high": "7" },
      devices: [denyAll],
    };
    assert.throws(
      () => checkLimits(resources),
      /\(memory\.max, pids\.max, memory\.high, devices\): the guest's kernel has no cgroups/,
    );
    checkLimits({ devices: [{ allow: true, access: "rwm" }] });
    checkLimits(undefined);
  });
});
