/** pause, resume, kill --all, delete and update, seen in the cgroup. */
import assert from "node:assert/strict";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { cgroupDirectory, freezerState } from "../leftovers.ts";
import { controller, usesCgroupV1 } from "../machine.ts";
import { isAlive, until } from "../processes.ts";
import { type Row, rowsOf } from "../row.ts";
import type { Trial } from "../trial.ts";

const row = rowsOf("engines, command line");

export const contractControlRows: readonly Row[] = [
  row(
    "contract",
    "pause-resume",
    "pause stops all processes of the container and resume lets them go on",
    async (t) => {
      const container = await t.started("while :; do date +%N > /tick; sleep 0.02; done");
      await until("the program ticks", () => existsSync(`${t.rootfs}/tick`));
      await t.ok(["pause", container.id]);
      await until("the cgroup is frozen", () => /^(FROZEN|1)$/.test(freezerState(t)));
      const tick = readFileSync(`${t.rootfs}/tick`, "utf8");
      await new Promise((resolve) => setTimeout(resolve, 100));
      assert.equal(readFileSync(`${t.rootfs}/tick`, "utf8"), tick);
      await t.ok(["resume", container.id]);
      await until("the program goes on", () => readFileSync(`${t.rootfs}/tick`, "utf8") !== tick);
    },
    { needs: [controller("freezer", "freezer")] },
  ),
  row(
    "contract",
    "kill-all",
    "kill --all reaches also what the program started",
    async (t) => {
      const container = await t.started("sleep 200 & sleep 100");
      await t.ok(["kill", "--all", container.id, "KILL"]);
      await container.exited();
      const procs = () => readFileSync(`${cgroupDirectory(t, "pids")}/cgroup.procs`, "utf8").trim();
      await until("all processes are gone", () => procs() === "");
    },
    { needs: [controller("pids")] },
  ),
  row(
    "contract",
    "kill-all-shared-pid",
    "kill --all of a container without a PID namespace of its own kills just its processes",
    async (t) => {
      const container = await t.started("sleep 200 & sleep 100", (config) => {
        config.linux.namespaces = config.linux.namespaces.filter(({ type }) => type !== "pid");
      });
      await t.ok(["kill", "--all", container.id, "KILL"]);
      await container.exited();
      const procs = () => readFileSync(`${cgroupDirectory(t, "pids")}/cgroup.procs`, "utf8").trim();
      await until("all processes are gone", () =>
        procs()
          .split("\n")
          .every((pid) => !isAlive(Number(pid))),
      );
    },
    { needs: [controller("pids")] },
  ),
  row(
    "contract",
    "delete-shared-pid",
    "delete kills what is left in the cgroup of a container without a PID namespace of its own",
    async (t) => {
      const container = await t.started("sleep 200 & echo $! > /child; true", (config) => {
        config.linux.namespaces = config.linux.namespaces.filter(({ type }) => type !== "pid");
      });
      await container.exited();
      await container.delete(["--force"]);
      const child = Number(readFileSync(`${t.rootfs}/child`, "utf8"));
      await until("the child is gone", () => !isAlive(child));
    },
  ),

  row(
    "contract",
    "update-flags",
    "update's flags change the limits of a running container",
    async (t) => {
      const container = await t.started();
      const limits = [
        "--pids-limit",
        "33",
        "--memory",
        "50331648",
        "--cpu-share",
        "300",
        "--cpu-quota",
        "20000",
        "--cpu-period",
        "40000",
      ];
      await t.ok(["update", ...limits, container.id]);
      assert.equal(limitOf(t, "pids", "pids.max", "pids.max"), "33");
      assert.equal(limitOf(t, "memory", "memory.limit_in_bytes", "memory.max"), "50331648");
      if (usesCgroupV1(t.machine)) assert.equal(limitOf(t, "cpu", "cpu.shares", ""), "300");
      assert.match(limitOf(t, "cpu", "cpu.cfs_quota_us", "cpu.max"), /^20000/);
    },
    { needs: [controller("memory"), controller("cpu"), controller("pids")] },
  ),
  row(
    "contract",
    "update-resources-stdin",
    "update --resources=- reads LinuxResources from standard input",
    async (t) => {
      const container = await t.started();
      writeFileSync(
        t.path("resources"),
        JSON.stringify({ pids: { limit: 44 }, memory: { limit: 50331648 } }),
      );
      await t.ok(["update", "--resources=-", container.id], { stdinFile: t.path("resources") });
      assert.equal(limitOf(t, "pids", "pids.max", "pids.max"), "44");
      assert.equal(limitOf(t, "memory", "memory.limit_in_bytes", "memory.max"), "50331648");
    },
    { needs: [controller("memory"), controller("pids")] },
  ),
  row(
    "contract",
    "update-resources-file",
    "update --resources FILE -r FILE reads LinuxResources from a file",
    async (t) => {
      const container = await t.started();
      writeFileSync(t.path("resources"), JSON.stringify({ pids: { limit: 45 } }));
      await t.ok(["update", "-r", t.path("resources"), container.id]);
      assert.equal(limitOf(t, "pids", "pids.max", "pids.max"), "45");
    },
    { needs: [controller("pids")] },
  ),
  row(
    "contract",
    "update-keeps-others",
    "update leaves limits alone that it is not given",
    async (t) => {
      const container = await t.started("sleep 100", (config) => {
        Object.assign(config.linux.resources ?? {}, {
          pids: { limit: 70 },
          memory: { limit: 67108864 },
        });
      });
      await t.ok(["update", "--pids-limit", "71", container.id]);
      assert.equal(limitOf(t, "memory", "memory.limit_in_bytes", "memory.max"), "67108864");
    },
    { needs: [controller("memory"), controller("pids")] },
  ),
  row(
    "contract",
    "update-refused",
    "an update that the kernel refuses is an error",
    async (t) => {
      const container = await t.started();
      assert.notEqual((await t.verb(["update", "--cpuset-cpus", "4000", container.id])).status, 0);
    },
    { needs: [controller("cpuset")] },
  ),
];

function limitOf(t: Trial, name: string, v1: string, v2: string): string {
  const file = usesCgroupV1(t.machine) ? v1 : v2;
  return readFileSync(`${cgroupDirectory(t, name)}/${file}`, "utf8").trim();
}
