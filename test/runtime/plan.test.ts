import assert from "node:assert/strict";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { encodeElf, formatRow, type Program } from "../../linux/index.ts";
import type { RuntimeConfig } from "../../oci/index.ts";
import { everyCapability } from "../../runtime/capabilities.ts";
import { planExec } from "../../runtime/exec.ts";
import { dockerSeccompProfile } from "../../runtime/index.ts";
import { type LaunchContext, planLaunch } from "../../runtime/launch/plan.ts";
import { checkConfig } from "../../runtime/validate.ts";
import { exampleConfig } from "../../runtime/verbs/spec.ts";

const context: LaunchContext = {
  rootfs: "/bundle/rootfs",
  sync: 9,
  cgroupFds: [4, 5],
  joined: new Map(),
  keyring: "_ses.id",
  preserveFds: 0,
  noPivot: false,
  hooks: false,
  grantable: everyCapability,
  hasKcore: true,
  rootless: false,
  cgroups: { version: 2 },
  isProcfs: () => false,
  isDirectory: (source) => !source.endsWith(".conf"),
  resolveInRoot: (path) =>
    ["/", "/proc", "/dev", "/sys", "/etc"].includes(path) ? path : undefined,
};

function assertGolden(name: string, program: Program): void {
  const text = program.rows.map((row) => `${formatRow(row)}\n`).join("");
  const path = new URL(`golden/${name}`, import.meta.url);
  if (process.env["BLESS"] === "1") {
    mkdirSync(new URL("golden/", import.meta.url), { recursive: true });
    writeFileSync(path, text);
  }
  assert.equal(text, readFileSync(path, "utf8"), `${name} differs; BLESS=1 accepts it`);
}

describe("planLaunch()", () => {
  it("compiles the example configuration to the program in the golden file", () => {
    const plan = planLaunch(exampleConfig(), context);
    assertGolden("example.txt", plan.program);
    assert.equal(plan.cloneFlags, 0x6c020000, "pid, net, ipc, uts and mount in one clone");
  });

  it("compiles a container with everything: terminal, user namespace, hooks, seccomp, create", () => {
    const base = exampleConfig();
    const mapping = [{ containerID: 0, hostID: 100_000, size: 65_536 }];
    const config: RuntimeConfig = {
      ...base,
      process: {
        ...base.process,
        cwd: "/work",
        args: ["server", "--fast"],
        user: { uid: 7, gid: 8, additionalGids: [9] },
        consoleSize: { height: 24, width: 80 },
        noNewPrivileges: false,
        oomScoreAdj: 100,
      },
      mounts: [
        ...(base.mounts ?? []),
        { destination: "/etc/app.conf", source: "/host/app.conf", options: ["bind", "ro"] },
        { destination: "/data", source: "/host/data", options: ["rbind", "rslave", "rnoexec"] },
      ],
      linux: {
        ...base.linux,
        namespaces: [...(base.linux?.namespaces ?? []), { type: "user" }, { type: "time" }],
        uidMappings: mapping,
        gidMappings: mapping,
        timeOffsets: { boottime: { secs: 5 } },
        sysctl: { "net.ipv4.ip_forward": "1" },
        seccomp: dockerSeccompProfile(),
      },
    };
    checkConfig(config);
    const plan = planLaunch(config, { ...context, hooks: true, console: 8, start: 10 });
    assertGolden("everything.txt", plan.program);
    assert.equal(plan.cloneFlags, 0, "namespaces are made by the program's own second clone");
  });

  it("compiles exec to the program in the golden file", () => {
    const config = exampleConfig();
    const process = { ...config.process, cwd: "/", terminal: true, args: ["sh"] };
    const program = planExec(
      { config, owner: 0 },
      { process, console: { number: 8 } },
      { sync: 9, target: 4, flags: 0x2c020000, joinsUser: false, grantable: 0n, entrances: [5] },
    );
    assertGolden("exec.txt", program);
  });

  it("labels the process first and every new file system; and waits where systemd moves it", () => {
    const base = exampleConfig();
    const config: RuntimeConfig = {
      ...base,
      process: {
        cwd: "/",
        ...base.process,
        apparmorProfile: "strict",
        selinuxLabel: "u:r:t:s0",
      },
      linux: { ...base.linux, mountLabel: "u:r:f:s0:c1,c2", rootfsPropagation: "shared" },
    };
    const { program } = planLaunch(config, {
      ...context,
      labelsMounts: true,
      awaitsCgroup: true,
      mountAbove: "/above",
    });
    assertGolden("labels.txt", program);
  });

  it("joins each namespace or fails: the attempt after the user namespace is strict", () => {
    const config = exampleConfig();
    const namespaces = [
      { type: "user", path: "/ns/user" },
      { type: "network", path: "/ns/net" },
      { type: "mount" },
    ] as const;
    const joined = new Map([["user", 20] as const, ["network", 21] as const]);
    const { program } = planLaunch({ ...config, linux: { namespaces } }, { ...context, joined });
    const attempts = program.rows.flatMap((row) =>
      "call" in row && row.call === "setns" ? [[row.args[0], row.ignore]] : [],
    );
    assert.deepEqual(attempts, [
      [21, ["EPERM"]],
      [20, undefined],
      [21, undefined],
    ]);
  });

  it("refuses what is mounted over /proc (CVE-2019-16884)", () => {
    const config = exampleConfig();
    const over = (destination: string, type = "tmpfs") => ({ destination, type, source: type });
    for (const [why, mount] of [
      ["another file system", over("/proc")],
      ["inside it", over("/proc/self/attr")],
      ["by another name", over("/x/../proc/sys")],
    ] as const) {
      const mounts = [...(config.mounts ?? []), mount];
      assert.throws(() => planLaunch({ ...config, mounts }, context), /inside \/proc/, why);
    }
    const mounts = [...(config.mounts ?? []), over("/proc/uptime")];
    assert.ok(planLaunch({ ...config, mounts }, context));
  });

  it("stays small: the whole program of a container is a few pages", () => {
    const config = exampleConfig();
    const linux = { ...config.linux, seccomp: dockerSeccompProfile() };
    const bytes = encodeElf(planLaunch({ ...config, linux }, context).program);
    assert.ok(bytes.length < 48 * 1024, `${bytes.length} bytes`);
  });
});

/** Deterministic mutations of a valid configuration: planning throws a clear error or a program. */
describe("config.json that makes no sense", () => {
  const strange: readonly unknown[] = [
    null,
    0,
    -1,
    "",
    "\0",
    "..",
    [],
    {},
    true,
    2 ** 60,
    ["x"],
    "/",
  ];

  it("never makes planning fail with anything but an Error", function () {
    this.timeout(20_000);
    let state = 12345;
    const random = (below: number) => {
      state = (Math.imul(state, 1103515245) + 12345) >>> 0;
      return (state >>> 8) % below;
    };
    const mutate = (value: unknown): unknown => {
      if (random(12) === 0) return strange[random(strange.length)];
      if (Array.isArray(value)) return value.map(mutate);
      if (typeof value !== "object" || value === null) return value;
      return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, mutate(inner)]));
    };
    let refused = 0;
    for (let round = 0; round < 400; round += 1) {
      const config = mutate(exampleConfig()) as RuntimeConfig; // SAFE: wrong on purpose
      try {
        checkConfig(config);
        encodeElf(planLaunch(config, context).program);
      } catch (error) {
        assert.ok(error instanceof Error);
        refused += 1;
      }
    }
    assert.ok(refused > 100 && refused < 400, `${refused} refused`);
  });
});
