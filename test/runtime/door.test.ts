import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import {
  chmodSync,
  existsSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { setTimeout } from "node:timers/promises";
import { freezeCgroup } from "../../runtime/cgroups/cgroup.ts";
import { doorExecutable } from "../../runtime/door/door.ts";
import { facts } from "../../runtime/door/facts.ts";
import { leaveExecProgram } from "../../runtime/door/prepare.ts";
import { waitForChild } from "../../runtime/index.ts";
import { startContainer } from "../../runtime/lifecycle.ts";
import { readContainer } from "../../runtime/state.ts";
import { cannotRunContainers, cgroupsNamed, Sandbox } from "./sandbox.ts";

/** Stands where the executable does: the door became it, and with which words. */
const executable = '#!/bin/sh\necho "executable $*"\nexit 42\n';

describe("runtime/door", function () {
  this.timeout(60_000);
  let sandbox: Sandbox;
  let door: string;
  before(function () {
    if (cannotRunContainers() !== undefined) {
      console.log(`    skipped: ${cannotRunContainers()}`);
      this.skip();
    }
  });
  beforeEach(() => {
    sandbox = new Sandbox();
    door = join(sandbox.directory, "manyworlds-oci");
    writeFileSync(door, doorExecutable(), { mode: 0o755 });
    writeFileSync(join(sandbox.directory, "manyworlds"), executable, { mode: 0o755 });
  });
  afterEach(() => sandbox?.[Symbol.dispose]());

  const say = (...words: readonly string[]) => {
    const { status, stdout, stderr } = spawnSync(door, words, { encoding: "utf8" });
    return { status, stdout, stderr };
  };
  const verb = (...words: readonly string[]) => say("--root", sandbox.stateRoot, ...words);
  const done = { status: 0, stdout: "", stderr: "" };
  const isDone = (result: ReturnType<typeof say>) => assert.deepEqual(result, done);
  const isExecutable = (result: ReturnType<typeof say>, words: string) =>
    assert.deepEqual(result, { status: 42, stdout: `executable ${words}\n`, stderr: "" });
  const stateFiles = () => readdirSync(join(sandbox.stateRoot, sandbox.id)).sort();
  const create = (script: string) => sandbox.create(sandbox.config(script), { mode: "create" });

  it("starts and deletes a container alone", () => {
    const { pid, pidfd, directory } = create("echo > /tmp/ran");
    isDone(verb("start", sandbox.id));
    assert.deepEqual(waitForChild(pid), { code: 0 });
    assert.ok(existsSync(join(sandbox.rootfs, "tmp/ran")));
    assert.ok(!stateFiles().includes("start.sock"));
    isDone(verb("delete", sandbox.id));
    assert.ok(!existsSync(directory));
    assert.deepEqual(cgroupsNamed(sandbox.id), []);
    pidfd.close();
  });

  it("takes the options that engines give", () => {
    const { pid, pidfd } = create("sleep 100");
    const log = join(sandbox.directory, "log.json");
    const options = [`--root=${sandbox.stateRoot}`, "--log", log, "--log-format", "json"];
    isDone(say(...options, "start", sandbox.id));
    isDone(say(...options, "kill", sandbox.id, "9"));
    waitForChild(pid);
    const [root = ""] = options;
    const others = [root, "--systemd-cgroup", `--log=${log}`, "--log-format=json", "--debug"];
    isDone(say(...others, "delete", "--force", sandbox.id));
    assert.ok(!existsSync(log));
    pidfd.close();
  });

  it("leaves a running container to the executable, and kills it with --force", () => {
    const { pid, pidfd } = create("sleep 100");
    isDone(verb("start", sandbox.id));
    isExecutable(verb("delete", sandbox.id), `--root ${sandbox.stateRoot} delete ${sandbox.id}`);
    assert.equal(readContainer(sandbox.stateRoot, sandbox.id).status, "running");
    isDone(verb("delete", "-f", sandbox.id));
    assert.deepEqual(waitForChild(pid), { code: 137, signal: 9 });
    pidfd.close();
  });

  for (const [text, code] of [
    ["TERM", 15],
    ["SIGUSR1", 10],
    ["12", 12],
    ["KILL", 137],
  ] as const)
    it(`kill sends ${text}`, async () => {
      const traps = 'trap "exit 15" TERM; trap "exit 10" USR1; trap "exit 12" USR2';
      const { pid, pidfd } = create(`${traps}; echo > /tmp/ready; while :; do sleep 0.1; done`);
      isDone(verb("start", sandbox.id));
      while (!existsSync(join(sandbox.rootfs, "tmp/ready"))) await setTimeout(5);
      isDone(verb("kill", sandbox.id, text));
      assert.equal(waitForChild(pid).code, code);
      isDone(verb("delete", sandbox.id));
      pidfd.close();
    });

  it("leaves what a container says against its command to the executable", () => {
    const config = sandbox.config("true");
    const { process } = config;
    assert.ok(process);
    const args = ["/bin/gone"];
    writeFileSync(join(sandbox.rootfs, "bin/gone"), "#!/no/such/interpreter\n");
    chmodSync(join(sandbox.rootfs, "bin/gone"), 0o755);
    const { pid, pidfd } = sandbox.create(
      { ...config, process: { ...process, args } },
      { mode: "create" },
    );
    isExecutable(verb("start", sandbox.id), `--root ${sandbox.stateRoot} start ${sandbox.id}`);
    waitForChild(pid);
    const container = readContainer(sandbox.stateRoot, sandbox.id);
    assert.throws(() => startContainer(container), /exec \/bin\/gone: no such file or directory/);
    assert.throws(() => startContainer(container), /that has stopped/);
    isDone(verb("delete", sandbox.id));
    pidfd.close();
  });

  it("never kills a later process with the container's PID", () => {
    const { pid, pidfd } = create("sleep 100");
    const path = join(sandbox.stateRoot, sandbox.id, "door");
    const bytes = readFileSync(path);
    const at = bytes.readUInt32LE(facts.startTime);
    bytes[at] = "8".charCodeAt(0) === bytes[at] ? "9".charCodeAt(0) : "8".charCodeAt(0);
    writeFileSync(path, bytes);
    isExecutable(verb("kill", sandbox.id, "9"), `--root ${sandbox.stateRoot} kill ${sandbox.id} 9`);
    assert.equal(readContainer(sandbox.stateRoot, sandbox.id).status, "created");
    process.kill(pid, 9);
    waitForChild(pid);
    isDone(verb("delete", sandbox.id));
    pidfd.close();
  });

  it("believes no facts that others could have written", () => {
    const { pidfd, pid } = create("true");
    const path = join(sandbox.stateRoot, sandbox.id, "door");
    chmodSync(path, 0o666);
    isExecutable(verb("start", sandbox.id), `--root ${sandbox.stateRoot} start ${sandbox.id}`);
    chmodSync(path, 0o600);
    for (const [why, bytes] of [
      ["empty", Buffer.alloc(0)],
      ["cut off", readFileSync(path).subarray(0, 40)],
      ["of another version", Buffer.from(readFileSync(path)).fill("x", 0, 8)],
      ["too large", Buffer.concat([readFileSync(path), Buffer.alloc(20_000)])],
    ] as const) {
      const good = readFileSync(path);
      writeFileSync(path, bytes);
      const { status } = verb("start", sandbox.id);
      assert.equal(status, 42, why);
      writeFileSync(path, good);
    }
    isDone(verb("delete", "--force", sandbox.id));
    waitForChild(pid);
    pidfd.close();
  });

  for (const [why, words] of [
    ["no word at all", []],
    ["--version", ["--version"]],
    ["an option it does not know", ["--criu", "criu", "start", "x"]],
    ["a log format that does not exist", ["--log-format", "xml", "start", "x"]],
    ["a root without its value", ["--root"]],
    ["a verb of the executable", ["--root", "/tmp", "state", "x"]],
    ["start without a container", ["--root", "/tmp", "start"]],
    ["start with two", ["--root", "/tmp", "start", "x", "y"]],
    ["an option of start", ["--root", "/tmp", "start", "--help"]],
    ["a container that is not there", ["--root", "/tmp", "start", "no-such-container"]],
    ["a name that is a path", ["--root", "/tmp", "start", "../tmp"]],
    ["a signal that does not exist", ["--root", "/tmp", "kill", "x", "65"]],
    ["a signal's unusual name", ["--root", "/tmp", "kill", "x", "sigfoo"]],
    ["kill --all", ["--root", "/tmp", "kill", "--all", "x"]],
    ["words with spaces and a dash", ["--root", "/tmp", "exec", "x", "a b", "-c"]],
  ] as const)
    it(`leaves to the executable: ${why}`, () => isExecutable(say(...words), words.join(" ")));

  describe("exec", () => {
    let pid: number;
    beforeEach(() => {
      const config = sandbox.config("sleep 100", { env: ["PATH=/nowhere::/bin", "COLOUR=red"] });
      const created = sandbox.create(config, { mode: "create" });
      pid = created.pid;
      created.pidfd.close();
      isDone(verb("start", sandbox.id));
      isExecutable(verb("exec", sandbox.id, "true"), words("true"));
      leaveExecProgram(readContainer(sandbox.stateRoot, sandbox.id));
    });
    afterEach(() => {
      isDone(verb("delete", "--force", sandbox.id));
      waitForChild(pid);
    });
    const words = (...command: readonly string[]) =>
      `--root ${sandbox.stateRoot} exec ${sandbox.id} ${command.join(" ")}`;

    it("runs a command in all of the container's namespaces, as its process", () => {
      const { stdout, stderr, status } = verb(
        ...["exec", sandbox.id, "sh", "-c"],
        'id -u; echo $COLOUR "$0" "$@"; pwd; readlink /proc/1/ns/pid; readlink /proc/self/ns/pid; exit 7',
        ...["a b", "", "-c"],
      );
      const [uid, echoed, cwd, first, own] = stdout.split("\n");
      assert.deepEqual([uid, echoed, cwd, stderr, status], ["0", "red a b  -c", "/", "", 7]);
      assert.equal(first, own);
      const cgroups = (process: string) =>
        verb("exec", sandbox.id, "cat", `/proc/${process}/cgroup`);
      assert.deepEqual(cgroups("self"), cgroups("1"));
    });

    it("has the container's process's limits, capabilities and filter, and no descriptors", () => {
      const status = (file: string) =>
        readFileSync(file, "utf8")
          .split("\n")
          .filter((line) => /^(Cap|NoNewPrivs|Seccomp|Umask|Groups|SigBlk)/.test(line));
      const { stdout } = verb("exec", sandbox.id, "cat", "/proc/self/status");
      const path = join(sandbox.directory, "status");
      writeFileSync(path, stdout);
      assert.deepEqual(status(path), status(`/proc/${pid}/status`));
      const open = verb("exec", sandbox.id, "/bin/ls", "/proc/self/fd").stdout;
      assert.deepEqual(open.trim().split(/\s+/), ["0", "1", "2", "3"]); // 3: ls reads the directory
    });

    it("ends as the command does, by a signal too, and passes signals on", async () => {
      assert.equal(verb("exec", sandbox.id, "sh", "-c", "kill -9 $$").status, 137);
      const script = 'trap "exit 5" USR1; echo ready; while :; do sleep 0.1; done';
      const child = spawn(door, [
        "--root",
        sandbox.stateRoot,
        "exec",
        sandbox.id,
        "sh",
        "-c",
        script,
      ]);
      await once(child.stdout, "data");
      child.kill("SIGUSR1");
      assert.deepEqual(await once(child, "close"), [5, null]);
    });

    it("leaves a command that does not run to the executable", () => {
      isExecutable(verb("exec", sandbox.id, "no-such-command"), words("no-such-command"));
      isExecutable(verb("exec", sandbox.id, "/tmp"), words("/tmp"));
      const long = "x".repeat(5000);
      isExecutable(verb("exec", sandbox.id, long), words(long));
      isExecutable(
        verb("exec", "--user", "5", sandbox.id, "id"),
        `--root ${sandbox.stateRoot} exec --user 5 ${sandbox.id} id`,
      );
    });

    it("leaves a frozen container and closed standard streams to the executable", () => {
      const { cgroup } = readContainer(sandbox.stateRoot, sandbox.id);
      assert.ok(cgroup);
      freezeCgroup(cgroup, true);
      isExecutable(verb("exec", sandbox.id, "true"), words("true"));
      isExecutable(
        verb("kill", sandbox.id, "9"),
        `--root ${sandbox.stateRoot} kill ${sandbox.id} 9`,
      );
      freezeCgroup(cgroup, false);
      const script = `exec ${door} --root ${sandbox.stateRoot} exec ${sandbox.id} true <&-`;
      assert.equal(spawnSync("sh", ["-c", script]).status, 42);
    });

    it("shows the container a sealed file in memory, not a file of the host", () => {
      // The kernel runs a script's interpreter, here whatever is executing the script.
      writeFileSync(join(sandbox.rootfs, "bin/trap"), "#!/proc/self/exe\n", { mode: 0o755 });
      const before = readFileSync(door);
      const program = readFileSync(join(sandbox.stateRoot, sandbox.id, "exec"));
      verb("exec", sandbox.id, "/bin/trap");
      assert.deepEqual(readFileSync(door), before);
      assert.deepEqual(readFileSync(join(sandbox.stateRoot, sandbox.id, "exec")), program);
    });
  });

  it("hands its environment on, with Bun's options before it", () => {
    const script = "#!/bin/sh\nexec env\n";
    writeFileSync(join(sandbox.directory, "manyworlds"), script, { mode: 0o755 });
    const env = { COLOUR: "red", EMPTY: "", ["X".repeat(3000)]: "y".repeat(3000) };
    const variables = spawnSync(door, ["--version"], { encoding: "utf8", env }).stdout.split("\n");
    for (const [name, value] of Object.entries(env))
      assert.ok(variables.includes(`${name}=${value}`), name);
    assert.ok(variables.some((variable) => variable.startsWith("BUN_JSC_")));
    const many = Object.fromEntries(Array.from({ length: 4001 }, (_, index) => [`V${index}`, ""]));
    const all = spawnSync(door, ["--version"], { encoding: "utf8", env: many }).stdout.split("\n");
    assert.ok(all.includes("V0=") && all.includes("V4000="));
  });

  it("finds the executable through a link, and without /proc", () => {
    const link = join(sandbox.directory, "runtime");
    symlinkSync(door, link);
    const linked = spawnSync(link, ["--version"], { encoding: "utf8" });
    assert.equal(linked.stdout, "executable --version\n");
    const script = `umount -l /proc; exec ${door} --version`;
    const hidden = spawnSync("unshare", ["-m", "sh", "-c", script], { encoding: "utf8" });
    assert.equal(hidden.stdout, "executable --version\n");
  });

  it("says what is missing when it stands alone", () => {
    const script = `umount -l /proc; cp ${door} ${sandbox.rootfs}; exec ${sandbox.rootfs}/manyworlds-oci`;
    const lost = spawnSync("unshare", ["-m", "sh", "-c", script], { encoding: "utf8" });
    assert.equal(lost.status, 127);
    assert.match(lost.stderr, /Cannot find "manyworlds", expected it beside manyworlds-oci/);
  });
});
