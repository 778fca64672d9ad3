/** `run --detach`, `logs`, `stop`, `kill`, `wait`: containers and machines in the background. */
import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { existsSync, readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { until } from "../../engine/terminal/pty.ts";
import { guestKernel, whyNoMachine } from "../../engine/vm/guest-kernel.ts";
import { command, type Outcome, useWorld, type World } from "./world.ts";

const [program, ...firstArgs] = command;
const graceful = 'trap "echo bye; exit 9" TERM; echo up; while :; do sleep 0.1; done';

describe("run --detach", function () {
  this.timeout(60_000);
  let world: World;
  useWorld((made) => {
    world = made;
    assert.equal(world.mw(["pull", world.image]).status, 0);
  });
  afterEach("nothing is left", () => {
    if (world === undefined) return;
    const ids = world.mw(["ps", "-aq"]).stdout.split("\n").filter(Boolean);
    if (ids.length > 0) world.mw(["rm", "-f", ...ids]);
    assert.deepEqual(world.leftovers(), []);
  });

  const detach = (flags: readonly string[], script: string): Outcome =>
    world.mw(["run", "-d", ...flags, world.image, "sh", "-c", script]);
  const lines = (...args: readonly string[]): readonly string[] =>
    world.mw(args).stdout.split("\n").filter(Boolean);

  it("prints the ID and goes; what it wrote and how it ended can be asked for", () => {
    const { stdout, stderr, status } = detach(
      ["--name", "d1"],
      "echo out; echo err >&2; sleep 0.5; echo late; exit 7",
    );
    assert.deepEqual([stderr, status], ["", 0]);
    assert.match(stdout, /^[0-9a-f]{64}\n$/);
    assert.deepEqual(lines("ps", "--format", "{{.Names}}"), ["d1"]);
    assert.equal(world.mw(["wait", "d1"]).stdout, "7\n");
    assert.match(lines("ps", "-a", "--format", "{{.Status}}")[0] ?? "", /^Exited \(7\)/);
    const logs = world.mw(["logs", "d1"]);
    assert.deepEqual([logs.stdout, logs.stderr], ["out\nlate\n", "err\n"]);
    assert.equal(world.mw(["logs", "--tail", "1", "d1"]).stdout, "late\n");
    assert.equal(world.mw(["logs", "--tail", "0", "d1"]).stdout, "");
    assert.match(world.mw(["logs", "-t", "d1"]).stdout, /^\d{4}-\d\d-\d\dT[\d:]{8}\.\d{9}Z out\n/);
    assert.equal(world.mw(["logs", "--since", "1h", "d1"]).stdout, "out\nlate\n");
    assert.equal(world.mw(["logs", "--since", "2099-01-01", "d1"]).stdout, "");
    assert.equal(world.mw(["rm", "d1"]).status, 0);
    assert.match(world.mw(["logs", "d1"]).stderr, /Cannot find container "d1"/);
  });

  it("logs --follow ends with the container, and has all that it wrote", async () => {
    detach(
      ["--name", "f1"],
      "for i in 1 2 3 4 5 6; do echo $i; sleep 0.1; done; seq 1 20000 | tail -1",
    );
    const follow = spawn(program, [...firstArgs, "logs", "-f", "f1"], { env: world.env() });
    let text = "";
    follow.stdout.on("data", (bytes) => {
      text += bytes;
    });
    const [code] = await once(follow, "close");
    assert.deepEqual([text, code], ["1\n2\n3\n4\n5\n6\n20000\n", 0]);
  });

  it("stop sends the container's signal and kills what does not end", () => {
    detach(["--name", "s1"], graceful);
    detach(["--name", "s2"], 'trap "" TERM; while :; do sleep 0.1; done');
    detach(
      ["--name", "s3", "--stop-signal", "USR1"],
      'trap "exit 5" USR1; while :; do sleep 0.1; done',
    );
    spawnSync("sleep", ["0.5"]);
    const stopped = world.mw(["stop", "-t", "1", "s1", "s2", "s3"]);
    assert.equal(stopped.stdout, "s1\ns2\ns3\n", stopped.stderr);
    assert.equal(world.mw(["wait", "s1", "s2", "s3"]).stdout, "9\n137\n5\n");
    assert.equal(world.mw(["logs", "s1"]).stdout, "up\nbye\n");
    assert.equal(world.mw(["stop", "s1"]).status, 0, "one that has ended is stopped");
    assert.match(world.mw(["kill", "s1"]).stderr, /Cannot kill "s1": it is not running/);
  });

  it("kill sends any signal", async () => {
    detach(["--name", "k1"], 'trap "echo usr1" USR1; echo up; while :; do sleep 0.1; done');
    await until(() => world.mw(["logs", "k1"]).stdout === "up\n", "its first words");
    assert.equal(world.mw(["kill", "-s", "SIGUSR1", "k1"]).status, 0);
    await until(() => world.mw(["logs", "k1"]).stdout === "up\nusr1\n", "its answer");
    assert.match(world.mw(["kill", "-s", "NOPE", "k1"]).stderr, /expected a name or 1 to 64/);
    assert.equal(world.mw(["kill", "k1"]).status, 0);
    assert.equal(world.mw(["wait", "k1"]).stdout, "137\n");
  });

  it("exec runs in the container, as its first process may", () => {
    detach(["--name", "e1", "-e", "A=first", "-e", "B=first", "-w", "/tmp"], "sleep 1000");
    const mw = (...args: readonly string[]) => world.mw(["exec", ...args], { input: "typed\n" });
    const script =
      'echo $A $B; pwd; id -u; cat; grep -E "^(CapEff|Seccomp):" /proc/self/status; ps | grep -c "[s]leep 1000"; exit 7';
    const { stdout, status, stderr } = mw("-i", "-e", "B=second", "e1", "sh", "-c", script);
    assert.equal(
      stdout,
      "first second\n/tmp\n0\ntyped\nCapEff:\t00000000a80425fb\nSeccomp:\t2\n1\n",
      stderr,
    );
    assert.equal(status, 7);
    const web = mw(
      "-u",
      "web",
      "-w",
      "/",
      "e1",
      "sh",
      "-c",
      "id -un; pwd; grep CapEff /proc/self/status; cat",
    );
    assert.equal(web.stdout, "web\n/\nCapEff:\t0000000000000000\n", "no input without -i");
    assert.deepEqual([mw("e1", "/no/such").status, mw("e1", "/etc/passwd").status], [127, 126]);
    assert.match(mw("-u", "nobody-here", "e1", "id").stderr, /nobody-here/);
    assert.match(mw("-t", "e1", "tty").stdout, /^\/dev\/pts\/\d+\r\n$/);
    world.mw(["kill", "e1"]);
    world.mw(["wait", "e1"]);
    assert.match(mw("e1", "true").stderr, /Cannot run a command in "e1": it is not running/);
  });

  it("--rm leaves nothing, without anybody asking", async () => {
    detach(["--rm"], "exit 0");
    await until(() => world.leftovers().length === 0, "its end");
  });

  it("a terminal and an input stay open", async () => {
    world.mw(["run", "-dit", "--name", "t1", world.image, "sh"]);
    world.mw(["run", "-di", "--name", "t2", world.image, "cat"]);
    detach(["-t", "--name", "t3"], "test -t 1 && echo terminal");
    await sleep(500);
    assert.deepEqual(lines("ps", "--format", "{{.Names}}").toSorted(), ["t1", "t2"]);
    assert.equal(world.mw(["logs", "t3"]).stdout, "terminal\r\n");
  });

  it("what fails before the container runs says so, with docker's status", () => {
    const missing = world.mw(["run", "-d", world.image, "/no/such"]);
    assert.deepEqual([missing.status, missing.stdout], [127, ""]);
    assert.match(missing.stderr, /no such file or directory/);
    assert.equal(world.mw(["run", "-d", "--pull", "never", "no/such:image"]).status, 125);
  });

  it("holds nothing of its caller's, and its keeper is tiny", async () => {
    const words = [...firstArgs, "run", "-d", "--name", "h1", world.image, "sleep", "100"];
    const script = 'exec 9>&1; OUT=$("$@" 2>&1); echo "$OUT" | wc -c';
    const { stdout } = spawnSync("sh", ["-c", script, "sh", program, ...words], {
      encoding: "utf8",
      env: world.env(),
      timeout: 20_000,
    });
    assert.equal(stdout.trim(), "65");
    await until(() => keepersOf(world).length === 1, "the keeper");
    const own = keepersOf(world);
    const [, kib = ""] =
      /^Rss: +(\d+) kB/m.exec(readFileSync(`/proc/${own[0]}/smaps_rollup`, "utf8")) ?? [];
    assert.ok(Number(kib) < 200, `${kib} KiB`);
  });

  it("the container dies with a keeper that is killed, and counts as killed", async () => {
    detach(["--name", "z1"], "sleep 1000");
    await until(() => keepersOf(world).length === 1, "the keeper");
    process.kill(Number(keepersOf(world)[0]), "SIGKILL");
    assert.equal(world.mw(["wait", "z1"]).stdout, "137\n");
  });

  it("a log has a limit: the older half goes", () => {
    detach(
      ["--name", "b1"],
      "yes 0123456789012345678901234567890123456789 | head -c 40000000; echo; echo end",
    );
    assert.equal(world.mw(["wait", "b1"]).stdout, "0\n");
    const [id = ""] = readdirSync(join(world.root, "containers"));
    const sizes = ["log", "log.1"].map(
      (name) => statSync(join(world.root, "containers", id, name)).size,
    );
    assert.ok(
      sizes.every((size) => size <= 17 * 1024 * 1024),
      String(sizes),
    );
    assert.equal(world.mw(["logs", "-n", "1", "b1"]).stdout, "end\n");
  });

  it("a machine runs in the background as well", async function () {
    const reason = whyNoMachine();
    if (reason !== undefined) {
      console.log(`      skipped: ${reason}`);
      this.skip();
    }
    const flags = ["--name", "m1", "--cpu", "software", "--kernel", guestKernel()];
    const { stdout, stderr } = detach(flags, `echo err >&2; ${graceful}`);
    assert.match(stdout, /^[0-9a-f]{64}\n$/, stderr);
    await until(() => world.mw(["logs", "m1"]).stdout === "up\n", "its first words");
    assert.equal(world.mw(["exec", "m1", "echo", "inside"]).stdout, "inside\n");
    assert.equal(world.mw(["stop", "m1"]).status, 0);
    assert.equal(world.mw(["wait", "m1"]).stdout, "9\n");
    const logs = world.mw(["logs", "m1"]);
    assert.deepEqual([logs.stdout, logs.stderr], ["up\nbye\n", "err\n"]);
    assert.equal(world.mw(["rm", "m1"]).status, 0);
    // The directory for machines' sockets.
    const sockets = join(world.root, "run", "vm");
    if (existsSync(sockets)) spawnSync("rmdir", [sockets]);
  });
});

function keepersOf({ root }: World): readonly string[] {
  const keepers = readdirSync("/proc").filter((pid) => nameOf(pid) === "manyworlds-keeper");
  return keepers.filter((pid) => holds(pid, root));
}

function nameOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8").split("\0")[0] ?? "";
  } catch {
    return "";
  }
}

/** Whether the process has a file below this directory open. */
function holds(pid: string, directory: string): boolean {
  const { stdout } = spawnSync("ls", ["-l", `/proc/${pid}/fd`], { encoding: "utf8" });
  return stdout.includes(directory);
}
