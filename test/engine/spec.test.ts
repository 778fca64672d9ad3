import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import type { ContainerOptions } from "../../engine/options.ts";
import {
  allCapabilities,
  chooseCapabilities,
  namesOfMask,
} from "../../engine/spec/capabilities.ts";
import { type Facts, makeConfig } from "../../engine/spec/config.ts";
import { makeArguments, makeEnvironment } from "../../engine/spec/environment.ts";
import { makeHosts, makeResolvConf } from "../../engine/spec/network-files.ts";
import { parseGroup, parsePasswd, resolveUser } from "../../engine/spec/users.ts";
import { VERSION } from "../../engine/version.ts";
import type { ContainerConfig, RuntimeConfig } from "../../oci/index.ts";

const facts: Facts = {
  id: "ab".repeat(32),
  rootfs: "/root",
  hostname: "abababababab",
  account: { uid: 0, gid: 0, additionalGids: [0], home: "/root" },
  files: { hosts: "/c/hosts", resolvConf: "/c/resolv.conf", hostname: "/c/hostname" },
  held: allCapabilities,
  maxOpenFiles: 20000,
  seccomp: () => ({ defaultAction: "SCMP_ACT_ERRNO" }),
  devices: [],
  cgroupsPath: "/manyworlds/x",
  cpuCount: 2,
  swapLimit: true,
};
const image: ContainerConfig = { Cmd: ["sh"], Env: ["PATH=/bin", "A=image"], WorkingDir: "/w" };

function plan(options: ContainerOptions = {}, changed: Partial<Facts> = {}): RuntimeConfig {
  return makeConfig(image, options, { ...facts, ...changed });
}

describe("chooseCapabilities()", () => {
  const short = (names: readonly string[]): string => names.map((n) => n.slice(4)).join(" ");
  const defaults =
    "CHOWN DAC_OVERRIDE FOWNER FSETID KILL SETGID SETUID SETPCAP NET_BIND_SERVICE NET_RAW SYS_CHROOT MKNOD AUDIT_WRITE SETFCAP";
  it("gives docker's fourteen by default", () => {
    assert.equal(short(chooseCapabilities({}, allCapabilities)), defaults);
  });
  // biome-ignore format: table
  const rows: readonly (readonly [readonly string[], readonly string[], string])[] = [
    [[], ["ALL"], ""],
    [["net_admin"], ["ALL"], "NET_ADMIN"],
    [["CAP_NET_ADMIN"], ["cap_all".slice(4)], "NET_ADMIN"],
    [[], ["chown", "KILL"], defaults.replace("CHOWN ", "").replace("KILL ", "")],
    [["ALL"], ["SYS_ADMIN"], short(allCapabilities.filter((name) => name !== "CAP_SYS_ADMIN"))],
    [["SYS_TIME"], [], defaults.replace("MKNOD", "SYS_TIME MKNOD")],
  ];
  for (const [capAdd, capDrop, expected] of rows) {
    it(`--cap-add ${capAdd} --cap-drop ${capDrop}`, () => {
      assert.equal(short(chooseCapabilities({ capAdd, capDrop }, allCapabilities)), expected);
    });
  }
  it("gives nothing that we do not have", () => {
    assert.deepEqual(chooseCapabilities({}, ["CAP_CHOWN"]), ["CAP_CHOWN"]);
    assert.deepEqual(chooseCapabilities({ privileged: true }, ["CAP_BPF"]), ["CAP_BPF"]);
    assert.throws(() => chooseCapabilities({ capAdd: ["BPF"] }, ["CAP_CHOWN"]), /does not have it/);
  });
  it("refuses unknown names", () => {
    assert.throws(() => chooseCapabilities({ capDrop: ["NOPE"] }, []), /expected a capability/);
  });
  it("namesOfMask() reads the kernel's bits", () => {
    assert.deepEqual(namesOfMask(0x21n), ["CAP_CHOWN", "CAP_KILL"]);
    assert.equal(namesOfMask((1n << 41n) - 1n).length, 41);
  });
});

