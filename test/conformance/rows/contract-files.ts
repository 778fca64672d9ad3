/** What engines pass to a runtime besides the bundle, and read back: pid files, logs, sockets. */
import assert from "node:assert/strict";
import { closeSync, existsSync, mkdirSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { listen, readTerminal, writeTerminal } from "../console.ts";
import type { Container } from "../container.ts";
import { cgroupDirectory, freezerState } from "../leftovers.ts";
import { controller, usesCgroupV1 } from "../machine.ts";
import { isAlive, runCommand, until, waitForOrphan } from "../processes.ts";
import { type Row, rowsOf } from "../row.ts";
import type { Trial } from "../trial.ts";

const row = rowsOf("engines, command line");
const json = rowsOf("engines, JSON output");
const terminal = rowsOf("config.md, Process (terminal)");

const rfc3339 = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/;

interface LogLine {
  readonly level: string;
  readonly msg: string;
  readonly time: string;
}

/** Makes a terminal container; returns it and the master that came through the console socket. */
async function withTerminal(t: Trial, args: readonly string[], width = 80, height = 25) {
  const listener = listen(t.path("console"));
  t.onClose(() => listener.close());
  t.config.process.terminal = true;
  t.config.process.consoleSize = { width, height };
  t.config.process.args = [...args];
  t.writeConfig();
  const container = t.container();
  const created = container.create(["--console-socket", t.path("console")]);
  const message = await listener.receive();
  const { status, stderr } = await created;
  assert.equal(status, 0, stderr);
  assert.equal(message.fds.length, 1, "expected one descriptor");
  const [master = -1] = message.fds;
  t.onClose(() => message.close());
  await container.start();
  return { container, master, text: message.text };
}

async function execFile(t: Trial, container: Container, process: object, flags: readonly string[]) {
  writeFileSync(t.path("process.json"), JSON.stringify(process));
  return t.verb(["exec", "--process", t.path("process.json"), ...flags, container.id]);
}

export const contractFileRows: readonly Row[] = [
  row(
    "contract",
    "pid-file",
    "the pid file holds the decimal pid without newline, when create returns",
    async (t) => {
      const container = await t.create();
      const text = readFileSync(container.pidFile, "utf8");
      assert.match(text, /^[1-9]\d*$/);
      assert.equal((await container.state()).pid, Number(text));
    },
  ),
  row(
    "contract",
    "pid-is-orphan",
    "the pid file's process becomes the subreaper's child",
    async (t) => {
      const container = await t.create();
      assert.match(container.proc("status"), new RegExp(`PPid:\t${process.pid}\n`));
    },
  ),
  row(
    "contract",
    "no-idle-process",
    "a created container has no other process than its own",
    async (t) => {
      await t.create();
      const procs = readFileSync(`${cgroupDirectory(t, "pids")}/cgroup.procs`, "utf8").trim();
      assert.equal(procs.split("\n").length, 1);
    },
    { needs: [controller("pids")] },
  ),
  row(
    "contract",
    "exec-detach",
    "exec --detach returns at once, writes the pid file and leaves an orphan with its exit status",
    async (t) => {
      const container = await t.started();
      const pidFile = t.path("exec.pid");
      const flags = ["--detach", "--pid-file", pidFile];
      const { status, stderr } = await container.tryExec(
        ["/bin/sh", "-c", "sleep 0.2; exit 9"],
        flags,
      );
      assert.equal(status, 0, stderr);
      const text = readFileSync(pidFile, "utf8");
      assert.match(text, /^[1-9]\d*$/);
      assert.equal(await waitForOrphan(Number(text)), 9);
    },
  ),
  row("contract", "exec-failed-pid-file", "a failed exec writes no pid file", async (t) => {
    const container = await t.started();
    const flags = ["--detach", "--pid-file", t.path("exec.pid")];
    assert.notEqual((await container.tryExec(["/bin/nope"], flags)).status, 0);
    assert.ok(!existsSync(t.path("exec.pid")));
  }),
  row("contract", "exec-process-file", "exec --process runs what the file says", async (t) => {
    const container = await t.started();
    const process = {
      args: ["/bin/sh", "-c", "echo $COLOUR; pwd; id -u; id -g"],
      env: ["PATH=/bin", "COLOUR=green"],
      cwd: "/tmp",
      user: { uid: 5, gid: 6 },
    };
    const { status, stdout, stderr } = await execFile(t, container, process, []);
    assert.equal(status, 0, stderr);
    assert.equal(stdout, "green\n/tmp\n5\n6\n");
  }),
  row(
    "contract",
    "exec-flags",
    "exec's flags --cwd, --env, --user and --additional-gids reach the program",
    async (t) => {
      const container = await t.started();
      const flags = ["--cwd", "/var", "--env", "A=1", "--env", "B=2", "--user", "7:8", "-g", "99"];
      const out = await container.exec(
        "pwd; echo $A$B; id -u; id -g; grep Groups /proc/self/status",
        flags,
      );
      assert.match(out, /^\/var\n12\n7\n8\nGroups:\s(.* )?99\b/);
    },
  ),
  row("contract", "exec-caps", "exec --cap adds a capability, and no more than that", async (t) => {
    const container = await t.started("sleep 100", (config) => {
      config.process.capabilities = {
        bounding: ["CAP_KILL", "CAP_CHOWN"],
        effective: ["CAP_KILL"],
        permitted: ["CAP_KILL"],
      };
    });
    const out = await container.exec("grep CapEff /proc/self/status", ["--cap", "CAP_CHOWN"]);
    assert.match(out, /0000000000000021$/);
  }),
  row(
    "contract",
    "exec-namespaces",
    "exec's process is in the container's namespaces and cgroup",
    async (t) => {
      const container = await t.started();
      const types = ["mnt", "pid", "net", "ipc", "uts"];
      const out = await container.exec(
        types.map((type) => `readlink /proc/self/ns/${type}`).join("; "),
      );
      assert.deepEqual(
        out.split("\n"),
        types.map((type) => container.namespaceOf(type)),
      );
    },
  ),
  row("contract", "exec-stdin", "exec's standard input is the caller's", async (t) => {
    const container = await t.started();
    writeFileSync(t.path("input"), "typed\n");
    const { stdout } = await container.tryExec(["cat"], [], { stdinFile: t.path("input") });
    assert.equal(stdout, "typed\n");
  }),
  row("contract", "exec-no-new-privs", "exec --no-new-privs sets no_new_privs", async (t) => {
    const container = await t.started("sleep 100", (config) => {
      delete config.process.noNewPrivileges;
    });
    assert.match(
      await container.exec("grep NoNewPrivs /proc/self/status", ["--no-new-privs"]),
      /1$/,
    );
  }),
  row(
    "contract",
    "preserve-fds",
    "--preserve-fds passes that many descriptors after the standard streams",
    async (t) => {
      writeFileSync(t.path("passed"), "from descriptor 3\n");
      const fd = openSync(t.path("passed"), "r");
      const other = openSync("/", "r");
      t.config.process.args = ["/bin/sh", "-c", "cat <&3; ls /proc/self/fd | tr '\\n' ' '"];
      t.writeConfig();
      const container = t.container();
      const args = ["run", "--preserve-fds", "1", "--bundle", t.bundle, container.id];
      const { stdout, stderr } = await t.verb(args, { extraFds: [fd, other] });
      closeSync(fd);
      closeSync(other);
      assert.equal(stdout.trim(), "from descriptor 3\n0 1 2 3 4", stderr);
    },
  ),
  row(
    "contract",
    "preserve-fds-listen",
    "LISTEN_FDS passes descriptors as systemd does",
    async (t) => {
      writeFileSync(t.path("passed"), "socket\n");
      const fd = openSync(t.path("passed"), "r");
      t.config.process.args = ["/bin/sh", "-c", "cat <&3; echo $LISTEN_FDS $LISTEN_PID"];
      t.writeConfig();
      const container = t.container();
      // The variables count only for the process that LISTEN_PID names.
      const script = 'LISTEN_FDS=1 LISTEN_PID=$$ exec "$@"';
      const run = [...t.runtime, "--root", t.stateRoot, "run", "--bundle", t.bundle, container.id];
      const command = ["/bin/sh", "-c", `export LISTEN_FDS LISTEN_PID; ${script}`, "sh", ...run];
      const output = t.path("listen");
      const { stdout, stderr } = await runCommand(command, output, { extraFds: [fd] });
      closeSync(fd);
      assert.equal(stdout.trim(), "socket\n1 1", stderr);
    },
  ),
  row("contract", "empty-environment", "every verb works with an empty environment", async (t) => {
    t.config.process.args = ["/bin/sleep", "100"];
    t.writeConfig();
    const container = t.container();
    const env = {};
    const bundle = ["--bundle", t.bundle, "--pid-file", container.pidFile];
    for (const args of [["create", ...bundle], ["start"], ["state"], ["pause"], ["resume"]]) {
      const { status, stderr } = await t.verb([...args, container.id], { env });
      assert.equal(status, 0, `${args[0]}: ${stderr}`);
    }
    assert.equal((await t.verb(["exec", container.id, "true"], { env })).status, 0);
    assert.equal((await t.verb(["kill", container.id, "9"], { env })).status, 0);
    await container.exited();
    assert.equal((await t.verb(["delete", container.id], { env })).status, 0);
  }),
  row(
    "contract",
    "bundle-default",
    "the bundle is the working directory when --bundle is not given",
    async (t) => {
      t.config.process.args = ["/bin/echo", "here"];
      t.writeConfig();
      const container = t.container();
      const { stdout, stderr } = await t.verb(["run", container.id], { cwd: t.bundle });
      assert.equal(stdout, "here\n", stderr);
    },
  ),
  row(
    "contract",
    "flags-with-equals",
    "flags are taken as --flag value and --flag=value, -b and --bundle",
    async (t) => {
      t.config.process.args = ["/bin/echo", "here"];
      t.writeConfig();
      for (const bundle of [[`--bundle=${t.bundle}`], ["-b", t.bundle], [`-b=${t.bundle}`]]) {
        const container = t.container();
        const { stdout, stderr } = await t.bare([
          `--root=${t.stateRoot}`,
          "run",
          ...bundle,
          container.id,
        ]);
        assert.equal(stdout, "here\n", stderr);
      }
    },
  ),
  row(
    "contract",
    "run-exit-status",
    "run ends with the program's exit status, and 128 + signal",
    async (t) => {
      assert.equal((await t.run("exit 17")).status, 17);
      const killed = await t.run("", (config) => {
        // A child of process 1, because a PID namespace's first process is spared its own signals.
        config.process.args = ["/bin/sh", "-c", "sh -c 'kill -9 $$'; exit $?"];
      });
      assert.equal(killed.status, 137);
    },
  ),
  row(
    "contract",
    "run-removes",
    "run removes the container when it ends, and keeps it with --keep",
    async (t) => {
      await t.run("true");
      assert.deepEqual(t.stateEntries(), []);
      const container = t.container();
      await t.ok(["run", "--keep", "--bundle", t.bundle, container.id]);
      assert.equal(await container.status(), "stopped");
    },
  ),
  row("contract", "run-detach", "run --detach returns when the program runs", async (t) => {
    t.config.process.args = ["/bin/sleep", "100"];
    t.writeConfig();
    const container = t.container();
    await t.ok([
      "run",
      "--detach",
      "--bundle",
      t.bundle,
      "--pid-file",
      container.pidFile,
      container.id,
    ]);
    assert.equal(await container.status(), "running");
    assert.ok(isAlive(container.pid));
  }),
  row("contract", "run-forwards-signals", "run passes SIGTERM on to the program", async (t) => {
    t.config.process.args = [
      "/bin/sh",
      "-c",
      "trap 'exit 5' TERM; touch /ready; while :; do sleep 0.02; done",
    ];
    t.writeConfig();
    const container = t.container();
    const running = t.verb([
      "run",
      "--bundle",
      t.bundle,
      "--pid-file",
      container.pidFile,
      container.id,
    ]);
    await until("the program runs", () => existsSync(`${t.rootfs}/ready`));
    await until("the pid file is there", () => existsSync(container.pidFile));
    const parent = /PPid:\t(\d+)/.exec(container.proc("status"))?.[1];
    process.kill(Number(parent), "SIGTERM");
    assert.equal((await running).status, 5);
  }),

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
    config.linux.cgroupsPath = t.cgroupsPath;
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

  terminal(
    "MUST",
    "terminal-streams",
    "with terminal the three streams are the pseudoterminal, which is the controlling one",
    async (t) => {
      const { master } = await withTerminal(t, [
        "/bin/sh",
        "-c",
        "tty; test -t 0 && test -t 1 && test -t 2 && echo all; (echo ctty > /dev/tty); echo end",
      ]);
      const text = await readTerminal(master, (seen) => seen.includes("end"));
      assert.match(text, /^\/dev\/pts\/\d+\r\nall\r\nctty\r\nend/);
    },
  ),
  terminal(
    "MUST",
    "terminal-size",
    "consoleSize is the terminal's size when the program starts",
    async (t) => {
      const { master } = await withTerminal(t, ["/bin/sh", "-c", "stty size; echo end"], 123, 45);
      assert.match(await readTerminal(master, (seen) => seen.includes("end")), /45 123/);
    },
  ),
  terminal("MUST", "terminal-console", "/dev/console is the pseudoterminal", async (t) => {
    const { master } = await withTerminal(t, [
      "/bin/sh",
      "-c",
      "echo via console > /dev/console; echo end",
    ]);
    assert.match(await readTerminal(master, (seen) => seen.includes("end")), /via console/);
  }),
  terminal(
    "MUST",
    "terminal-input",
    "what is written to the master is read by the program",
    async (t) => {
      const { master } = await withTerminal(t, [
        "/bin/sh",
        "-c",
        "read line; echo got $line; echo end",
      ]);
      writeTerminal(master, "hello\n");
      assert.match(await readTerminal(master, (seen) => seen.includes("end")), /got hello/);
    },
  ),
  terminal("MUST", "terminal-interrupt", "Ctrl-C interrupts the program", async (t) => {
    const { master, container } = await withTerminal(t, [
      "/bin/sh",
      "-c",
      "trap 'echo interrupted; exit 4' INT; echo ready; while :; do sleep 0.05; done",
    ]);
    await readTerminal(master, (seen) => seen.includes("ready"));
    writeTerminal(master, "\x03");
    assert.match(await readTerminal(master, (seen) => seen.includes("interrupted")), /interrupted/);
    assert.equal(await container.exited(), 4);
  }),
  terminal(
    "MUST",
    "terminal-user",
    "a program that is not root can write to its terminal by name",
    async (t) => {
      t.config.process.user = { uid: 1000, gid: 1000 };
      const { master } = await withTerminal(t, ["/bin/sh", "-c", "echo named > $(tty); echo end"]);
      assert.match(await readTerminal(master, (seen) => seen.includes("end")), /named/);
    },
  ),
  terminal(
    "contract",
    "terminal-no-socket",
    "a detached terminal without console socket is refused",
    async (t) => {
      const { outcome } = await t.tryCreate("true", (config) => {
        config.process.terminal = true;
      });
      assert.notEqual(outcome.status, 0);
      assert.match(outcome.stderr, /console/);
    },
  ),
  terminal(
    "contract",
    "terminal-needless-socket",
    "a console socket without terminal is refused",
    async (t) => {
      const listener = listen(t.path("console"));
      t.onClose(() => listener.close());
      const { outcome } = await t.tryCreate("true", undefined, [
        "--console-socket",
        t.path("console"),
      ]);
      assert.notEqual(outcome.status, 0);
    },
  ),
  terminal(
    "contract",
    "exec-terminal",
    "exec with --tty, --detach and --console-socket sends its terminal",
    async (t) => {
      const container = await t.started();
      const listener = listen(t.path("console"));
      t.onClose(() => listener.close());
      const process = {
        terminal: true,
        args: ["/bin/sh", "-c", "tty; echo end"],
        cwd: "/",
        env: ["PATH=/bin"],
        user: { uid: 0, gid: 0 },
      };
      const done = execFile(t, container, process, [
        "--detach",
        "--pid-file",
        t.path("e.pid"),
        "--console-socket",
        t.path("console"),
      ]);
      const message = await listener.receive();
      const { status, stderr } = await done;
      assert.equal(status, 0, stderr);
      t.onClose(() => message.close());
      assert.match(
        await readTerminal(message.fds[0] ?? -1, (seen) => seen.includes("end")),
        /\/dev\/pts\/\d+/,
      );
      await waitForOrphan(Number(readFileSync(t.path("e.pid"), "utf8")));
    },
  ),
];

function limitOf(t: Trial, name: string, v1: string, v2: string): string {
  const file = usesCgroupV1(t.machine) ? v1 : v2;
  return readFileSync(`${cgroupDirectory(t, name)}/${file}`, "utf8").trim();
}
