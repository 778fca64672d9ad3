/** Logs, JSON outputs, help and silence: what engines parse. */
import assert from "node:assert/strict";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { cgroupDirectory } from "../leftovers.ts";
import { controller } from "../machine.ts";
import { until } from "../processes.ts";
import { type Row, rowsOf } from "../row.ts";

const row = rowsOf("engines, command line");
const json = rowsOf("engines, JSON output");

const rfc3339 = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/;

interface LogLine {
  readonly level: string;
  readonly msg: string;
  readonly time: string;
}

export const contractOutputRows: readonly Row[] = [
  row(
    "contract",
    "log-json",
    "--log FILE --log-format json holds one error object, whose time is RFC 3339",
    async (t) => {
      const log = t.path("log.json");
      const id = t.newId();
      const args = ["--root", t.stateRoot, "--log", log, "--log-format", "json", "state", id];
      assert.equal((await t.bare(args)).status, 1);
      const line = JSON.parse(readFileSync(log, "utf8")) as LogLine;
      assert.equal(line.level, "error");
      assert.equal(line.msg, "container does not exist");
      assert.match(line.time, rfc3339);
    },
  ),
  row("contract", "log-text", "--log FILE holds the error in logrus' text form", async (t) => {
    const log = t.path("log.txt");
    await t.bare(["--root", t.stateRoot, "--log", log, "state", t.newId()]);
    assert.match(
      readFileSync(log, "utf8"),
      /^time="[^"]+" level=error msg="container does not exist"\n$/,
    );
  }),
  row(
    "contract",
    "log-success-empty",
    "a verb that succeeds writes no error into the log",
    async (t) => {
      t.config.process.args = ["true"];
      t.writeConfig();
      const container = t.container();
      const log = t.path("log.json");
      const verb = ["create", "--bundle", t.bundle, "--pid-file", container.pidFile, container.id];
      await t.bare(["--root", t.stateRoot, "--log", log, "--log-format", "json", ...verb]);
      if (existsSync(log)) assert.doesNotMatch(readFileSync(log, "utf8"), /"level":"error"/);
      assert.equal(container.status !== undefined, true);
    },
  ),
  row(
    "contract",
    "log-create-failure",
    "the error of a failed create is the last one in the log",
    async (t) => {
      t.config.process.args = ["/no/such"];
      t.writeConfig();
      const container = t.container();
      const log = t.path("log.json");
      const verb = ["create", "--bundle", t.bundle, container.id];
      await t.bare(["--root", t.stateRoot, "--log", log, "--log-format", "json", ...verb]);
      const lines = readFileSync(log, "utf8")
        .trim()
        .split("\n")
        .map((line) => JSON.parse(line) as LogLine);
      const errors = lines.filter(({ level }) => level === "error");
      assert.match(errors.at(-1)?.msg ?? "", /no such file or directory$/);
    },
  ),
  row(
    "contract",
    "silent-success",
    "create, start, pause, resume, kill and delete print nothing when they succeed",
    async (t) => {
      t.config.process.args = ["/bin/sleep", "100"];
      t.writeConfig();
      const container = t.container();
      const bundle = ["--bundle", t.bundle, "--pid-file", container.pidFile];
      for (const args of [
        ["create", ...bundle],
        ["start"],
        ["pause"],
        ["resume"],
        ["delete", "--force"],
      ]) {
        const { stdout, stderr } = await t.verb([...args, container.id]);
        assert.equal(stdout + stderr, "", args[0]);
      }
    },
  ),

  json(
    "contract",
    "state-json",
    "state has runc's properties, rootfs, created and owner among them",
    async (t) => {
      const container = await t.started();
      const seen = JSON.parse(await t.ok(["state", container.id])) as Record<string, unknown>;
      assert.deepEqual(
        Object.keys(seen).filter((key) => key !== "annotations"),
        ["ociVersion", "id", "pid", "status", "bundle", "rootfs", "created", "owner"],
      );
      assert.equal(seen["rootfs"], t.rootfs);
      assert.match(String(seen["created"]), rfc3339);
    },
  ),
  json(
    "contract",
    "list-json",
    "list --format json is an array of states with owner",
    async (t) => {
      const container = await t.started();
      const [seen] = JSON.parse(await t.ok(["list", "--format", "json"])) as Record<
        string,
        unknown
      >[];
      assert.equal(seen?.["id"], container.id);
      assert.equal(seen?.["pid"], container.pid);
      assert.equal(seen?.["status"], "running");
      assert.equal(seen?.["owner"], "root");
    },
  ),
  json(
    "contract",
    "ps-children",
    "ps --format json has the host's pid of every process of the container",
    async (t) => {
      const container = await t.started("sleep 100 & sleep 100 & wait");
      const procs = () =>
        readFileSync(`${cgroupDirectory(t, "pids")}/cgroup.procs`, "utf8")
          .trim()
          .split("\n")
          .map(Number);
      await until("the children run", () => procs().length === 3);
      const pids = JSON.parse(await t.ok(["ps", "-f", "json", container.id])) as number[];
      assert.deepEqual([...pids].sort(), [...procs()].sort());
    },
    { needs: [controller("pids")] },
  ),
  json(
    "contract",
    "events-stats",
    "events --stats prints one object with the groups of numbers that runc has",
    async (t) => {
      const container = await t.started();
      const seen = JSON.parse(await t.ok(["events", "--stats", container.id]));
      assert.equal(seen.type, "stats");
      assert.equal(seen.id, container.id);
      for (const key of [
        "cpu",
        "memory",
        "pids",
        "blkio",
        "hugetlb",
        "intel_rdt",
        "network_interfaces",
      ])
        assert.ok(key in seen.data, key);
      assert.ok(seen.data.cpu.usage.total > 0);
      assert.ok(seen.data.memory.usage.usage > 0);
      assert.equal(seen.data.pids.current, 1);
    },
    { needs: [controller("memory"), controller("pids")] },
  ),
  json("contract", "features", "features prints what CRI-O and containerd read", async (t) => {
    const { status, stdout } = await t.bare(["features"]);
    assert.equal(status, 0);
    const seen = JSON.parse(stdout);
    assert.match(seen.ociVersionMin, /^\d+\.\d+\.\d+/);
    assert.match(seen.ociVersionMax, /^\d+\.\d+\.\d+/);
    assert.ok(seen.hooks.includes("createRuntime"));
    for (const option of ["bind", "rro", "nosuid"])
      assert.ok(seen.mountOptions.includes(option), option);
    assert.ok(seen.linux.namespaces.includes("user"));
    assert.ok(seen.linux.capabilities.includes("CAP_CHOWN"));
    for (const key of ["v1", "v2", "systemd", "systemdUser"])
      assert.equal(typeof seen.linux.cgroup[key], "boolean");
    assert.equal(seen.linux.seccomp.enabled, true);
    assert.ok(seen.linux.seccomp.actions.includes("SCMP_ACT_ERRNO"));
  }),
  json("contract", "spec-verb", "spec writes a config.json that runs", async (t) => {
    mkdirSync(t.path("fresh"));
    const { status, stderr } = await t.bare(["spec"], { cwd: t.path("fresh") });
    assert.equal(status, 0, stderr);
    const config = JSON.parse(readFileSync(t.path("fresh/config.json"), "utf8"));
    assert.deepEqual(config.process.args, ["sh"]);
    assert.equal(config.process.terminal, true);
    config.process.terminal = false;
    config.process.args = ["/bin/echo", "from spec"];
    config.root = { path: t.rootfs };
    config.linux.cgroupsPath = t.cgroupsPathFor();
    t.writeConfig(config);
    const container = t.container();
    assert.equal(await t.ok(["run", "--bundle", t.bundle, container.id]), "from spec\n");
  }),
  json("contract", "spec-verb-again", "spec does not overwrite a config.json", async (t) => {
    writeFileSync(t.path("bundle/config.json"), "mine");
    assert.notEqual((await t.bare(["spec"], { cwd: t.bundle })).status, 0);
    assert.equal(readFileSync(`${t.bundle}/config.json`, "utf8"), "mine");
  }),
  json("contract", "version", "--version is NAME version X, then commit and spec", async (t) => {
    const { status, stdout } = await t.bare(["--version"]);
    assert.equal(status, 0);
    assert.match(stdout, /^\S+ version \S+.*\n/);
    assert.match(stdout, /^spec: 1\.\d+\.\d+/m);
  }),
  row("contract", "unknown-flag", "an unknown flag is refused and named", async (t) => {
    const { status, stdout, stderr } = await t.verb(["state", "--no-such-flag", "x"]);
    assert.notEqual(status, 0);
    assert.match(stdout + stderr, /no-such-flag/);
  }),
  row("contract", "unknown-verb", "an unknown verb is refused", async (t) => {
    assert.notEqual((await t.verb(["nosuchverb"])).status, 0);
  }),
  row("contract", "verb-help", "every verb explains itself with --help and status 0", async (t) => {
    for (const verb of [
      "create",
      "start",
      "state",
      "kill",
      "delete",
      "run",
      "exec",
      "ps",
      "list",
      "pause",
      "resume",
      "update",
      "events",
      "spec",
      "features",
    ]) {
      const { status, stdout } = await t.bare([verb, "--help"]);
      assert.equal(status, 0, verb);
      assert.match(stdout, new RegExp(verb), verb);
    }
  }),
];