describe("resolveUser()", () => {
  const passwd = (): ReturnType<typeof parsePasswd> =>
    parsePasswd(
      "root:x:0:0:r:/root:/bin/sh\n# no\nbad line\nweb:x:33:44::/srv:\n1000:x:7:8::/seven:\n",
    );
  const group = (): ReturnType<typeof parseGroup> =>
    parseGroup("root:x:0:\nweb:x:44:web\naudio:x:29:web,root\nvideo:x:30:\n");
  const resolve = (wanted: string, extra: readonly string[] = []) => {
    const { uid, gid, additionalGids, home } = resolveUser(wanted, extra, { passwd, group });
    return `${uid}:${gid} ${additionalGids} ${home}`;
  };
  // biome-ignore format: table
  const rows: readonly (readonly [string, string])[] = [
    ["", "0:0 0,29 /root"],
    ["root", "0:0 0,29 /root"],
    ["web", "33:44 44,29 /srv"],
    ["33", "33:44 44,29 /srv"],
    ["web:video", "33:30 30 /srv"],
    ["web:99", "33:99 99 /srv"],
    ["4711", "4711:0 0 /"],
    ["4711:4712", "4711:4712 4712 /"],
    [":29", "0:29 29 /root"],
    ["1000", "7:8 8 /seven"], // a user may be called by a number, and names come first
  ];
  for (const [wanted, expected] of rows) {
    it(`"${wanted}" is ${expected}`, () => assert.equal(resolve(wanted), expected));
  }
  it("adds groups", () => assert.equal(resolve("web:99", ["video", "7"]), "33:99 99,30,7 /srv"));
  it("refuses names that the image does not have", () => {
    assert.throws(() => resolve("nobody"), /Cannot find user "nobody"/);
    assert.throws(() => resolve("root:nope"), /Cannot find group "nope"/);
    assert.throws(() => resolve("4294967295"), /Cannot find user/);
    assert.throws(() => resolve("-1"), /Cannot find user/);
  });
  it("works without the files", () => {
    const none = { passwd: () => [], group: () => [] };
    assert.deepEqual(resolveUser("", [], none), { uid: 0, gid: 0, additionalGids: [0], home: "/" });
  });
});

describe("arguments and environment", () => {
  // biome-ignore format: table
  const rows: readonly (readonly [ContainerConfig, ContainerOptions, string])[] = [
    [{ Cmd: ["a"] }, {}, "a"],
    [{ Cmd: ["a"] }, { command: ["b", "c"] }, "b c"],
    [{ Entrypoint: ["e"], Cmd: ["a"] }, {}, "e a"],
    [{ Entrypoint: ["e"], Cmd: ["a"] }, { command: ["b"] }, "e b"],
    [{ Entrypoint: ["e"], Cmd: ["a"] }, { entrypoint: ["f"] }, "f"],
    [{ Entrypoint: ["e"], Cmd: ["a"] }, { entrypoint: ["f"], command: ["b"] }, "f b"],
    [{ Entrypoint: ["e"], Cmd: ["a"] }, { entrypoint: [], command: ["b"] }, "b"],
  ];
  for (const [config, options, expected] of rows) {
    it(`${JSON.stringify(config)} with ${JSON.stringify(options)} runs "${expected}"`, () => {
      assert.equal(makeArguments(config, options).join(" "), expected);
    });
  }
  it("needs a command", () => {
    assert.throws(() => makeArguments({}, {}), /names no command/);
    assert.throws(
      () => makeArguments({ Entrypoint: ["e"] }, { entrypoint: [] }),
      /names no command/,
    );
  });
  it("orders the environment as docker does", () => {
    const made = makeEnvironment(
      image,
      { env: ["A=mine", "B=", "C"], tty: true },
      { hostname: "h", home: "/x" },
    );
    assert.deepEqual(made, ["PATH=/bin", "HOSTNAME=h", "TERM=xterm", "A=mine", "B=", "HOME=/x"]);
  });
  it("keeps a HOME that is given, and takes away what is unset", () => {
    const made = makeEnvironment(
      { Env: ["X=1"] },
      { env: ["HOME=/me", "X"] },
      { hostname: "h", home: "/x" },
    );
    assert.deepEqual(made.slice(1), ["HOSTNAME=h", "HOME=/me"]);
  });
});

describe("network files", () => {
  it("makeHosts() names the loopback, then what is added", () => {
    const text = makeHosts({ extraHosts: [{ host: "db", address: "10.0.0.1" }] }, "");
    assert.match(text, /^127\.0\.0\.1\tlocalhost\n::1\tlocalhost/);
    assert.match(text, /\n10\.0\.0\.1\tdb\n$/);
  });
  it("makeHosts() keeps the host's file on the host's network", () => {
    assert.equal(makeHosts({ network: "host" }, "1.2.3.4 me\n"), "1.2.3.4 me\n");
  });
  const host = "# c\nnameserver 127.0.0.53\nnameserver 9.9.9.9\nsearch a b\noptions edns0\n";
  it("makeResolvConf() leaves out servers that cannot be reached", () => {
    assert.equal(makeResolvConf({}, host), "nameserver 9.9.9.9\nsearch a b\noptions edns0\n");
    assert.match(makeResolvConf({ network: "host" }, host), /^nameserver 127\.0\.0\.53\n/);
  });
  it("makeResolvConf() lets options replace the host's", () => {
    const options = { dns: ["1.1.1.1", "::1"], dnsSearch: ["."], dnsOptions: ["ndots:2"] };
    assert.equal(
      makeResolvConf(options, host),
      "nameserver 1.1.1.1\nnameserver ::1\noptions ndots:2\n",
    );
  });
});

