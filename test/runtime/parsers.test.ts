import assert from "node:assert/strict";
import { call, Fd, MS_NODEV, MS_NOSUID, MS_RDONLY, MS_REC, MS_SLAVE } from "../../linux/index.ts";
import { placeCgroup } from "../../runtime/cgroups/cgroup.ts";
import { parseCgroupLayout } from "../../runtime/cgroups/hierarchies.ts";
import {
  formatDeviceRule,
  planResourcesV1,
  planResourcesV2,
} from "../../runtime/cgroups/resources.ts";
import { cleanPath } from "../../runtime/launch/destinations.ts";
import { parseMountOptions } from "../../runtime/launch/mount-options.ts";
import { parseNumberList } from "../../runtime/launch/placement.ts";
import { DetachKeys } from "../../runtime/pty.ts";
import { parseSignal } from "../../runtime/signals.ts";
import { receiveDescriptor, sendDescriptor, socketPair } from "../../runtime/sockets.ts";
import { parseOptions } from "../../runtime/verbs/command-line.ts";
import { decodeStatus } from "../../runtime/wait.ts";

describe("parseMountOptions()", () => {
  it("lets later options win, and passes unknown ones to the file system", () => {
    const options = parseMountOptions(["nosuid", "ro", "nodev", "rw", "ro", "size=4k", "mode=755"]);
    assert.equal(options.flags, MS_NOSUID | MS_RDONLY | MS_NODEV);
    assert.equal(options.data, "size=4k,mode=755");
  });
  it("knows propagation and recursive attributes", () => {
    const { propagations, recursive } = parseMountOptions(["rslave", "rro", "rnoexec", "rexec"]);
    assert.deepEqual(propagations, [MS_SLAVE | MS_REC]);
    assert.deepEqual(recursive, { set: 1, clear: 8 });
  });
  it("treats the access-time modes as one field", () => {
    const { attributes } = parseMountOptions(["noatime", "strictatime"]);
    assert.deepEqual(attributes, { set: 32, clear: 112 });
  });
});

const hybrid = [
  "30 25 0:26 / /sys/fs/cgroup rw shared:9 - tmpfs tmpfs rw",
  "31 30 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw",
  "32 30 0:28 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct",
  "33 30 0:29 /docker/abc /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory",
  "34 30 0:30 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd",
].join("\n");
const own = "3:memory:/docker/abc/x\n2:cpu,cpuacct:/a\n1:name=systemd:/\n0::/\n";

describe("parseCgroupLayout()", () => {
  it("reads a hybrid machine as v1, relative to what the mounts show", () => {
    const layout = parseCgroupLayout(hybrid, own);
    assert.ok(layout?.version === 1);
    assert.deepEqual(
      layout.hierarchies.map(({ name, own: path, mountOptions }) => [name, path, mountOptions]),
      [
        ["cpu,cpuacct", "/a", "cpu,cpuacct"],
        ["memory", "/x", "memory"],
        ["systemd", "", "name=systemd"],
      ],
    );
  });
  it("reads a machine with v2 only", () => {
    const mountinfo = "30 25 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate";
    assert.deepEqual(parseCgroupLayout(mountinfo, "0::/user.slice\n"), {
      version: 2,
      mountPoint: "/sys/fs/cgroup",
      own: "/user.slice",
    });
  });
  it("finds nothing where nothing is mounted", () => {
    assert.equal(parseCgroupLayout("", ""), undefined);
    assert.equal(parseCgroupLayout("garbage - cgroup\n\n - cgroup2 x", "x:y\n::"), undefined);
  });
});

describe("placeCgroup()", () => {
  const layout = { version: 2, mountPoint: "/cg", own: "/own" } as const;
  for (const [path, place] of [
    ["/abs/x", "/cg/abs/x"],
    ["rel/x", "/cg/own/rel/x"],
    [undefined, "/cg/own/id"],
    ["/../../x", "/cg/x"],
  ] as const)
    it(`puts ${path ?? "nothing"} at ${place}`, () => {
      assert.equal(placeCgroup(layout, path, "id").directories[""], place);
    });
});

