/** config-linux.md, "Control groups": where the container is put, and each limit. */
import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import type { BundleConfig } from "../bundle.ts";
import { cgroupDirectory, cgroupsOf } from "../leftovers.ts";
import { cgroupV1Only, cgroupV2Only, controller, usesCgroupV1 } from "../machine.ts";
import { CannotCheck, type Row, rowsOf } from "../row.ts";
import type { Trial } from "../trial.ts";

const path = rowsOf("config-linux.md, Cgroups Path");
const ownership = rowsOf("config-linux.md, Cgroup ownership");
const unified = rowsOf("config-linux.md, Unified");
const mounts = rowsOf("config.md, Mounts (cgroup)");

type Resources = NonNullable<BundleConfig["linux"]["resources"]>;

interface Limit {
  readonly id: string;
  readonly section: string;
  readonly resources: Resources;
  /** Controller, file, content under cgroup v1; absent when v1 has no such thing. */
  readonly v1?: readonly [controller: string, file: string, content: string];
  readonly v2?: readonly [controller: string, file: string, content: string];
}

const MiB = 1024 * 1024;

// biome-ignore format: table
const limits: readonly Limit[] = [
  { id: "memory-limit", section: "Memory", resources: { memory: { limit: 64 * MiB } },
    v1: ["memory", "memory.limit_in_bytes", "67108864"], v2: ["memory", "memory.max", "67108864"] },
  { id: "memory-reservation", section: "Memory", resources: { memory: { reservation: 32 * MiB } },
    v1: ["memory", "memory.soft_limit_in_bytes", "33554432"], v2: ["memory", "memory.low", "33554432"] },
  { id: "memory-swap", section: "Memory", resources: { memory: { limit: 64 * MiB, swap: 96 * MiB } },
    v1: ["memory", "memory.memsw.limit_in_bytes", "100663296"], v2: ["memory", "memory.swap.max", "33554432"] },
  { id: "memory-unlimited", section: "Memory", resources: { memory: { limit: -1 } },
    v1: ["memory", "memory.limit_in_bytes", "9223372036854771712"], v2: ["memory", "memory.max", "max"] },
  { id: "memory-kernel-tcp", section: "Memory", resources: { memory: { kernelTCP: 16 * MiB } },
    v1: ["memory", "memory.kmem.tcp.limit_in_bytes", "16777216"] },
  { id: "memory-swappiness", section: "Memory", resources: { memory: { swappiness: 7 } },
    v1: ["memory", "memory.swappiness", "7"] },
  { id: "memory-swappiness-zero", section: "Memory", resources: { memory: { swappiness: 0 } },
    v1: ["memory", "memory.swappiness", "0"] },
  { id: "cpu-shares", section: "CPU", resources: { cpu: { shares: 512 } },
    v1: ["cpu", "cpu.shares", "512"], v2: ["cpu", "cpu.weight", "20"] },
  { id: "cpu-quota", section: "CPU", resources: { cpu: { quota: 25_000, period: 50_000 } },
    v1: ["cpu", "cpu.cfs_quota_us", "25000"], v2: ["cpu", "cpu.max", "25000 50000"] },
  { id: "cpu-period", section: "CPU", resources: { cpu: { period: 50_000 } },
    v1: ["cpu", "cpu.cfs_period_us", "50000"], v2: ["cpu", "cpu.max", "max 50000"] },
  { id: "cpu-burst", section: "CPU", resources: { cpu: { quota: 50_000, period: 100_000, burst: 20_000 } },
    v1: ["cpu", "cpu.cfs_burst_us", "20000"], v2: ["cpu", "cpu.max.burst", "20000"] },
  { id: "cpu-idle", section: "CPU", resources: { cpu: { idle: 1 } },
    v1: ["cpu", "cpu.idle", "1"], v2: ["cpu", "cpu.idle", "1"] },
  { id: "cpuset-cpus", section: "CPU", resources: { cpu: { cpus: "0" } },
    v1: ["cpuset", "cpuset.cpus", "0"], v2: ["cpuset", "cpuset.cpus", "0"] },
  { id: "cpuset-mems", section: "CPU", resources: { cpu: { mems: "0" } },
    v1: ["cpuset", "cpuset.mems", "0"], v2: ["cpuset", "cpuset.mems", "0"] },
  { id: "pids-limit", section: "PIDs", resources: { pids: { limit: 42 } },
    v1: ["pids", "pids.max", "42"], v2: ["pids", "pids.max", "42"] },
  { id: "pids-unlimited", section: "PIDs", resources: { pids: { limit: -1 } },
    v1: ["pids", "pids.max", "max"], v2: ["pids", "pids.max", "max"] },
  { id: "blkio-weight", section: "Block IO", resources: { blockIO: { weight: 100 } },
    v1: ["blkio", "blkio.weight", "100"], v2: ["io", "io.bfq.weight", "default 100"] },
  { id: "hugepage-limit", section: "Huge page limits", resources: { hugepageLimits: [{ pageSize: "2MB", limit: 4 * MiB }] },
    v1: ["hugetlb", "hugetlb.2MB.limit_in_bytes", "4194304"], v2: ["hugetlb", "hugetlb.2MB.max", "4194304"] },
  { id: "net-class", section: "Network", resources: { network: { classID: 1_048_577 } },
    v1: ["net_cls", "net_cls.classid", "1048577"] },
];

