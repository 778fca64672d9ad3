import assert from "node:assert/strict";
import { adaptRootless, findRange } from "../../engine/spec/rootless.ts";
import type { RuntimeConfig } from "../../oci/index.ts";

const config: RuntimeConfig = {
  ociVersion: "1.2.0",
  process: { cwd: "/", user: { uid: 0, gid: 0, additionalGids: [0, 29] } },
  mounts: [
    { destination: "/dev/pts", type: "devpts", options: ["newinstance", "gid=5"] },
    { destination: "/sys", type: "sysfs", source: "sysfs", options: ["ro"] },
    { destination: "/sys/fs/cgroup", type: "cgroup" },
  ],
  linux: {
    namespaces: [{ type: "mount" }, { type: "network" }, { type: "cgroup" }],
    cgroupsPath: "/manyworlds/x",
    resources: { devices: [] },
  },
};
const own = { uid: 1000, gid: 1001 };

describe("findRange()", () => {
  const text = "# c\nroot:1:5\nann:100000:65536\n1000:300000:10\nbad:x:y\n";
  it("finds by name and by number", () => {
    assert.deepEqual(findRange(text, ["ann", "7"]), { start: 100000, count: 65536 });
    assert.deepEqual(findRange(text, ["bob", "1000"]), { start: 300000, count: 10 });
    assert.equal(findRange(text, ["bad"]), undefined);
    assert.equal(findRange("", ["ann"]), undefined);
  });
});

describe("adaptRootless()", () => {
  it("maps just ourselves when there are no ranges", () => {
    const { linux, process, mounts = [] } = adaptRootless(config, own);
    assert.deepEqual(linux?.uidMappings, [{ containerID: 0, hostID: 1000, size: 1 }]);
    assert.deepEqual(linux?.gidMappings, [{ containerID: 0, hostID: 1001, size: 1 }]);
    assert.deepEqual(
      linux?.namespaces?.map(({ type }) => type),
      ["user", "mount", "network"],
    );
    assert.deepEqual(process?.user, { uid: 0, gid: 0 });
    assert.deepEqual(
      mounts.map(({ type }) => type),
      ["devpts", "sysfs"],
    );
    assert.deepEqual(mounts[0]?.options, ["newinstance"]);
    assert.equal(linux?.resources, undefined);
    assert.equal(linux?.cgroupsPath, undefined);
  });
  it("maps ranges behind root", () => {
    const range = { start: 100000, count: 65536 };
    const { linux } = adaptRootless(config, { ...own, users: range, groups: range });
    assert.deepEqual(linux?.uidMappings?.[1], { containerID: 1, hostID: 100000, size: 65536 });
  });
  it("binds the host's /sys where a new one is forbidden", () => {
    const shared = { ...config, linux: { namespaces: [{ type: "mount" as const }] } };
    const [, sys] = adaptRootless(shared, own).mounts ?? [];
    assert.deepEqual([sys?.type, sys?.source], ["bind", "/sys"]);
  });
  it("refuses users that do not exist, and limits that nobody would keep", () => {
    const other = { ...config, process: { cwd: "/", user: { uid: 33, gid: 0 } } };
    assert.throws(() => adaptRootless(other, own), /Cannot run as user 33/);
    const limited = { ...config, linux: { resources: { memory: { limit: 1 } } } };
    assert.throws(() => adaptRootless(limited, own), /Cannot limit memory/);
  });
});