describe("resources", () => {
  it("are the same limits on v1 and v2", () => {
    const resources = {
      memory: { limit: 100, swap: 150, reservation: 50 },
      cpu: { quota: 5000, period: 10000, shares: 1024 },
      pids: { limit: -1 },
    };
    const pairs = (list: readonly { file: string; text: string }[]) =>
      Object.fromEntries(list.map(({ file, text }) => [file, text]));
    assert.deepEqual(pairs(planResourcesV1(resources)), {
      "memory.limit_in_bytes": "100",
      "memory.memsw.limit_in_bytes": "150",
      "memory.soft_limit_in_bytes": "50",
      "cpu.shares": "1024",
      "cpu.cfs_period_us": "10000",
      "cpu.cfs_quota_us": "5000",
      "pids.max": "max",
    });
    assert.deepEqual(pairs(planResourcesV2(resources)), {
      "memory.max": "100",
      "memory.swap.max": "50",
      "memory.low": "50",
      "cpu.weight": "39",
      "cpu.max": "5000 10000",
      "pids.max": "max",
    });
  });
  it("write device rules as the kernel wants them", () => {
    assert.equal(formatDeviceRule({ allow: false }), "a");
    assert.equal(formatDeviceRule({ allow: true, type: "c", major: 1, minor: 3 }), "c 1:3 rwm");
    assert.equal(formatDeviceRule({ allow: true, type: "b", major: -1, access: "m" }), "b *:* m");
  });
});

describe("small parsers", () => {
  for (const [path, clean] of [
    ["/a//b/./c/", "/a/b/c"],
    ["../../x", "/x"],
    ["/a/../../b", "/b"],
    ["", "/"],
  ] as const)
    it(`cleanPath("${path}") is "${clean}"`, () => assert.equal(cleanPath(path), clean));

  for (const [text, number] of [
    ["9", 9],
    ["TERM", 15],
    ["sigkill", 9],
    ["64", 64],
    ["65", undefined],
    ["constructor", undefined],
  ] as const)
    it(`parseSignal("${text}") is ${number}`, () => assert.equal(parseSignal(text), number));

  it("parseNumberList() makes a bit mask", () => {
    assert.deepEqual([...parseNumberList("0-2,9", "x")], [7, 2, 0, 0, 0, 0, 0, 0]);
    for (const [why, text] of [
      ["backwards", "3-1"],
      ["words", "all"],
      ["enormous", "0-99999999"],
    ] as const)
      assert.throws(() => parseNumberList(text, "x"), { name: "SpecError" }, why);
  });

  it("parseOptions() reads runc's command lines", () => {
    const table = { bundle: "text", all: "boolean", env: "list" } as const;
    const options = parseOptions(
      ["--bundle=/b", "-a", "-env", "A=1", "--env", "B", "id", "-x"],
      table,
      {
        a: "all",
      },
    );
    assert.equal(options.text("bundle"), "/b");
    assert.equal(options.flag("all"), true);
    assert.deepEqual(options.list("env"), ["A=1", "B"]);
    assert.deepEqual(options.rest, ["id", "-x"]);
    assert.throws(() => parseOptions(["--no"], table), { name: "UsageError" });
    assert.throws(() => parseOptions(["--bundle"], table), { message: /flag needs an argument/ });
  });

  it("decodeStatus() tells exits from signals", () => {
    assert.deepEqual(decodeStatus(Uint8Array.of(0, 7, 0, 0)), { code: 7 });
    assert.deepEqual(decodeStatus(Uint8Array.of(9, 0, 0, 0)), { code: 137, signal: 9 });
    assert.deepEqual(decodeStatus(Uint8Array.of(0x8b, 0, 0, 0)), { code: 139, signal: 11 });
  });

  it("DetachKeys passes on what turns out not to be the sequence", () => {
    const keys = new DetachKeys([16, 17]);
    assert.deepEqual([...keys.filter(Uint8Array.of(1, 16)).bytes], [1]);
    assert.deepEqual([...keys.filter(Uint8Array.of(2)).bytes], [16, 2]);
    assert.deepEqual([...keys.filter(Uint8Array.of(16, 16)).bytes], [16]);
    assert.deepEqual(keys.filter(Uint8Array.of(17)), { bytes: new Uint8Array(), detached: true });
  });
});

describe("descriptors over sockets", () => {
  it("arrive as what they were", () => {
    const [ours, theirs] = socketPair();
    using file = Fd.from("openat", -100, "/dev/zero", 0);
    sendDescriptor(theirs, file, "zero");
    using received = receiveDescriptor(ours);
    const bytes = Uint8Array.of(7);
    assert.equal(call("read", received, bytes, 1), 1);
    assert.equal(bytes[0], 0);
    theirs.close();
    assert.throws(() => receiveDescriptor(ours), { message: /the other side has gone/ });
    ours.close();
  });
});
