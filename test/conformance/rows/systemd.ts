/** `--systemd-cgroup`: the container is a scope of systemd's, with its limits as properties. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { cgroupDirectory } from "../leftovers.ts";
import { cgroupV2Only, file, noFile, systemd, usesCgroupV1 } from "../machine.ts";
import { until } from "../processes.ts";
import { type Row, rowsOf } from "../row.ts";
import type { Trial } from "../trial.ts";

const row = rowsOf("engines, --systemd-cgroup");
const needs = { needs: [systemd] };
const onV2 = { needs: [systemd, cgroupV2Only] };

function systemctl(...args: readonly string[]): string {
  const { stdout, stderr, status } = spawnSync("systemctl", args, { encoding: "utf8" });
  assert.equal(status, 0, `systemctl ${args.join(" ")}: ${stderr}`);
  return stdout.trim();
}

/** The unit's properties, by name. */
function show(unit: string, ...names: readonly string[]): Readonly<Record<string, string>> {
  const lines = systemctl("show", unit, "--property", names.join(",")).split("\n");
  return Object.fromEntries(lines.map((line) => line.split(/=(.*)/s).slice(0, 2)));
}

function limited(t: Trial) {
  t.useSystemd();
  return t.started("sleep 100", (config) => {
    config.linux.resources = {
      ...config.linux.resources,
      memory: { limit: 64 << 20 },
      cpu: { quota: 25_000, period: 50_000, shares: 512 },
      pids: { limit: 42 },
    };
  });
}

function limitOf(t: Trial, controller: string, v1: string, v2: string): string {
  const file = usesCgroupV1(t.machine) ? v1 : v2;
  return readFileSync(join(cgroupDirectory(t, controller), file), "utf8").trim();
}

