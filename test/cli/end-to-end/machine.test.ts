/** `run --isolation vm` on the software CPU, which every machine has. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { ECHO, ICANON, termios } from "../../../linux/index.ts";
import { parseCpuReport } from "../../../vmm-sandbox/index.ts";
import { TestTerminal, until } from "../../engine/terminal/pty.ts";
import { guestKernel, whyNoMachine } from "../../engine/vm/guest-kernel.ts";
import { useWorld, type World } from "./world.ts";

describe("run --isolation vm --cpu software", function () {
  this.timeout(180_000);
  let world: World;
  before(function () {
    const reason = whyNoMachine();
    if (reason === undefined) return;
    console.log(`      skipped: ${reason}`);
    this.skip();
  });
  useWorld((made) => {
    world = made;
  });

  const machine = () => ["run", "--rm", "--cpu", "software", "--kernel", guestKernel()];
  const inMachine = (flags: readonly string[], command: readonly string[], input = "") =>
    world.mw([...machine(), ...flags, world.image, ...command], { input });

  it("pulls without unpacking, and gives streams, environment, user, directory and status", () => {
    const script =
      'cat; echo "$A $FROM_IMAGE"; id; pwd; hostname; cat /etc/hostname; echo problem >&2; exit 7';
    const flags = ["-q", "-i", "-e", "A=1", "-u", "web", "--group-add", "video", "-w", "/tmp"];
    const { stdout, stderr, status } = inMachine(
      [...flags, "--hostname", "box"],
      ["sh", "-c", script],
      "hello\n",
    );
    assert.equal(stderr, "problem\n");
    assert.equal(
      stdout,
      "hello\n1 yes\nuid=1000(web) gid=1000(web) groups=29(audio),30(video),1000(web)\n/tmp\nbox\nbox\n",
    );
    assert.equal(status, 7);
    assert.deepEqual(
      world.leftovers().filter((name) => name !== "vm"),
      [],
    );
  });

  it("--cpu-stats shows what the CPU did and writes it to a file; a container has none", () => {
    const file = world.path("stats.json");
    const { stdout, stderr, status } = inMachine([`--cpu-stats=${file}`], ["sh", "-c", "exit 3"]);
    assert.deepEqual([stdout, status], ["", 3]);
    for (const words of [
      /^Blocks translated +\d/m,
      /^lookup +code/m,
      /^PUSHF +[1-9].* WebAssembly/m,
    ])
      assert.match(stderr, words);
    const { cpu, report } = JSON.parse(readFileSync(file, "utf8"));
    assert.equal(cpu, "software");
    assert.ok(parseCpuReport(report).translation.instructions > 1000);
    const refused = world.mw(["run", "--rm", "--isolation", "container", "--cpu-stats", "x"]);
    assert.match(refused.stderr, /--cpu-stats.* are about virtual machines/);
    const nowhere = inMachine(["--cpu-stats=/nowhere/x"], ["true"]);
    assert.match(nowhere.stderr, /Cannot write "\/nowhere\/x"/);
  });

  it("shares directories and single files, sets limits, and keeps the image as it is", () => {
    mkdirSync(world.path("shared"));
    writeFileSync(world.path("shared/from-host"), "host wrote this\n");
    writeFileSync(world.path("single"), "one file\n");
    writeFileSync(world.path("secret"), "not for the guest\n");
    const script = `
      cat /data/from-host /single; echo guest wrote this > /data/from-guest
      touch /single 2>&1; touch /new 2>&1; touch /scratch/new && echo scratch
      cat /sys/fs/cgroup/pids.max /sys/fs/cgroup/memory.max; ulimit -n
      mkdir /data/sub; ls /proc/1/root/volumes 2>&1
      grep -E "CapBnd|Seccomp:" /proc/self/status`;
    const flags = [
      "-v",
      `${world.path("shared")}:/data`,
      "-v",
      `${world.path("single")}:/single:ro`,
    ];
    const limits = ["--memory", "64m", "--pids-limit", "50", "--ulimit", "nofile=100:200"];
    const { stdout, stderr, status } = inMachine(
      [...flags, ...limits, "--read-only", "--tmpfs", "/scratch"],
      ["sh", "-c", script],
    );
    assert.equal(status, 0, stderr);
    assert.deepEqual(stdout.trim().split("\n"), [
      "host wrote this",
      "one file",
      "touch: /single: Read-only file system",
      "touch: /new: Read-only file system",
      "scratch",
      "50",
      "67108864",
      "100",
      "ls: /proc/1/root/volumes: No such file or directory",
      "CapBnd:\t00000000a80425fb",
      "Seccomp:\t2",
    ]);
    assert.equal(readFileSync(world.path("shared/from-guest"), "utf8"), "guest wrote this\n");
  });

  it("says what cannot be: commands, users, CPUs, kernels, host namespaces", () => {
    for (const [why, flags, command, expected, text] of [
      ["no such command", [], ["nonexistent"], 127, /executable file not found in \$PATH/],
      ["not executable", [], ["/etc/passwd"], 126, /permission denied/],
      ["no such user", ["-u", "nobody"], ["true"], 125, /Cannot find user "nobody"/],
      ["no such kernel", ["--kernel", "/nonexistent"], ["true"], 125, /as guest kernel: expected/],
      ["no kernel at all", ["--kernel", "/etc/passwd"], ["true"], 125, /kernel/i],
      ["host's namespaces", ["--pid", "host"], ["true"], 125, /Cannot use --pid host/],
      ["host's devices", ["--device", "/dev/null"], ["true"], 125, /Cannot use --device/],
    ] as const) {
      const { status, stderr, stdout } = inMachine(flags, command);
      assert.equal(status, expected, `${why}: ${stderr}`);
      assert.match(stderr, text, why);
      assert.equal(stdout, "");
    }
    assert.deepEqual(
      world.leftovers().filter((name) => name !== "vm"),
      [],
    );
  });

  it("gives a terminal of the right size, follows its size, and is found by ps, exec and rm", async () => {
    using terminal = new TestTerminal({ rows: 31, columns: 97 });
    const before = terminal.settings();
    const { number } = terminal.inner;
    const words = [...machine(), "-it", "--name", "box", world.image, "sh"];
    const child = world.start(words, [number, number, number]);
    const ended = once(child, "exit");
    await terminal.expect("# ", 60_000);
    assert.equal(termios.decode(terminal.settings()).c_lflag & (ECHO | ICANON), 0);
    terminal.type("tty; stty size; echo $TERM\r");
    assert.match(await terminal.expect("xterm"), /\/dev\/(pts\/0|console)\r\n31 97\r\n/);
    terminal.resize(20, 50);
    child.kill("SIGWINCH");
    await new Promise((resolve) => setTimeout(resolve, 500));
    terminal.type("stty size\r");
    await terminal.expect("20 50");
    terminal.type("sleep 1000\r");
    await new Promise((resolve) => setTimeout(resolve, 1000)); // until it sleeps
    terminal.type("\u0003");
    await terminal.expect("# ");
    terminal.type("touch /made-here; echo done\r");
    await terminal.expect("done");
    const { stdout } = world.mw(["ps", "--format", "{{.Names}} {{.State}} {{.Isolation}}"]);
    assert.equal(stdout, "box running vm on software\n");
    const script = 'cat; ls /made-here; echo "$B $FROM_IMAGE"; id -un; ps | head -2; exit 9';
    const flags = ["-i", "-e", "B=2", "-u", "web"];
    const second = world.mw(["exec", ...flags, "box", "sh", "-c", script], { input: "in\n" });
    assert.match(second.stdout, /^in\n\/made-here\n2 yes\nweb\nPID .*\n +1 root +sh\n$/);
    assert.equal(second.status, 9, second.stderr);
    assert.equal(world.mw(["exec", "box", "nonexistent"]).status, 127);
    assert.match(world.mw(["rm", "box"]).stderr, /it is running/);
    assert.equal(world.mw(["rm", "-f", "box"]).stdout, "box\n");
    assert.equal((await ended)[0], 137);
    await until(() => Buffer.compare(terminal.settings(), before) === 0, "settings as before");
    assert.deepEqual(
      world.leftovers().filter((name) => name !== "vm"),
      [],
    );
  });

  it("passes signals on, and leaves nothing when it is killed", async () => {
    const script = "trap 'echo got it; exit 4' TERM; echo ready; while :; do sleep 0.1; done";
    const words = [...machine(), "--name", "trapped", world.image, "sh", "-c", script];
    const child = world.start(words);
    await untilSays(child, "ready");
    child.kill("SIGTERM");
    await untilSays(child, "got it");
    assert.equal((await once(child, "exit"))[0], 4);
    const other = world.start(words);
    await untilSays(other, "ready");
    other.kill("SIGKILL");
    await once(other, "exit");
    await until(() => world.mw(["ps", "-aq"]).stdout === "", "no container");
    assert.deepEqual(
      world.leftovers().filter((name) => name !== "vm"),
      [],
    );
  });

  async function untilSays(child: ReturnType<World["start"]>, text: string): Promise<void> {
    let all = "";
    const seen = new Promise<void>((resolve, reject) => {
      child.stdout?.on("data", (bytes: Buffer) => {
        all += bytes.toString();
        if (all.includes(text)) resolve();
      });
      child.stderr?.on("data", (bytes: Buffer) => {
        all += bytes.toString();
      });
      child.once("exit", () => reject(new Error(`It ended without saying "${text}": ${all}`)));
    });
    await seen;
  }
});
