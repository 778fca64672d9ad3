/** runtime.md: state, lifecycle, and the operation create. */
import assert from "node:assert/strict";
import { existsSync, readdirSync, readlinkSync, writeFileSync } from "node:fs";
import { cgroupsOf } from "../leftovers.ts";
import { isAlive, until } from "../processes.ts";
import { rowsOf } from "../row.ts";

const state = rowsOf("runtime.md, State");
const life = rowsOf("runtime.md, Lifecycle");
const create = rowsOf("runtime.md, Create");

/** SemVer 2.0.0 as its section 2 to 10 define it. */
const semver = /^(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?$/;

export const lifecycleRows = [
  state(
    "MUST",
    "state-created",
    "a created container has status created and its pid",
    async (t) => {
      const container = await t.create();
      const seen = await container.state();
      assert.equal(seen.status, "created");
      assert.equal(seen.pid, container.pid);
      assert.equal(seen.id, container.id);
      assert.equal(seen.bundle, t.bundle);
      assert.match(seen.ociVersion, semver);
    },
  ),
  state("MUST", "state-running", "a started container has status running", async (t) => {
    const container = await t.started();
    const seen = await container.state();
    assert.equal(seen.status, "running");
    assert.equal(seen.pid, container.pid);
  }),
  state(
    "MUST",
    "state-stopped",
    "a container whose program ended has status stopped",
    async (t) => {
      const container = await t.started("exit 3");
      assert.equal(await container.exited(), 3);
      assert.equal(await container.status(), "stopped");
    },
  ),
  state(
    "MUST",
    "state-stopped-zombie",
    "a program that ended counts as stopped before anybody has waited for it",
    async (t) => {
      const container = await t.started("exit 0");
      await until("the program ends", () => !isAlive(container.pid));
      assert.equal(await container.status(), "stopped");
    },
  ),
  state(
    "MUST",
    "state-annotations",
    "the annotations of config.json are in the state",
    async (t) => {
      const annotations = { "com.example.key": "value", "com.example.empty": "" };
      const container = await t.create("true", (config) => {
        config.annotations = annotations;
      });
      const seen = (await container.state()).annotations ?? {};
      assert.equal(seen["com.example.key"], "value");
      assert.equal(seen["com.example.empty"], "");
    },
  ),
  state(
    "MUST",
    "state-types",
    "the state's properties have the types of the state schema",
    async (t) => {
      const seen = await (await t.create()).state();
      assert.equal(typeof seen.id, "string");
      assert.equal(typeof seen.ociVersion, "string");
      assert.equal(typeof seen.bundle, "string");
      assert.ok(Number.isInteger(seen.pid), "pid is no integer");
      assert.match(seen.bundle, /^\//);
    },
  ),
  state(
    "MUST",
    "state-relative-bundle",
    "the state holds the absolute path of a bundle given by a relative path",
    async (t) => {
      t.config.process.args = ["true"];
      t.writeConfig();
      const container = t.container();
      const args = ["create", "--bundle", "bundle", "--pid-file", container.pidFile, container.id];
      await t.ok(args, { cwd: t.directory });
      assert.equal((await container.state()).bundle, t.bundle);
    },
  ),
  state("MUST", "state-without-id", "state without a container ID fails", async (t) => {
    assert.notEqual((await t.verb(["state"])).status, 0);
  }),
  state("MUST", "state-unknown-id", "state of a container that does not exist fails", async (t) => {
    assert.notEqual((await t.verb(["state", t.newId()])).status, 0);
  }),

  life("MUST", "program-waits-for-start", "the program does not run before start", async (t) => {
    const container = await t.create("echo ran > /ran; sleep 100");
    assert.ok(!existsSync(`${t.rootfs}/ran`), "the program ran during create");
    await container.start();
    await until("the program runs", () => existsSync(`${t.rootfs}/ran`));
  }),
  life(
    "MUST",
    "config-read-once",
    "changing config.json after create changes nothing",
    async (t) => {
      const container = await t.create("hostname; echo $COLOUR", (config) => {
        config.process.env.push("COLOUR=red");
      });
      t.config.hostname = "other";
      t.config.process.env.push("COLOUR=blue");
      t.config.process.args = ["/bin/false"];
      t.writeConfig();
      await container.start();
      assert.equal(await container.exited(), 0);
      assert.equal(container.output.trim(), "conformance\nred");
    },
  ),
  life(
    "MUST",
    "environment-made-by-create",
    "namespaces, mounts and hostname exist after create",
    async (t) => {
      const container = await t.create("true", (config) => {
        config.mounts.push({ destination: "/data", type: "tmpfs", source: "tmpfs" });
      });
      assert.match(container.proc("mountinfo"), / \/data /);
      for (const type of ["pid", "net", "ipc", "uts", "mnt"])
        assert.notEqual(container.namespaceOf(type), readlinkSync(`/proc/self/ns/${type}`), type);
    },
  ),
  life(
    "MUST",
    "exit-status",
    "whoever waits for the container's process reads its exit status",
    async (t) => {
      const container = await t.started("exit 42");
      assert.equal(await container.exited(), 42);
    },
  ),
  life("MUST", "exit-signal", "whoever waits sees the signal that ended the program", async (t) => {
    const container = await t.started("sleep 100");
    await container.kill("KILL");
    assert.equal(await container.exited(), 128 + 9);
  }),
  life("MUST", "delete-undoes-create", "delete removes cgroups, mounts and state", async (t) => {
    const container = await t.started("true");
    await container.exited();
    assert.notDeepEqual(cgroupsOf(t), [], "create made no cgroup");
    await container.delete();
    assert.deepEqual(cgroupsOf(t), []);
    assert.notEqual((await t.verb(["state", container.id])).status, 0);
  }),

  create("MUST", "create-without-id", "create without a container ID fails", async (t) => {
    t.writeConfig();
    assert.notEqual((await t.verb(["create", "--bundle", t.bundle])).status, 0);
  }),
  create(
    "MUST",
    "create-missing-bundle",
    "create with a bundle that is not there fails",
    async (t) => {
      const outcome = await t.verb(["create", "--bundle", t.path("nowhere"), t.newId()]);
      assert.notEqual(outcome.status, 0);
    },
  ),
  create(
    "MUST",
    "create-missing-config",
    "create with a bundle without config.json fails",
    async (t) => {
      const outcome = await t.verb(["create", "--bundle", t.bundle, t.newId()]);
      assert.notEqual(outcome.status, 0);
    },
  ),
  create(
    "MUST",
    "create-broken-json",
    "create refuses a config.json that is no JSON",
    async (t) => {
      writeFileSync(`${t.bundle}/config.json`, '{"ociVersion": "1.0.2", ');
      const container = t.container();
      assert.notEqual((await container.create()).status, 0);
    },
  ),
  create(
    "MUST",
    "create-duplicate-id",
    "an ID in use is refused and the first container lives on",
    async (t) => {
      const first = await t.started();
      const { pid } = first;
      const second = await t.verb(["create", "--bundle", t.bundle, first.id]);
      assert.notEqual(second.status, 0);
      assert.equal(await first.status(), "running");
      assert.ok(isAlive(pid));
    },
  ),
  ...["", "..", "a/b", "a b", "ü", "."].map((id) =>
    create(
      "MUST",
      `create-bad-id-${JSON.stringify(id).replaceAll(" ", "_")}`,
      `the ID ${JSON.stringify(id)} is refused`,
      async (t) => {
        t.writeConfig();
        const before = readdirSync(t.directory).sort();
        const outcome = await t.verb(["create", "--bundle", t.bundle, "--", id]);
        assert.notEqual(outcome.status, 0);
        const after = readdirSync(t.directory).filter((name) => !/^verb-/.test(name));
        assert.deepEqual(after.sort(), before);
        assert.deepEqual(t.stateEntries(), []);
      },
    ),
  ),
  ...["simple", "with_under.dot-dash+plus", "0", "x".repeat(200)].map((id) =>
    create(
      "MUST",
      `create-good-id-${id.slice(0, 12)}`,
      `the ID ${id.slice(0, 30)} is accepted`,
      async (t) => {
        t.config.process.args = ["true"];
        t.writeConfig();
        const container = t.container(id);
        const { status, stderr } = await container.create();
        assert.equal(status, 0, stderr);
        assert.equal((await container.state()).id, id);
      },
    ),
  ),
  create(
    "MUST",
    "create-failure-leaves-nothing",
    "a property that cannot be applied leaves no container, mount or cgroup",
    async (t) => {
      await t.refused((config) => {
        config.mounts.push({ destination: "/x", type: "nosuchfs", source: "none" });
      });
      assert.deepEqual(cgroupsOf(t), []);
    },
  ),
  create(
    "MUST",
    "create-missing-rootfs",
    "a root.path without a directory is refused",
    async (t) => {
      await t.refused((config) => {
        config.root.path = "nowhere";
      });
    },
  ),
  create(
    "MUST",
    "create-reuses-id",
    "the ID of a deleted container can be used again",
    async (t) => {
      const container = await t.started("true");
      await container.exited();
      await container.delete();
      const again = t.container(container.id);
      assert.equal((await again.create()).status, 0);
    },
  ),
];
