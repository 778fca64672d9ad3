/** runtime.md: the operations start, kill and delete. */
import assert from "node:assert/strict";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { cgroupDirectory } from "../leftovers.ts";
import { isAlive, until } from "../processes.ts";
import { rowsOf } from "../row.ts";
import type { Trial } from "../trial.ts";

const start = rowsOf("runtime.md, Start");
const kill = rowsOf("runtime.md, Kill");
const remove = rowsOf("runtime.md, Delete");

/** A program that ends when told to: kill's target must not be a shell that ignores signals. */
const endsOnTerm = "trap 'exit 7' TERM; echo ready; while :; do sleep 0.02; done";

async function running(trial: Trial) {
  const container = await trial.started(endsOnTerm);
  await until("the program runs", () => container.output.includes("ready"));
  return container;
}

export const operationRows = [
  start("MUST", "start-without-id", "start without a container ID fails", async (t) => {
    assert.notEqual((await t.verb(["start"])).status, 0);
  }),
  start("MUST", "start-unknown-id", "start of a container that does not exist fails", async (t) => {
    assert.notEqual((await t.verb(["start", t.newId()])).status, 0);
  }),
  start(
    "MUST",
    "start-running",
    "starting a running container fails and leaves it running",
    async (t) => {
      const container = await t.started("echo once >> /log; sleep 100");
      assert.notEqual((await t.verb(["start", container.id])).status, 0);
      assert.equal(await container.status(), "running");
    },
  ),
  start(
    "MUST",
    "start-stopped",
    "starting a stopped container fails and leaves it stopped",
    async (t) => {
      const container = await t.started("true");
      await container.exited();
      assert.notEqual((await t.verb(["start", container.id])).status, 0);
      assert.equal(await container.status(), "stopped");
    },
  ),
  start(
    "MUST",
    "start-without-process",
    "a container without process in its config cannot be started",
    async (t) => {
      const { process: _, ...config } = t.config;
      t.writeConfig(config);
      const container = t.container();
      const created = await container.create();
      if (created.status !== 0) return; // Refusing already at create generates the error as well.
      assert.notEqual((await t.verb(["start", container.id])).status, 0);
    },
  ),
  start("MUST", "start-runs-args", "start runs process.args", async (t) => {
    const container = await t.create("echo this is it");
    await container.start();
    await container.exited();
    assert.equal(container.output, "this is it\n");
  }),

  kill("MUST", "kill-without-id", "kill without a container ID fails", async (t) => {
    assert.notEqual((await t.verb(["kill"])).status, 0);
  }),
  kill("MUST", "kill-unknown-id", "kill of a container that does not exist fails", async (t) => {
    assert.notEqual((await t.verb(["kill", t.newId(), "TERM"])).status, 0);
  }),
  kill("MUST", "kill-created", "kill reaches a container that is only created", async (t) => {
    const container = await t.create();
    await container.kill("KILL");
    await container.exited();
    assert.equal(await container.status(), "stopped");
  }),
  kill(
    "MUST",
    "kill-stopped",
    "kill of a stopped container fails and leaves it stopped",
    async (t) => {
      const container = await t.started("true");
      await container.exited();
      assert.notEqual((await t.verb(["kill", container.id, "TERM"])).status, 0);
      assert.equal(await container.status(), "stopped");
    },
  ),
  ...["TERM", "SIGTERM", "15"].map((signal) =>
    kill("MUST", `kill-signal-${signal}`, `kill ${signal} sends the program SIGTERM`, async (t) => {
      const container = await running(t);
      await container.kill(signal);
      assert.equal(await container.exited(), 7);
    }),
  ),
  kill("MUST", "kill-default-signal", "kill without a signal sends SIGTERM", async (t) => {
    const container = await running(t);
    await t.ok(["kill", container.id]);
    assert.equal(await container.exited(), 7);
  }),
  kill("MUST", "kill-unknown-signal", "kill refuses a signal that does not exist", async (t) => {
    const container = await running(t);
    for (const signal of ["NONE", "SIGNOTHING", "1000"])
      assert.notEqual((await t.verb(["kill", container.id, signal])).status, 0, signal);
    assert.ok(isAlive(container.pid));
  }),
  kill(
    "MUST",
    "kill-realtime-signal",
    "kill sends a real-time signal given by number",
    async (t) => {
      const container = await t.started(
        "trap 'exit 9' 40; echo ready; while :; do sleep 0.02; done",
      );
      await until("the program runs", () => container.output.includes("ready"));
      await container.kill("40");
      assert.equal(await container.exited(), 9);
    },
  ),

  remove("MUST", "delete-without-id", "delete without a container ID fails", async (t) => {
    assert.notEqual((await t.verb(["delete"])).status, 0);
  }),
  remove(
    "MUST",
    "delete-unknown-id",
    "delete of a container that does not exist fails",
    async (t) => {
      assert.notEqual((await t.verb(["delete", t.newId()])).status, 0);
    },
  ),
  remove(
    "MUST",
    "delete-created",
    "delete of a container that is not stopped fails without effect",
    async (t) => {
      const container = await t.create();
      assert.notEqual((await t.verb(["delete", container.id])).status, 0);
      assert.equal(await container.status(), "created");
    },
  ),
  remove(
    "MUST",
    "delete-running",
    "delete of a running container fails without effect",
    async (t) => {
      const container = await running(t);
      assert.notEqual((await t.verb(["delete", container.id])).status, 0);
      assert.equal(await container.status(), "running");
      assert.ok(isAlive(container.pid));
    },
  ),
  remove(
    "MUST",
    "delete-spares-others",
    "delete leaves what the container did not create: bind sources, joined namespaces, its bundle",
    async (t) => {
      mkdirSync(t.path("volume"));
      writeFileSync(t.path("volume/file"), "kept");
      const first = await t.started("sleep 100");
      const second = await t.started("true", (config) => {
        config.linux.cgroupsPath = t.cgroupsPathFor("-second");
        config.mounts.push({ destination: "/v", source: t.path("volume"), options: ["bind"] });
        config.linux.namespaces = config.linux.namespaces.map((entry) =>
          entry.type === "network" ? { ...entry, path: `/proc/${first.pid}/ns/net` } : entry,
        );
      });
      await second.exited();
      await second.delete();
      assert.equal(await first.status(), "running");
      assert.ok(existsSync(t.path("volume/file")));
      assert.ok(existsSync(`${t.rootfs}/bin/busybox`));
      assert.ok(existsSync(cgroupDirectory(t, "memory")), "the first container's cgroup is gone");
    },
  ),
];
