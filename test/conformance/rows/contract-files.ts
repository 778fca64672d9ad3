/** What engines pass to a runtime besides the bundle, and read back: pid files, exec, run, flags. */
import assert from "node:assert/strict";
import { closeSync, existsSync, openSync, readFileSync, writeFileSync } from "node:fs";
import type { Container } from "../container.ts";
import { cgroupDirectory } from "../leftovers.ts";
import { controller } from "../machine.ts";
import { isAlive, runCommand, until, waitForOrphan } from "../processes.ts";
import { type Row, rowsOf } from "../row.ts";
import type { Trial } from "../trial.ts";

const row = rowsOf("engines, command line");

/** exec with a process file, as containerd and conmon do. */
export async function execFile(
  t: Trial,
  container: Container,
  process: object,
  flags: readonly string[],
) {
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
  row(
    "contract",
    "exec-failed-reaped",
    "what a failed exec began is reaped by the runtime: PID 1 could not end before it",
    async (t) => {
      const container = await t.started();
      for (let times = 0; times < 10; times += 1) await container.tryExec(["/no/such"]);
      await container.kill("KILL");
      await container.exited();
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
];
