/**
 * config.json of a container in a machine, field by field: what is honoured is seen inside, what is not is
 * refused by name; docs/machine-config.md says which, and lists every field there is.
 */
import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import type { Linux, Process, RuntimeConfig } from "../../../oci/index.ts";
import { guestKernel, whyNoMachine } from "./guest-kernel.ts";
import { skipFor } from "./machine-world.ts";
import { OciMachines } from "./oci-machine.ts";

const page = readFileSync(new URL("../../../docs/machine-config.md", import.meta.url), "utf8");
const everyone = [
  "CAP_MKNOD",
  "CAP_DAC_OVERRIDE",
  "CAP_SYS_NICE",
  "CAP_SYS_ADMIN",
  "CAP_KILL",
  "CAP_SETUID",
];

interface Honoured {
  readonly field: string;
  /** Prints what is expected. */
  readonly script: string;
  readonly expect: RegExp;
}

/** Seen by root in the first machine. */
// biome-ignore format: table
const rootRows: readonly Honoured[] = [
  { field: "hostname", script: "hostname", expect: /^inside$/ },
  { field: "domainname", script: "cat /proc/sys/kernel/domainname", expect: /^example$/ },
  { field: "root.readonly", script: "touch /x 2>&1", expect: /Read-only file system/ },
  { field: "process.env", script: "echo $ONE", expect: /^two$/ },
  { field: "process.cwd", script: "pwd", expect: /^\/scratch$/ },
  { field: "process.oomScoreAdj", script: "cat /proc/1/oom_score_adj", expect: /^345$/ },
  { field: "process.scheduler", script: "awk '{print $41, $19}' /proc/1/stat", expect: /^3 5$/ },
  { field: "process.ioPriority", script: "ionice -p 1", expect: /^best-effort: prio 6$/ },
  { field: "mounts", script: "grep -c '/scratch tmpfs.*size=64k' /proc/mounts", expect: /^1$/ },
  { field: "linux.namespaces", script: "cat /proc/self/timens_offsets | tr -s ' '; awk '{print ($1 > 100000)}' /proc/uptime", expect: /boottime 100000 0\n1$/ },
  { field: "linux.timeOffsets", script: "awk '/monotonic/{print $2}' /proc/self/timens_offsets", expect: /^7$/ },
  { field: "linux.devices", script: "stat -c %F:%t:%T:%a:%u /dev/mine /dev/fifo", expect: /^character special file:a:e5:640:5\nfifo:0:0:600:0$/ },
  { field: "linux.resources.devices", script: "mknod mem c 1 1; cat mem 2>&1; mknod con c 229 0; (: > con) 2>&1; head -c 1 /dev/urandom | wc -c; (: > /dev/mine) 2>&1", expect: /^cat: can't open 'mem': Operation not permitted\n.*con: Operation not permitted\n1\n.*mine: Operation not permitted$/ },
  { field: "linux.resources.memory.limit", script: "cat /sys/fs/cgroup/memory.max", expect: /^134217728$/ },
  { field: "linux.resources.memory.reservation", script: "cat /sys/fs/cgroup/memory.low", expect: /^16777216$/ },
  { field: "linux.resources.pids", script: "cat /sys/fs/cgroup/pids.max", expect: /^77$/ },
  { field: "linux.resources.unified", script: "cat /sys/fs/cgroup/memory.high", expect: /^100663296$/ },
  { field: "linux.sysctl", script: "cat /proc/sys/net/ipv4/ip_default_ttl /proc/sys/kernel/msgmax", expect: /^77\n9999$/ },
  { field: "linux.maskedPaths", script: "cat /proc/version | wc -c", expect: /^0$/ },
  { field: "linux.readonlyPaths", script: "echo 1 > /proc/sys/vm/overcommit_memory", expect: /Read-only file system/ },
  { field: "linux.rootfsPropagation", script: "grep ' / / ' /proc/self/mountinfo | grep -c shared:", expect: /^1$/ },
  { field: "linux.personality", script: "uname -m", expect: /^i686$/ },
];

/** Seen by an ordinary user in the second. */
// biome-ignore format: table
const userRows: readonly Honoured[] = [
  { field: "process.args", script: "echo $0", expect: /^\/bin\/sh$/ },
  { field: "process.user", script: "id -u; id -g; umask; grep Groups /proc/self/status | tr -s '\\t ' ' '", expect: /^1234\n567\n0027\nGroups: 8 99 ?$/ },
  { field: "process.rlimits", script: "ulimit -Sn; ulimit -Hn", expect: /^123\n456$/ },
  { field: "process.capabilities", script: "awk '/CapBnd|CapAmb/{print $2}' /proc/self/status", expect: /^0000000000000020\n0000000000000020$/ },
  { field: "process.noNewPrivileges", script: "awk '/NoNewPrivs/{print $2}' /proc/self/status", expect: /^1$/ },
  { field: "linux.seccomp", script: "mkdir /scratch/d 2>&1", expect: /Permission denied|errno/ },
  { field: "vm.kernel.path", script: "echo runs", expect: /^runs$/ },
  { field: "vm.hwConfig.memory", script: "awk '/MemTotal/{print ($2 > 150000 && $2 < 200000)}' /proc/meminfo", expect: /^1$/ },
];

type Edit = (config: RuntimeConfig) => RuntimeConfig;
const linux = (more: Linux): Edit => {
  return (config) => ({ ...config, linux: { ...config.linux, ...more } });
};
const process_ = (more: Partial<Process>): Edit => {
  return (config) => ({ ...config, process: { cwd: "/", ...config.process, ...more } });
};
const bind = (options: readonly string[]): Edit => {
  const mount = {
    destination: "/mnt",
    type: "bind",
    source: "/tmp",
    options: ["rbind", ...options],
  };
  return (config) => ({ ...config, mounts: [...(config.mounts ?? []), mount] });
};
const namespace = (type: "user" | "pid" | "time", path?: string): Edit => {
  const own = { type, ...(path !== undefined && { path }) };
  return (config) =>
    linux({
      namespaces: [...(config.linux?.namespaces ?? []).filter((one) => one.type !== type), own],
    })(config);
};
const ids = [{ containerID: 0, hostID: 1000, size: 10 }];
const kernel = { path: "/boot/vmlinuz" };

// biome-ignore format: table
const refusedRows: readonly { readonly field: string; readonly edit: Edit; readonly says: RegExp }[] = [
  { field: "linux.namespaces: user", edit: (config) => linux({ uidMappings: ids, gidMappings: ids })(namespace("user")(config)), says: /user namespace/ },
  { field: "linux.namespaces: path", edit: namespace("pid", "/proc/1/ns/pid"), says: /another container's pid namespace/ },
  { field: "linux.devices: others", edit: linux({ devices: [{ type: "b", path: "/dev/sda", major: 8, minor: 0 }] }), says: /"\/dev\/sda"/ },
  { field: "linux.seccomp.listenerPath", edit: linux({ seccomp: { defaultAction: "SCMP_ACT_ALLOW", listenerPath: "/x" } }), says: /listenerPath/ },
  { field: "linux.resources.memory.disableOOMKiller", edit: linux({ resources: { memory: { disableOOMKiller: true } } }), says: /disableOOMKiller/ },
  { field: "linux.resources.memory.kernelTCP", edit: linux({ resources: { memory: { kernelTCP: 1000 } } }), says: /kernelTCP/ },
  { field: "linux.resources.network", edit: linux({ resources: { network: { classID: 5 } } }), says: /resources\.network/ },
  { field: "process.execCPUAffinity", edit: process_({ execCPUAffinity: { initial: "0" } }), says: /execCPUAffinity/ },
  { field: "hooks.startContainer", edit: (config) => ({ ...config, hooks: { startContainer: [{ path: "/bin/true" }] } }), says: /startContainer/ },
  { field: "mounts[].uidMappings", edit: (config) => ({ ...config, mounts: [{ destination: "/mnt", type: "bind", source: "/tmp", options: ["bind"], uidMappings: ids, gidMappings: ids }] }), says: /mounts\[0\]" maps IDs/ },
  { field: "mounts[].options", edit: bind(["rshared"]), says: /"rshared": mounts do not travel/ },
  { field: "mounts[].options", edit: bind(["rslave"]), says: /"rslave"/ },
  { field: "mounts[].type", edit: (config) => ({ ...config, mounts: [{ destination: "/mnt", type: "ext4", source: "/dev/sda" }] }), says: /"ext4", whose source is the host's/ },
  { field: "vm.hypervisor", edit: (config) => ({ ...config, vm: { kernel, hypervisor: { path: "/x" } } }), says: /vm\.hypervisor/ },
  { field: "vm.image", edit: (config) => ({ ...config, vm: { kernel, image: { path: "/x", format: "raw" } } }), says: /vm\.image/ },
  { field: "vm.kernel.initrd", edit: (config) => ({ ...config, vm: { kernel: { ...kernel, initrd: "/x" } } }), says: /vm\.kernel\.initrd/ },
  { field: "vm.kernel.parameters", edit: (config) => ({ ...config, vm: { kernel: { ...kernel, parameters: ["quiet"] } } }), says: /vm\.kernel\.parameters/ },
  { field: "vm.hwConfig.irqs", edit: (config) => ({ ...config, vm: { kernel, hwConfig: { irqs: [5] } } }), says: /vm\.hwConfig\.irqs/ },
];

describe("config.json in a machine", function () {
  this.timeout(120_000);
  let machines: OciMachines;

  before(function () {
    skipFor(this, process.getuid?.() === 0 ? whyNoMachine() : "containers of this suite need root");
    machines = new OciMachines();
  });
  after(() => machines?.[Symbol.dispose]());

  for (const { field, edit, says } of refusedRows)
    it(`refuses ${field} by name, and makes nothing`, () => {
      machines.configure("true", { config: edit });
      const { status, stderr } = machines.verb("create", "refused");
      assert.equal(status, 1, stderr);
      assert.match(stderr.replaceAll("\\", ""), says);
      assert.deepEqual(existsSync(machines.state) ? readdirSync(machines.state) : [], []);
      inPage(field, "refused");
    });

  it("what root can see", () => {
    machines.configure(scriptOf(rootRows), { config: rootConfig });
    checkRows(rootRows, machines.verb("run", "root"));
  });

  it("what an ordinary user can see", () => {
    machines.configure(scriptOf(userRows), { config: userConfig });
    checkRows(userRows, machines.run(["run", "user"], { kernel: "" }));
  });

  it("the host's cgroup has what the machine as a whole may take", () => {
    const resources = {
      cpu: { shares: 333, quota: 50_000, period: 100_000 },
      memory: { limit: 2 ** 27 },
      pids: { limit: 9 },
    };
    machines.configure("sleep 100", { config: linux({ resources }) });
    const pid = machines.create("limits");
    const limits = ["cpu.shares", "cpu.cfs_quota_us", "memory.limit_in_bytes", "pids.max"];
    const modern = ["cpu.weight", "cpu.max", "memory.max", "pids.max"];
    const isV1 = existsSync("/sys/fs/cgroup/memory/memory.limit_in_bytes");
    const values = (isV1 ? limits : modern).map((file) => readLimit(pid, file));
    const memory = String(2 ** 27 + 512 * 2 ** 20);
    assert.deepEqual(
      values,
      isV1 ? ["333", "50000", memory, "max"] : ["13", "50000 100000", memory, "max"],
    );
    machines.verb("delete", "--force", "limits");
    inPage("linux.resources.cpu", "honoured");
  });

  it("the page has every field of the specification's that is for Linux", () => {
    const source = new URL("../../../oci/", import.meta.url);
    const text = ["runtime-config.ts", "runtime-config-linux.ts"]
      .map((file) => readFileSync(new URL(file, source), "utf8"))
      .join("\n");
    const sections = [
      "RuntimeConfig",
      "Root",
      "Mount",
      "Process",
      "Hooks",
      "Linux",
      "Resources",
      "VirtualMachine",
    ];
    for (const section of sections) {
      const [, body = ""] = new RegExp(`interface ${section} \\{\n([^]*?)\n\\}`).exec(text) ?? [];
      const names = [...body.matchAll(/^ {2}readonly (\w+)\??:/gm)].map(([, name = ""]) => name);
      assert.ok(names.length > 1, section);
      for (const name of names)
        assert.match(page, new RegExp(`^\\|[^|]*\\b${name}\\b[^|]*\\|`, "m"), `${section}.${name}`);
    }
  });
});

function readLimit(pid: number, file: string): string {
  const [controller = ""] = file.split(".");
  const lines = readFileSync(`/proc/${pid}/cgroup`, "utf8").split("\n");
  const own = lines.find((line) => line.split(":")[1]?.split(",").includes(controller));
  const path = (own ?? lines.find((line) => line.startsWith("0::")) ?? "").split(":")[2] ?? "";
  const root = own === undefined ? "/sys/fs/cgroup" : `/sys/fs/cgroup/${controller}`;
  return readFileSync(`${root}${path}/${file}`, "utf8").trim();
}

/** Everything that a row prints comes behind its number. */
function scriptOf(rows: readonly Honoured[]): string {
  return rows.map(({ script }, index) => `echo "=== ${index}"; { ${script}; } 2>&1`).join("\n");
}

function checkRows(
  rows: readonly Honoured[],
  { stdout, stderr }: { readonly stdout: string; readonly stderr: string },
): void {
  const parts = stdout.split(/^=== \d+\n/m).slice(1);
  assert.equal(parts.length, rows.length, stderr);
  const wrong = rows.flatMap(({ field, expect }, index) => {
    inPage(field, "honoured");
    const seen = (parts[index] ?? "").trim();
    return expect.test(seen) ? [] : [`${field}: ${JSON.stringify(seen)}, expected ${expect}`];
  });
  assert.deepEqual(wrong, []);
}

/** docs/machine-config.md agrees; rows of it are "| field | class | …". */
function inPage(field: string, kind: "honoured" | "refused"): void {
  const line = page.split("\n").find((row) => row.startsWith("|") && row.includes(`\`${field}\``));
  assert.ok(line !== undefined, `docs/machine-config.md lacks ${field}`);
  assert.match(line.split("|")[2] ?? "", new RegExp(kind), line);
}

function rootConfig(config: RuntimeConfig): RuntimeConfig {
  const capabilities = { bounding: everyone, permitted: everyone, effective: everyone };
  return {
    ...config,
    hostname: "inside",
    domainname: "example",
    root: { path: "rootfs", readonly: true },
    process: {
      ...config.process,
      capabilities,
      oomScoreAdj: 345,
      cwd: "/scratch",
      env: [...(config.process?.env ?? []), "ONE=two"],
      scheduler: { policy: "SCHED_BATCH", nice: 5 },
      ioPriority: { class: "IOPRIO_CLASS_BE", priority: 6 },
    },
    mounts: [
      ...(config.mounts ?? []),
      {
        destination: "/scratch",
        type: "tmpfs",
        source: "tmpfs",
        options: ["size=64k", "mode=1777"],
      },
    ],
    linux: {
      ...config.linux,
      namespaces: [...(config.linux?.namespaces ?? []), { type: "time" }],
      timeOffsets: { boottime: { secs: 100_000 }, monotonic: { secs: 7 } },
      devices: [
        { type: "c", path: "/dev/mine", major: 10, minor: 229, fileMode: 0o640, uid: 5 },
        { type: "p", path: "/dev/fifo", fileMode: 0o600 },
      ],
      resources: {
        devices: [
          { allow: false, access: "rwm" },
          { allow: true, type: "c", major: 10, minor: 229, access: "r" },
        ],
        memory: { limit: 2 ** 27, reservation: 2 ** 24 },
        pids: { limit: 77 },
        unified: { "memory.high": String(96 * 2 ** 20) },
      },
      sysctl: { "net.ipv4.ip_default_ttl": "77", "kernel.msgmax": "9999" },
      maskedPaths: ["/proc/version"],
      readonlyPaths: ["/proc/sys"],
      rootfsPropagation: "shared",
      personality: { domain: "LINUX32" },
    },
  };
}

function userConfig(config: RuntimeConfig): RuntimeConfig {
  const kill = ["CAP_KILL"];
  return {
    ...config,
    process: {
      cwd: "/",
      ...config.process,
      user: { uid: 1234, gid: 567, umask: 0o27, additionalGids: [8, 99] },
      rlimits: [{ type: "RLIMIT_NOFILE", soft: 123, hard: 456 }],
      capabilities: {
        bounding: kill,
        permitted: kill,
        effective: kill,
        inheritable: kill,
        ambient: kill,
      },
      noNewPrivileges: true,
    },
    mounts: [
      ...(config.mounts ?? []),
      { destination: "/scratch", type: "tmpfs", source: "tmpfs", options: ["mode=1777"] },
    ],
    linux: {
      ...config.linux,
      seccomp: {
        defaultAction: "SCMP_ACT_ALLOW",
        syscalls: [{ names: ["mkdir"], action: "SCMP_ACT_ERRNO", errnoRet: 13 }],
      },
    },
    vm: { kernel: { path: guestKernel() }, hwConfig: { memory: 192 * 2 ** 20 } },
  };
}