describe("makeConfig()", () => {
  it("isolates by default as docker does", () => {
    const { linux, process, root } = plan();
    const types = linux?.namespaces?.map(({ type }) => type);
    assert.deepEqual(types, ["mount", "network", "uts", "pid", "ipc", "cgroup"]);
    assert.equal(linux?.seccomp?.defaultAction, "SCMP_ACT_ERRNO");
    assert.ok(linux?.maskedPaths?.includes("/proc/kcore"));
    assert.equal(process?.cwd, "/w");
    assert.equal(root?.readonly, false);
    assert.deepEqual(process?.rlimits, [{ type: "RLIMIT_NOFILE", soft: 1024, hard: 20000 }]);
    assert.deepEqual(process?.capabilities?.inheritable, []);
  });
  it("gives other users no capabilities in effect", () => {
    const account = { uid: 5, gid: 5, additionalGids: [5], home: "/" };
    const { capabilities, user } = plan({}, { account }).process ?? {};
    assert.deepEqual(capabilities?.effective, []);
    assert.equal(capabilities?.bounding?.length, 14);
    assert.equal(user !== undefined && "home" in user, false);
  });
  it("--privileged opens everything", () => {
    const { linux, mounts } = plan({ privileged: true });
    assert.equal(linux?.seccomp, undefined);
    assert.equal(linux?.maskedPaths, undefined);
    assert.deepEqual(linux?.resources?.devices, [{ allow: true, access: "rwm" }]);
    assert.ok(mounts?.find(({ destination }) => destination === "/sys")?.options?.includes("rw"));
  });
  it("mounts parents before children, and the caller's instead of ours", () => {
    const { mounts = [] } = plan({
      mounts: [
        { type: "bind", source: "/b", target: "/data/b" },
        { type: "tmpfs", target: "/data", options: ["exec"], sizeBytes: 5, mode: 0o1777 },
        { type: "bind", source: "/h", target: "/etc/hosts", readOnly: true },
      ],
    });
    const targets = mounts.map(({ destination }) => destination);
    assert.ok(targets.indexOf("/data") < targets.indexOf("/data/b"));
    assert.equal(targets.filter((target) => target === "/etc/hosts").length, 1);
    const tmpfs = mounts.find(({ destination }) => destination === "/data");
    assert.deepEqual(tmpfs?.options, ["nosuid", "nodev", "exec", "size=5", "mode=1777"]);
    assert.deepEqual(mounts.at(targets.indexOf("/etc/hosts"))?.options, [
      "rbind",
      "rprivate",
      "ro",
    ]);
  });
  it("translates limits", () => {
    const { linux, process } = plan({
      memoryBytes: 64 << 20,
      cpus: 1.5,
      pidsLimit: 10,
      ulimits: [{ name: "core", soft: -1, hard: -1 }],
    });
    assert.deepEqual(linux?.resources?.memory, { limit: 64 << 20, swap: 128 << 20 });
    assert.deepEqual(linux?.resources?.cpu, { quota: 150000, period: 100000 });
    assert.deepEqual(linux?.resources?.pids, { limit: 10 });
    assert.equal(process?.rlimits?.[1]?.hard, 2 ** 64);
  });
  // biome-ignore format: table
  const bad: readonly (readonly [string, ContainerOptions, RegExp])[] = [
    ["more CPUs than there are", { cpus: 3 }, /expected 0.01 to 2/],
    ["too little memory", { memoryBytes: 1024 }, /at least 6m/],
    ["swap without memory", { memorySwapBytes: 1 }, /without --memory/],
    ["less swap than memory", { memoryBytes: 64 << 20, memorySwapBytes: 1 << 20 }, /less than memory/],
  ];
  for (const [why, options, message] of bad) {
    it(`refuses ${why}`, () => assert.throws(() => plan(options), message));
  }
});

it("VERSION is package.json's", () => {
  const text = readFileSync(new URL("../../package.json", import.meta.url), "utf8");
  assert.equal((JSON.parse(text) as { version: string }).version, VERSION);
});