function limitRow({ id, section, resources, v1, v2 }: Limit): Row {
  const row = rowsOf(`config-linux.md, ${section}`);
  const [name = ""] = v1 ?? v2 ?? [];
  const claim = `${id.replaceAll("-", " ")} is written to the container's cgroup`;
  const needs = [controller(name, v2?.[0] ?? name), ...(v2 === undefined ? [cgroupV1Only] : [])];
  async function check(t: Trial): Promise<void> {
    const wanted = usesCgroupV1(t.machine) ? v1 : v2;
    if (wanted === undefined) throw new CannotCheck("this cgroup version has no such limit");
    const [controllerName, file, content] = wanted;
    needsFile(t, controllerName, file);
    const container = await t.create("sleep 100", (config) => {
      config.linux.resources = { ...config.linux.resources, ...resources };
    });
    const seen = readFileSync(join(cgroupDirectory(t, controllerName), file), "utf8").trim();
    assert.equal(seen, content);
    await container.start();
    assert.equal(await container.status(), "running");
  }
  return row("MUST", id, claim, check, { needs });
}

/** With systemd cgroupsPath is no path but names a unit. */
function needsPaths(t: Trial): void {
  if (t.usesSystemd) throw new CannotCheck("systemd makes the cgroups");
}

/** Whether the kernel was built with the limit shows in any cgroup below the root. */
function needsFile(t: Trial, controllerName: string, file: string): void {
  if (!usesCgroupV1(t.machine) && !file.startsWith("io.")) return; // the controller has all its files
  const base = t.machine.cgroupV1.get(controllerName) ?? t.machine.cgroup2?.path ?? "";
  const inRoot = existsSync(join(base, file));
  const inSome = readdirSync(base, { withFileTypes: true }).some(
    (entry) => entry.isDirectory() && existsSync(join(base, entry.name, file)),
  );
  if (!inRoot && !inSome && /weight|hugetlb/.test(file))
    throw new CannotCheck(`the kernel has no ${file}`);
}

/** A whole disk, for throttling. */
function firstDisk(): readonly [major: number, minor: number] {
  for (const name of readdirSync("/sys/block")) {
    if (/^(loop|ram|zram)/.test(name)) continue;
    const [major = 0, minor = 0] = readFileSync(`/sys/block/${name}/dev`, "utf8")
      .split(":")
      .map(Number);
    return [major, minor];
  }
  throw new CannotCheck("the machine has no disk");
}

const throttles = [
  ["throttleReadBpsDevice", "read_bps_device", "rbps"],
  ["throttleWriteBpsDevice", "write_bps_device", "wbps"],
  ["throttleReadIOPSDevice", "read_iops_device", "riops"],
  ["throttleWriteIOPSDevice", "write_iops_device", "wiops"],
] as const;

