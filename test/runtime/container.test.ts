import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { call } from "../../linux/index.ts";
import type { RuntimeConfig } from "../../oci/index.ts";
import { execInContainer } from "../../runtime/exec.ts";
import {
  deleteContainer,
  dockerSeccompProfile,
  killContainer,
  readContainer,
  waitForChild,
} from "../../runtime/index.ts";
import { pauseContainer, resumeContainer, startContainer } from "../../runtime/lifecycle.ts";
import { relayTerminal } from "../../runtime/pty.ts";
import { receiveDescriptor, socketPair } from "../../runtime/sockets.ts";
import { cannotRunContainers, Sandbox } from "./sandbox.ts";

function withLinux(config: RuntimeConfig, linux: Partial<RuntimeConfig["linux"]>): RuntimeConfig {
  return { ...config, linux: { ...config.linux, ...linux } };
}

const reason = cannotRunContainers();

describe("containers", function () {
  this.timeout(20_000);
  before(function () {
    if (reason === undefined) return;
    console.log(`      skipped: ${reason}`);
    this.skip();
  });

  it("pass on the exit status, or 128 and the signal", () => {
    using sandbox = new Sandbox();
    assert.equal(sandbox.run(sandbox.config("exit 7")).code, 7);
    assert.equal(sandbox.run(sandbox.config("kill -9 $$")).code, 0, "PID 1 cannot kill itself");
    const { code, signal } = sandbox.run(sandbox.config("exec sh -c 'ulimit -c 0; exit 3'"));
    assert.deepEqual([code, signal], [3, undefined]);
  });

  it("see what config.json says: names, IDs, environment, directory, namespaces", () => {
    using sandbox = new Sandbox();
    const script = "id -u; id -g; id -G; pwd; hostname; umask; echo $A; echo $$; ls /proc/self/fd";
    const { stdout, stderr } = sandbox.run(
      sandbox.config(script, {
        user: { uid: 11, gid: 12, additionalGids: [13], umask: 0o27 },
        cwd: "/tmp/made/here",
        env: ["PATH=/bin", "A=b c"],
      }),
    );
    assert.deepEqual(stdout.split("\n"), [
      ...["11", "12", "12 13", "/tmp/made/here", "manyworlds", "0027", "b c", "1"],
      // ls itself opens the directory that it lists: 3
      ...["0", "1", "2", "3", ""],
    ]);
    assert.equal(stderr, "");
  });

  it("hold exactly the capabilities they are given", () => {
    using sandbox = new Sandbox();
    const { stdout } = sandbox.run(
      sandbox.config("grep -E 'Cap|NoNew' /proc/self/status", {
        capabilities: {
          bounding: ["CAP_KILL", "CAP_CHOWN"],
          permitted: ["CAP_KILL", "CAP_CHOWN"],
          effective: ["CAP_KILL"],
          inheritable: ["CAP_KILL"],
          ambient: ["CAP_KILL"],
        },
        user: { uid: 5, gid: 5 },
        noNewPrivileges: true,
      }),
    );
    const value = (name: string) => new RegExp(`${name}:\\s+(\\w+)`).exec(stdout)?.[1];
    // The shell that prints was executed by a user: its sets are the ambient ones.
    assert.deepEqual(
      ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"].map(value),
      ["20", "20", "20", "21", "20"].map((set) => set.padStart(16, "0")),
    );
    assert.equal(value("NoNewPrivs"), "1");
  });

  it("run under docker's seccomp profile, with and without no_new_privs", () => {
    using sandbox = new Sandbox();
    for (const noNewPrivileges of [true, false]) {
      const config = sandbox.config("grep Seccomp: /proc/self/status; mount -t tmpfs x /tmp", {
        noNewPrivileges,
        capabilities: {
          bounding: ["CAP_SYS_ADMIN"],
          permitted: ["CAP_SYS_ADMIN"],
          effective: ["CAP_SYS_ADMIN"],
        },
      });
      const { stdout, stderr } = sandbox.run(
        withLinux(config, { seccomp: dockerSeccompProfile() }),
      );
      assert.match(stdout, /Seccomp:\s+2/);
      assert.match(
        stderr,
        /not permitted|permission denied/,
        "the filter, not the capability, refuses",
      );
    }
  });

  it("see neither masked paths nor writable kernel settings", () => {
    using sandbox = new Sandbox();
    const script = "cat /proc/keys | head -c 1; ls /sys/firmware; echo 1 > /proc/sys/vm/swappiness";
    const { stdout, stderr } = sandbox.run(sandbox.config(script));
    assert.equal(stdout, "");
    assert.match(stderr, /Read-only file system/);
  });

  it("get bind mounts, files and directories, at places that did not exist", () => {
    using sandbox = new Sandbox();
    const source = join(sandbox.directory, "source");
    mkdirSync(source);
    writeFileSync(join(source, "file"), "content");
    const config = sandbox.config("cat /a/b/file /c/d; touch /a/b/x; mount | grep ' /a/b '");
    const bind = (from: string, destination: string, ...options: string[]) => ({
      type: "bind",
      source: from,
      destination,
      options: ["rbind", ...options],
    });
    const { stdout, stderr } = sandbox.run({
      ...config,
      mounts: [
        ...(config.mounts ?? []),
        bind(source, "/a/b", "ro", "noexec"),
        bind(join(source, "file"), "/c/d"),
      ],
    });
    assert.match(stdout, /^contentcontent/);
    assert.match(stdout, /\(ro,[^)]*noexec/);
    assert.match(stderr, /Read-only file system/);
    assert.ok(!existsSync(join(source, "x")));
  });

  it("cannot lead a mount out of their root by a symlink (CVE-2021-30465)", () => {
    using sandbox = new Sandbox();
    const outside = join(sandbox.directory, "outside");
    mkdirSync(outside);
    symlinkSync(outside, join(sandbox.rootfs, "absolute"));
    symlinkSync("../../../../../..", join(sandbox.rootfs, "upwards"));
    const config = sandbox.config("ls /absolute /upwards/deep; echo x > /upwards/deep/made");
    const { code } = sandbox.run({
      ...config,
      mounts: [
        ...(config.mounts ?? []),
        { type: "tmpfs", source: "tmpfs", destination: "/absolute/deep" },
        { type: "tmpfs", source: "tmpfs", destination: "/upwards/deep" },
      ],
    });
    assert.equal(code, 0);
    assert.ok(!existsSync(join(outside, "deep")));
    assert.ok(existsSync(join(sandbox.rootfs, "deep")), "/upwards leads to the root itself");
  });

  for (const [command, text, exitCode] of [
    ["/bin/nope", 'exec: "/bin/nope": stat /bin/nope: no such file or directory', 127],
    ["nope", 'exec: "nope": executable file not found in $PATH', 127],
    ["/tmp", 'exec: "/tmp": permission denied', 126],
  ] as const)
    for (const mode of ["run", "create"] as const)
      it(`say in runc's words why "${command}" does not ${mode}, and leave nothing`, () => {
        using sandbox = new Sandbox();
        assert.throws(() => sandbox.create(sandbox.config("", { args: [command] }), { mode }), {
          name: "LaunchError",
          message: `unable to start container process: ${text}`,
          exitCode,
        });
      });

  it("that cannot be made leave nothing behind, and the message says what failed", () => {
    using sandbox = new Sandbox();
    const config = sandbox.config("true");
    const missing = { type: "bind", source: "/no/such/source", destination: "/x" };
    const mounts = [...(config.mounts ?? []), missing];
    assert.throws(() => sandbox.create({ ...config, mounts }), {
      name: "LaunchError",
      message: /take "\/no\/such\/source".*: no such file or directory$/,
    });
    const resources = { cpu: { cpus: "4000" } };
    assert.throws(() => sandbox.create(withLinux(config, { resources })), {
      name: "CgroupError",
      field: "linux.resources.cpu.cpus",
    });
  });

  it("whose cgroup or resctrl group is refused leave nothing either", () => {
    using sandbox = new Sandbox();
    const config = withLinux(sandbox.config("true"), { intelRdt: { closID: "../up" } });
    assert.throws(() => sandbox.run(config), /intelRdt/);
    assert.deepEqual(existsSync(sandbox.stateRoot) ? readdirSync(sandbox.stateRoot) : [], []);
  });

  it("created wait for start, then live through pause, exec, kill and delete", () => {
    using sandbox = new Sandbox();
    const config = sandbox.config("touch /started; exec sleep 100");
    const { pid, pidfd } = sandbox.create(config, { mode: "create" });
    pidfd.close();
    const read = () => readContainer(sandbox.stateRoot, sandbox.id);
    assert.equal(read().status, "created");
    assert.ok(!existsSync(join(sandbox.rootfs, "started")));
    assert.throws(() => execInContainer({ ...read(), pid: 0 }, { process: { cwd: "/" } }), {
      message: "cannot exec in a stopped container",
    });
    startContainer(read());
    assert.equal(read().status, "running");
    assert.throws(() => startContainer(read()), {
      message: "cannot start an already running container",
    });
    pauseContainer(read());
    assert.equal(read().status, "paused");
    resumeContainer(read());
    assert.throws(() => deleteContainer(read()), { message: /that is not stopped: running$/ });
    const args = ["/bin/sh", "-c", "test -e /started && test $$ -gt 1 && exit 9"];
    const executed = execInContainer(read(), { process: { cwd: "/tmp", args } });
    assert.equal(waitForChild(executed.pid).code, 9);
    executed.pidfd.close();
    const nope = { cwd: "/", args: ["nope"], env: ["PATH=/bin"] };
    assert.throws(() => execInContainer(read(), { process: nope }), { exitCode: 127 });
    killContainer(read(), 9);
    assert.equal(waitForChild(pid).signal, 9);
    assert.equal(read().status, "stopped");
    assert.throws(() => killContainer(read(), 9), { message: "container not running" });
    deleteContainer(read());
  });

  it("in a user namespace are root inside and somebody else outside", () => {
    using sandbox = new Sandbox();
    const config = sandbox.config("id -u; cat /proc/self/uid_map; touch /tmp/mine");
    const mapping = [{ containerID: 0, hostID: 0, size: 1000 }];
    const namespaces = [...(config.linux?.namespaces ?? []), { type: "user" as const }];
    const { stdout, stderr, code } = sandbox.run(
      withLinux(config, { namespaces, uidMappings: mapping, gidMappings: mapping }),
    );
    assert.equal(code, 0, stderr);
    assert.match(stdout, /^0\n\s+0\s+0\s+1000\n/);
  });

  it("with an init reap orphans, pass signals on and end as their command", () => {
    using sandbox = new Sandbox();
    const script = "(sleep 0.1 & ) ; sleep 0.3; ls -d /proc/[0-9]* | grep -c . ; echo $$; exit 5";
    const { stdout, code } = sandbox.run(sandbox.config(script), { init: true });
    const [processes, pid] = stdout.trim().split("\n").map(Number);
    assert.equal(code, 5);
    assert.ok(pid !== undefined && pid > 1, "the command is not PID 1");
    assert.ok(processes !== undefined && processes <= 4, "init, shell, ls and grep");
    const container = sandbox.create(
      sandbox.config("trap 'exit 6' TERM; while :; do sleep 0.05; done"),
      {
        init: true,
      },
    );
    spawnSync("sleep", ["0.2"]);
    call("kill", container.pid, 15);
    assert.equal(waitForChild(container.pid).code, 6);
    sandbox.destroy(container);
  });

  it("have a terminal of their own, with the size that was asked for", async () => {
    using sandbox = new Sandbox();
    const [ours, theirs] = socketPair(1);
    const config = sandbox.config("tty; stty size; test -c /dev/console && echo console", {
      terminal: true,
      consoleSize: { height: 33, width: 77 },
    });
    const container = sandbox.create(config, { console: theirs });
    theirs.close();
    using master = receiveDescriptor(ours);
    ours.close();
    const log = join(sandbox.directory, "terminal");
    const output = call("openat", -100, log, 0x41, 0o600);
    const input = call("openat", -100, "/dev/null", 0);
    const { pidfd } = container;
    const end = await relayTerminal({ master, input, output, pidfd, onSignal: async () => {} });
    assert.equal(end, "exited");
    assert.equal(waitForChild(container.pid).code, 0);
    sandbox.destroy(container);
    for (const fd of [input, output]) call("close", fd);
    assert.equal(readFileSync(log, "utf8"), "/dev/pts/0\r\n33 77\r\nconsole\r\n");
  });

  it("of a runtime that was killed are cleaned up by delete --force", () => {
    using sandbox = new Sandbox();
    const config = sandbox.config("sleep 100");
    const { pidfd, pid } = sandbox.create(config, { mode: "create" });
    pidfd.close();
    const container = readContainer(sandbox.stateRoot, sandbox.id);
    deleteContainer(container, { force: true });
    assert.equal(waitForChild(pid).signal, 9);
  });

  it("do not show the runtime's executable to what they run (CVE-2019-5736)", () => {
    using sandbox = new Sandbox();
    // #!/proc/self/exe executes whatever executes it: not us, but the sealed program.
    writeFileSync(join(sandbox.rootfs, "bin/evil"), "#!/proc/self/exe\n", { mode: 0o755 });
    const container = sandbox.create(sandbox.config("", { args: ["/bin/evil"] }));
    waitForChild(container.pid);
    sandbox.destroy(container);
    const config = sandbox.config("exec sleep 100");
    const victim = sandbox.create(config);
    const process = { cwd: "/", args: ["/bin/readlink", "/proc/self/exe"] };
    const read = readContainer(sandbox.stateRoot, sandbox.id);
    const executed = execInContainer(read, { process });
    assert.equal(waitForChild(executed.pid).code, 0);
    executed.pidfd.close();
    call("kill", victim.pid, 9);
    waitForChild(victim.pid);
    sandbox.destroy(victim);
  });
});