export const systemdRows: readonly Row[] = [
  row(
    "contract",
    "systemd-scope",
    "slice:prefix:name makes prefix-name.scope in the slice, delegated, with the container in it",
    async (t) => {
      t.useSystemd();
      const container = await t.started("sleep 200 & sleep 100");
      assert.match(container.proc("cgroup"), new RegExp(`:${t.cgroupsPath}\n`));
      const seen = show(t.unit, "ActiveState", "Slice", "Delegate", "DefaultDependencies");
      const slice = t.cgroupsPath.split("/")[1];
      assert.deepEqual(seen, {
        ActiveState: "active",
        Slice: slice,
        Delegate: "yes",
        DefaultDependencies: "no",
      });
    },
    needs,
  ),
  row(
    "contract",
    "systemd-deep-slice",
    "a slice with dashes lies in the slices that its name begins with",
    async (t) => {
      t.useSystemd();
      const name = `${process.pid}-deep`;
      const container = await t.started("sleep 100", (config) => {
        config.linux.cgroupsPath = `mwconformance-a-b.slice:mw:${name}`;
      });
      const path = `/mwconformance.slice/mwconformance-a.slice/mwconformance-a-b.slice/mw-${name}.scope`;
      assert.match(container.proc("cgroup"), new RegExp(`:${path}\n`));
    },
    needs,
  ),
  row(
    "contract",
    "systemd-default-slice",
    "without cgroupsPath the scope is in system.slice and named for the container",
    async (t) => {
      t.useSystemd();
      const container = await t.started("sleep 100", (config) => {
        delete config.linux.cgroupsPath;
      });
      assert.match(
        container.proc("cgroup"),
        new RegExp(`:/system\\.slice/[a-z]+-${container.id}\\.scope\n`),
      );
    },
    needs,
  ),
  row(
    "contract",
    "systemd-properties",
    "limits are properties of the scope",
    async (t) => {
      await limited(t);
      const names = ["MemoryMax", "CPUQuotaPerSecUSec", "CPUWeight", "TasksMax"];
      assert.deepEqual(show(t.unit, ...names), {
        MemoryMax: String(64 << 20),
        CPUQuotaPerSecUSec: "500ms",
        CPUWeight: "20",
        TasksMax: "42",
      });
    },
    onV2,
  ),
  row(
    "contract",
    "systemd-reload",
    "limits are still in force after systemctl daemon-reload",
    async (t) => {
      await limited(t);
      systemctl("daemon-reload");
      assert.equal(limitOf(t, "memory", "memory.limit_in_bytes", "memory.max"), String(64 << 20));
      assert.equal(limitOf(t, "pids", "pids.max", "pids.max"), "42");
      assert.match(limitOf(t, "cpu", "cpu.cfs_quota_us", "cpu.max"), /^25000( 50000)?$/);
    },
    needs,
  ),
  row(
    "contract",
    "systemd-update",
    "update changes property and file",
    async (t) => {
      const container = await limited(t);
      await t.ok(["update", "--pids-limit", "77", "--memory", String(96 << 20), container.id]);
      assert.equal(show(t.unit, "TasksMax")["TasksMax"], "77");
      assert.equal(limitOf(t, "pids", "pids.max", "pids.max"), "77");
      assert.equal(limitOf(t, "memory", "memory.limit_in_bytes", "memory.max"), String(96 << 20));
    },
    needs,
  ),
  row(
    "contract",
    "systemd-cpuset",
    "CPUs and memory nodes are properties of the scope",
    async (t) => {
      t.useSystemd();
      await t.started("sleep 100", (config) => {
        Object.assign(config.linux.resources ?? {}, { cpu: { cpus: "0", mems: "0" } });
      });
      assert.deepEqual(show(t.unit, "AllowedCPUs", "AllowedMemoryNodes"), {
        AllowedCPUs: "0",
        AllowedMemoryNodes: "0",
      });
    },
    onV2,
  ),
  row(
    "contract",
    "systemd-devices-reload",
    "a device that is not allowed stays out of reach after systemctl daemon-reload",
    async (t) => {
      t.useSystemd();
      const container = await t.started("sleep 100", (config) => {
        config.linux.devices = [{ type: "c", path: "/dev/kmsg-here", major: 1, minor: 11 }];
      });
      systemctl("daemon-reload");
      const seen = await container.exec(
        "(: < /dev/kmsg-here) 2>&1; : < /dev/null && echo null opens",
      );
      assert.match(seen, /not permitted/);
      assert.match(seen, /null opens/);
    },
    needs,
  ),
  row(
    "contract",
    "systemd-exec",
    "exec puts the process into the scope",
    async (t) => {
      t.useSystemd();
      const container = await t.started();
      const lines = (await container.exec("cat /proc/self/cgroup")).split("\n");
      for (const line of lines.filter((one) => !usesCgroupV1(t.machine) || !one.startsWith("0::")))
        assert.match(line, new RegExp(`:${t.cgroupsPath}$`));
    },
    needs,
  ),
  row(
    "contract",
    "systemd-delete",
    "delete leaves no unit, also when the OOM killer has made the scope fail",
    async (t) => {
      t.useSystemd();
      const container = await t.started(
        "x=$(head -c 40000000 /dev/zero | tr '\\0' x); echo survived",
        (config) => {
          const memory = { limit: 16 << 20, swap: 16 << 20 };
          Object.assign(config.linux.resources ?? {}, { memory });
        },
      );
      await container.exited();
      await container.delete();
      assert.equal(show(t.unit, "LoadState")["LoadState"], "not-found");
    },
    needs,
  ),
  row(
    "contract",
    "systemd-killed",
    "delete --force of a running container ends its scope at once",
    async (t) => {
      t.useSystemd();
      const container = await t.started("trap '' TERM; sleep 100 & while :; do wait; done");
      await container.delete(["--force"]);
      await until("the unit is gone", () => show(t.unit, "LoadState")["LoadState"] === "not-found");
    },
    needs,
  ),
  row(
    "contract",
    "systemd-name-taken",
    "a scope that exists already is an error that leaves the first container alone",
    async (t) => {
      t.useSystemd();
      const first = await t.started();
      const { outcome } = await t.tryCreate("sleep 100");
      assert.notEqual(outcome.status, 0);
      assert.match(outcome.stderr, /exists|already/i);
      assert.equal(await first.status(), "running");
    },
    needs,
  ),
  row(
    "contract",
    "systemd-path-refused",
    "a cgroupsPath that is a path is refused",
    async (t) => {
      t.useSystemd();
      await t.refused((config) => {
        config.linux.cgroupsPath = "/some/path";
      }, /slice:prefix:name/);
    },
    needs,
  ),
  row(
    "contract",
    "systemd-failed-create",
    "a create that fails later leaves no unit",
    async (t) => {
      t.useSystemd();
      await t.refused((config) => {
        config.mounts.push({ destination: "/mnt", type: "nothing", source: "nothing" });
      });
      await until("the unit is gone", () => show(t.unit, "LoadState")["LoadState"] === "not-found");
    },
    needs,
  ),
  row(
    "contract",
    "systemd-message-bus",
    "where systemd's own socket cannot be reached the message bus is the way",
    async (t) => {
      t.useSystemd();
      const hide = 'mount --bind /dev/null /run/systemd/private && exec "$@"';
      t.callThrough(["unshare", "-m", "--propagation", "slave", "sh", "-c", hide, "sh"], 0);
      const container = await t.started();
      assert.match(container.proc("cgroup"), new RegExp(`:${t.cgroupsPath}\n`));
      await container.delete(["--force"]);
      await until("the unit is gone", () => show(t.unit, "LoadState")["LoadState"] === "not-found");
    },
    { needs: [systemd, file("/run/dbus/system_bus_socket", "no message bus runs")] },
  ),
  row(
    "contract",
    "systemd-annotation",
    "org.systemd.property.NAME is set on the scope",
    async (t) => {
      t.useSystemd();
      await t.started("sleep 100", (config) => {
        config.annotations = {
          "org.systemd.property.CollectMode": "'inactive-or-failed'",
          "org.systemd.property.TimeoutStopSec": "uint64 7",
        };
      });
      assert.deepEqual(show(t.unit, "CollectMode", "TimeoutStopUSec"), {
        CollectMode: "inactive-or-failed",
        TimeoutStopUSec: "7s",
      });
    },
    needs,
  ),
  row(
    "contract",
    "systemd-not-running",
    "where systemd does not run --systemd-cgroup is an error that says so",
    async (t) => {
      t.useSystemd();
      await t.refused(() => undefined, /systemd|sd-bus/);
      assert.ok(!existsSync("/run/systemd/system"));
    },
    { needs: [noFile("/run/systemd/system", "systemd runs here")] },
  ),
];