export const cgroupRows: readonly Row[] = [
  path(
    "MUST",
    "cgroup-absolute",
    "an absolute cgroupsPath is relative to each hierarchy's mount point",
    async (t) => {
      const container = await t.create();
      for (const base of new Set(t.machine.cgroupV1.values())) {
        const procs = readFileSync(join(base, t.cgroupsPath, "cgroup.procs"), "utf8");
        assert.ok(procs.split("\n").includes(String(container.pid)), base);
      }
      assert.match(container.proc("cgroup"), new RegExp(`:${t.cgroupsPath}\n`));
    },
  ),
  path("MUST", "cgroup-consistent", "the same cgroupsPath leads to the same cgroup", async (t) => {
    const first = await t.started("true");
    await first.exited();
    const paths = cgroupsOf(t);
    await first.delete();
    await t.create("true");
    assert.deepEqual(cgroupsOf(t), paths);
  }),
  path(
    "MUST",
    "cgroup-absent",
    "without cgroupsPath the container still gets a cgroup of its own",
    async (t) => {
      const container = await t.create("sleep 100", (config) => {
        delete config.linux.cgroupsPath;
      });
      const line =
        container
          .proc("cgroup")
          .split("\n")
          .find((text) => /pids|^0::/.test(text)) ?? "";
      assert.match(line, new RegExp(container.id));
    },
  ),
  path(
    "MUST",
    "cgroup-deep",
    "a cgroupsPath with several new folders is made, and the container's own removed",
    async (t) => {
      needsPaths(t);
      const container = await t.started("true", (config) => {
        config.linux.cgroupsPath = `${t.cgroupsPath}/a/b`;
      });
      await container.exited();
      await container.delete();
      for (const found of cgroupsOf(t)) assert.ok(!existsSync(join(found, "a/b")), found);
      // Which folders above it go as well is the runtime's choice; the row removes the rest.
      const { rmdirSync } = await import("node:fs");
      for (const found of cgroupsOf(t))
        for (const part of ["a", ""])
          if (existsSync(join(found, part))) rmdirSync(join(found, part));
    },
  ),
  path(
    "MUST",
    "cgroup-children",
    "what the program starts is in the container's cgroup",
    async (t) => {
      const container = await t.started("sleep 100 & sleep 100");
      const lines = (await container.exec("cat /proc/1/cgroup; cat /proc/self/cgroup")).split("\n");
      // Beside v1's hierarchies, whether to use a cgroup2 without controllers is the runtime's choice.
      const counted = lines.filter((line) => !usesCgroupV1(t.machine) || !line.startsWith("0::"));
      for (const line of counted) assert.match(line, new RegExp(t.cgroupsPath));
    },
  ),
  path(
    "MUST",
    "cgroup-escape",
    "a cgroupsPath with .. does not leave the hierarchy's root",
    async (t) => {
      needsPaths(t);
      const { outcome, container } = await t.tryCreate("sleep 100", (config) => {
        config.linux.cgroupsPath = `/../../..${t.cgroupsPath}`;
      });
      if (outcome.status !== 0) return;
      assert.match(container.proc("cgroup"), new RegExp(`:${t.cgroupsPath}\n`));
    },
  ),

  ...limits.map(limitRow),

  rowsOf("config-linux.md, Memory")(
    "MUST",
    "memory-oom-disabled",
    "disableOOMKiller disables the OOM killer of the cgroup",
    async (t) => {
      await t.create("sleep 100", (config) => {
        Object.assign(config.linux.resources ?? {}, {
          memory: { limit: 64 * MiB, disableOOMKiller: true },
        });
      });
      assert.match(
        readFileSync(join(cgroupDirectory(t, "memory"), "memory.oom_control"), "utf8"),
        /oom_kill_disable 1/,
      );
    },
    { needs: [cgroupV1Only, controller("memory")] },
  ),
  rowsOf("config-linux.md, Memory")(
    "MUST",
    "memory-enforced",
    "a program that takes more than the limit is killed",
    async (t) => {
      const container = await t.started(
        "x=$(head -c 40000000 /dev/zero | tr '\\0' x); echo survived",
        (config) => {
          Object.assign(config.linux.resources ?? {}, {
            memory: { limit: 16 * MiB, swap: 16 * MiB },
          });
        },
      );
      await container.exited();
      assert.doesNotMatch(container.output, /survived/);
      const file = usesCgroupV1(t.machine) ? "memory.oom_control" : "memory.events";
      const seen = readFileSync(join(cgroupDirectory(t, "memory"), file), "utf8");
      assert.match(seen, /^oom_kill [1-9]/m);
    },
    { needs: [controller("memory")] },
  ),
  rowsOf("config-linux.md, PIDs")(
    "MUST",
    "pids-enforced",
    "forking beyond the limit fails",
    async (t) => {
      const { stdout, stderr } = await t.run(
        "for i in 1 2 3 4 5 6 7 8; do sleep 5 & done; echo no limit",
        (config) => {
          Object.assign(config.linux.resources ?? {}, { pids: { limit: 4 } });
        },
      );
      assert.match(stdout + stderr, /Resource temporarily unavailable|can't fork/);
    },
    { needs: [controller("pids")] },
  ),
  rowsOf("config-linux.md, PIDs")(
    "SHOULD",
    "pids-zero",
    "a limit of 0 is a limit",
    async (t) => {
      await t.create("sleep 100", (config) => {
        Object.assign(config.linux.resources ?? {}, { pids: { limit: 0 } });
      });
      assert.equal(readFileSync(join(cgroupDirectory(t, "pids"), "pids.max"), "utf8").trim(), "0");
    },
    { needs: [controller("pids")] },
  ),
  ...throttles.map(([property, v1File, v2Key]) =>
    rowsOf("config-linux.md, Block IO")(
      "MUST",
      `blkio-${v1File.replaceAll("_", "-")}`,
      `${property} is written for its device`,
      async (t) => {
        const [major, minor] = firstDisk();
        await t.create("sleep 100", (config) => {
          Object.assign(config.linux.resources ?? {}, {
            blockIO: { [property]: [{ major, minor, rate: 600_000 }] },
          });
        });
        const v1 = usesCgroupV1(t.machine);
        const file = join(cgroupDirectory(t, "blkio"), v1 ? `blkio.throttle.${v1File}` : "io.max");
        const content = readFileSync(file, "utf8").trim();
        assert.match(
          content,
          new RegExp(v1 ? `^${major}:${minor} 600000$` : `^${major}:${minor} .*${v2Key}=600000`),
        );
      },
      { needs: [controller("blkio", "io")] },
    ),
  ),
  rowsOf("runtime.md, Create")(
    "MUST",
    "cgroup-missing-controller",
    "a limit whose controller has no hierarchy is refused",
    async (t) => {
      await t.refused((config) => {
        Object.assign(config.linux.resources ?? {}, { network: { classID: 7 } });
      });
    },
    { needs: [(machine) => (machine.cgroupV1.has("net_cls") ? "net_cls is mounted" : undefined)] },
  ),
  rowsOf("runtime.md, Create")(
    "MUST",
    "cgroup-bad-value",
    "a limit that the kernel refuses is an error that leaves nothing",
    async (t) => {
      await t.refused((config) => {
        Object.assign(config.linux.resources ?? {}, { cpu: { cpus: "4000" } });
      });
      assert.deepEqual(cgroupsOf(t), []);
    },
    { needs: [controller("cpuset")] },
  ),

  ownership(
    "SHOULD",
    "cgroup-owner-v1",
    "under cgroup v1 the cgroup keeps its owner",
    async (t) => {
      await t.create("sleep 100", (config) => {
        config.linux.namespaces.push({ type: "user" }, { type: "cgroup" });
        config.linux.uidMappings = [{ containerID: 0, hostID: 100_000, size: 1000 }];
        config.linux.gidMappings = [{ containerID: 0, hostID: 100_000, size: 1000 }];
      });
      assert.equal(statSync(cgroupDirectory(t, "memory")).uid, 0);
    },
    { needs: [cgroupV1Only, controller("memory")] },
  ),
  ownership(
    "SHOULD",
    "cgroup-owner-v2",
    "with a cgroup namespace and a writable cgroup mount the container owns its cgroup and the delegated files",
    async (t) => {
      await t.create("sleep 100", (config) => {
        config.linux.namespaces.push({ type: "user" }, { type: "cgroup" });
        config.linux.uidMappings = [{ containerID: 0, hostID: 100_000, size: 1000 }];
        config.linux.gidMappings = [{ containerID: 0, hostID: 100_000, size: 1000 }];
        config.mounts.push({ destination: "/sys/fs/cgroup", type: "cgroup", source: "cgroup" });
      });
      const directory = cgroupDirectory(t, "memory");
      assert.equal(statSync(directory).uid, 100_000);
      assert.equal(statSync(join(directory, "cgroup.procs")).uid, 100_000);
      assert.equal(statSync(join(directory, "memory.max")).uid, 0);
    },
    { needs: [cgroupV2Only] },
  ),

  unified(
    "MUST",
    "unified-missing-controller",
    "unified settings of a controller that cgroup2 does not have are refused",
    async (t) => {
      await t.refused((config) => {
        Object.assign(config.linux.resources ?? {}, { unified: { "memory.max": "67108864" } });
      });
    },
    {
      needs: [
        (machine) =>
          machine.cgroup2?.controllers.includes("memory") ? "cgroup2 has memory" : undefined,
      ],
    },
  ),
  unified(
    "MUST",
    "unified-value",
    "unified settings are written as they are",
    async (t) => {
      await t.create("sleep 100", (config) => {
        Object.assign(config.linux.resources ?? {}, {
          unified: { "memory.high": "33554432", "pids.max": "77" },
        });
      });
      const directory = cgroupDirectory(t, "memory");
      assert.equal(readFileSync(join(directory, "memory.high"), "utf8").trim(), "33554432");
      assert.equal(readFileSync(join(directory, "pids.max"), "utf8").trim(), "77");
    },
    { needs: [cgroupV2Only, controller("memory")] },
  ),

  mounts(
    "MUST",
    "cgroup-mount",
    "a mount of type cgroup shows the container's own cgroups, read-only when asked",
    async (t) => {
      const out = await t.probe(
        "cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes memory.max 2>/dev/null; cd memory 2>/dev/null; mkdir x 2>&1 | grep -c Read-only; cat /proc/self/mountinfo | grep -c 'cgroup'",
        (config) => {
          Object.assign(config.linux.resources ?? {}, { memory: { limit: 48 * MiB } });
          config.mounts.push({
            destination: "/sys/fs/cgroup",
            type: "cgroup",
            source: "cgroup",
            options: ["nosuid", "noexec", "nodev", "relatime", "ro"],
          });
        },
      );
      const [limit, refused, count] = out.split("\n");
      assert.equal(limit, "50331648");
      assert.equal(refused, "1");
      assert.ok(Number(count) > 0);
    },
    { needs: [controller("memory")] },
  ),
];
