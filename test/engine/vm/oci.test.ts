/** The OCI runtime's machines: what runc's verbs do to a container that runs in one. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import {
  AF_UNIX,
  call,
  Fd,
  POLLIN,
  pollfd,
  SOCK_CLOEXEC,
  SOCK_STREAM,
  sockaddr_un,
  syscall,
  TIOCSWINSZ,
  winsize,
} from "../../../linux/index.ts";
import { receiveDescriptor } from "../../../runtime/index.ts";
import { whyNoMachine } from "./guest-kernel.ts";
import { skipFor } from "./machine-world.ts";
import { OciMachines, processesWith } from "./oci-machine.ts";

describe("OCI runtime with --isolation=vm", function () {
  this.timeout(120_000);
  let machines: OciMachines;

  before(function () {
    const reason = process.getuid?.() === 0 ? whyNoMachine() : "containers of this suite need root";
    skipFor(this, reason);
    machines = new OciMachines();
  });
  after(() => machines?.[Symbol.dispose]());
  afterEach("nothing is left", () => {
    if (machines === undefined) return;
    for (const id of existsSync(machines.state) ? readdirSync(machines.state) : [])
      machines.verb("delete", "--force", id);
    assert.deepEqual(processesWith(machines.state), []);
  });

  it("run: streams, status, the bundle's root, volumes, the process as configured", () => {
    mkdirSync(machines.path("volume"));
    writeFileSync(machines.path("one"), "file one\n");
    writeFileSync(machines.path("two"), "file two\n");
    const bind = (source: string, destination: string, ...more: readonly string[]) => {
      return {
        destination,
        type: "bind",
        source: machines.path(source),
        options: ["rbind", ...more],
      };
    };
    machines.configure(
      `cat; echo to stderr >&2; echo $$; id -u; hostname; cat /etc/one /two; ls /etc
       echo made > /tmp/made; echo kept > /data/kept; echo x > /two || echo read-only
       grep CapBnd /proc/self/status; exit 7`,
      {
        mounts: [bind("volume", "/data"), bind("one", "/etc/one"), bind("two", "/two", "ro")],
        process: { user: { uid: 0, gid: 0 } },
      },
    );
    const { status, stdout, stderr } = machines.run(["run", "r1"], { input: "typed\n" });
    const seen =
      "typed\n1\n0\nmanyworlds\nfile one\nfile two\none\nread-only\nCapBnd:\t0000000020000420\n";
    assert.equal(stdout, seen);
    assert.match(stderr, /to stderr/);
    assert.equal(status, 7);
    assert.equal(readFileSync(`${machines.rootfs}/tmp/made`, "utf8"), "made\n");
    assert.equal(readFileSync(machines.path("volume/kept"), "utf8"), "kept\n");
  });

  it("create, start, exec, signals, pause, update, kill, delete", async () => {
    machines.configure(
      'trap "echo usr1" USR1; trap "exit 9" TERM; echo up; while :; do sleep 0.1; done',
    );
    const pid = machines.create("l1");
    assert.equal(machines.status("l1"), "created");
    assert.equal(machines.verb("start", "l1").status, 0);
    assert.equal(machines.status("l1"), "running");
    assert.match(machines.verb("start", "l1").stderr, /already running container/);
    assert.equal(machines.status("l1"), "running");
    // Whoever looks into it, or enters it, finds the container's files.
    assert.ok(existsSync(`/proc/${pid}/root/bin/busybox`) && !existsSync(`/proc/${pid}/root/usr`));

    const script = "echo $A; pwd; cat; exit 5";
    const exec = machines.run(["exec", "-e", "A=b", "--cwd", "/tmp", "l1", "sh", "-c", script], {
      input: "in\n",
    });
    assert.deepEqual([exec.status, exec.stdout], [5, "b\n/tmp\nin\n"]);
    const missing = machines.verb("exec", "l1", "/bin/nope");
    assert.equal(missing.status, 255);
    assert.match(
      missing.stderr,
      /exec: \\"\/bin\/nope\\": stat \/bin\/nope: no such file or directory/,
    );

    machines.verb("kill", "l1", "USR1");
    await until(() => machines.output("l1").includes("usr1"));
    machines.verb("pause", "l1");
    assert.equal(machines.status("l1"), "paused");
    machines.verb("resume", "l1");
    assert.equal(machines.verb("update", "--memory", "100m", "--pids-limit", "50", "l1").status, 0);
    const limits = machines.verb(
      "exec",
      "l1",
      "cat",
      "/sys/fs/cgroup/memory.max",
      "/sys/fs/cgroup/pids.max",
    );
    assert.equal(limits.stdout, "104857600\n50\n");
    const more = machines.verb("update", "--memory", "9000m", "l1");
    assert.match(more.stderr, /Cannot set a memory limit of \d+ bytes: the machine was made with/);

    assert.match(machines.verb("delete", "l1").stderr, /not stopped/);
    machines.verb("kill", "l1", "TERM");
    await until(() => machines.status("l1") === "stopped");
    assert.match(machines.verb("kill", "l1").stderr, /container not running/);
    assert.equal(machines.verb("delete", "l1").status, 0);
    assert.ok(!existsSync(`${machines.state}/l1`));
  });

  it("a process that stands for an exec and is killed takes it along", async () => {
    machines.configure("sleep 1000");
    machines.create("x1");
    machines.verb("start", "x1");
    const pidFile = machines.path("exec.pid");
    machines.detached("exec", "--detach", "--pid-file", pidFile, "x1", "sleep", "77");
    const sleeps = () =>
      machines.verb("exec", "x1", "sh", "-c", "ps | grep -q '[s]leep 77'").status;
    assert.equal(sleeps(), 0);
    process.kill(Number(readFileSync(pidFile, "utf8")), "SIGKILL");
    await until(() => sleeps() === 1);
    machines.verb("delete", "--force", "x1");
  });

  it("the process that engines know takes the machine along", async () => {
    machines.configure("sleep 1000");
    const pid = machines.create("k1");
    machines.verb("start", "k1");
    const own = machines.verb("ps", "--format", "json", "k1").stdout;
    const pids = JSON.parse(own) as readonly number[];
    assert.equal(pids.length, 3, own);
    process.kill(pid, "SIGKILL");
    await until(() => machines.status("k1") === "stopped");
    await until(() => pids.every((one) => !isAlive(one)));
    assert.equal(machines.verb("delete", "k1").status, 0);
  });

  it("kill and delete --force end a paused one", () => {
    machines.configure("sleep 1000");
    machines.create("p1");
    machines.verb("start", "p1");
    machines.verb("pause", "p1");
    assert.match(machines.verb("kill", "p1", "TERM").stderr, /takes SIGKILL alone/);
    assert.equal(machines.verb("delete", "--force", "p1").status, 0);
  });

  it("SIGKILL from outside is status 137, and a real-time signal arrives", async () => {
    machines.configure("trap 'echo got 37' 37; echo up; while :; do sleep 0.1; done");
    const run = machines.start("run", "s1");
    const [first] = await once(run.stdout ?? run, "data");
    assert.equal(String(first), "up\n");
    machines.verb("kill", "s1", "37");
    const [second] = await once(run.stdout ?? run, "data");
    assert.equal(String(second), "got 37\n");
    machines.verb("kill", "s1", "KILL");
    const [code] = await once(run, "exit");
    assert.equal(code, 137);
  });

  it("create and start say what is wrong, as runc does", () => {
    machines.configure("", { process: { args: ["/bin/nosuch"] } });
    const missing = /exec: \\"\/bin\/nosuch\\": stat \/bin\/nosuch: no such file or directory/;
    assert.match(machines.verb("create", "e1").stderr, missing);
    assert.equal(machines.status("e1"), "");
    // Only the guest can know what lies in a volume.
    mkdirSync(machines.path("empty"));
    const source = machines.path("empty");
    const mount = { destination: "/opt", type: "bind", source, options: ["rbind"] };
    machines.configure("", { process: { args: ["/opt/nosuch"] }, mounts: [mount] });
    machines.create("e2");
    const { status, stderr } = machines.verb("start", "e2");
    assert.equal(status, 1);
    assert.match(stderr, /stat \/opt\/nosuch: no such file or directory/);
    assert.equal(machines.status("e2"), "stopped");
    machines.verb("delete", "e2");
  });

  it("create and exec with a terminal send it over the console socket", async () => {
    machines.configure("stty size; echo in $(tty); read line; echo got $line; exit 4", {
      process: { terminal: true },
    });
    using first = new ConsoleSocket(machines.path("console"));
    const pid = machines.create("t1", "--console-socket", first.path);
    using terminal = first.accept();
    call("ioctl", terminal, TIOCSWINSZ, winsize.encode({ ws_row: 33, ws_col: 99 }));
    machines.verb("start", "t1");
    assert.equal(await readUntil(terminal, "pts/0\r\n"), "33 99\r\nin /dev/pts/0\r\n");
    call("write", terminal, "typed\n", 6);
    assert.match(await readUntil(terminal, "got typed"), /^typed\r\ngot typed/);
    await until(() => !isAlive(pid));
    machines.verb("delete", "t1");

    machines.configure("sleep 1000");
    machines.create("t2");
    machines.verb("start", "t2");
    using second = new ConsoleSocket(machines.path("console2"));
    machines.detached("exec", "-t", "-d", "--console-socket", second.path, "t2", "sh");
    using other = second.accept();
    call("write", other, "echo $((40 + 2)); exit\n", 23);
    assert.match(await readUntil(other, "42\r\n"), /42/);
    machines.verb("delete", "--force", "t2");
  });

  it("an annotation asks for a machine, and what it cannot have is refused by name", () => {
    const annotations = { "dev.manyworlds.isolation": "vm" };
    machines.configure("uname -r", { annotations });
    const { stdout } = machines.run(["run", "a1"], { isolation: [] });
    assert.notEqual(stdout.trim(), readFileSync("/proc/sys/kernel/osrelease", "utf8").trim());
    assert.match(stdout, /^\d+\.\d+/);
    machines.configure("true", { annotations: { "dev.manyworlds.isolation": "container" } });
    assert.match(machines.verb("run", "a2").stderr, /was told to use --isolation=vm/);
    const mount = { destination: "/x", type: "bind", source: "/no/such/place", options: ["bind"] };
    machines.configure("true", { mounts: [mount] });
    assert.match(machines.verb("run", "a3").stderr, /Cannot mount \\"\/no\/such\/place\\"/);
  });

  it("a limit on memory holds in the guest, and a machine without a kernel says what to do", () => {
    machines.configure("cat /sys/fs/cgroup/memory.max; free -m | awk '/Mem/ {print ($2 < 150)}'", {
      memory: 64 * 2 ** 20,
    });
    assert.equal(machines.verb("run", "m1").stdout, "67108864\n1\n");
    const { stderr } = machines.verb("--kernel=/no/such/kernel", "run", "m2");
    assert.match(stderr, /Cannot use \\"\/no\/such\/kernel\\" as guest kernel/);
  });
});

/** Where an engine gets the terminal of a container. */
class ConsoleSocket implements Disposable {
  readonly path: string;
  readonly #socket: Fd;

  constructor(path: string) {
    this.path = path;
    const address = sockaddr_un.encode({ sun_family: AF_UNIX, sun_path: Buffer.from(path) });
    this.#socket = Fd.from("socket", AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    call("bind", this.#socket, address, 2 + path.length + 1);
    call("listen", this.#socket, 1);
  }

  accept(): Fd {
    using connection = Fd.from("accept4", this.#socket, 0, 0, SOCK_CLOEXEC);
    return receiveDescriptor(connection);
  }

  [Symbol.dispose](): void {
    this.#socket.close();
  }
}

/** Of a terminal's outer end; what came when the text does not come in time, or the other end goes. */
async function readUntil(terminal: Fd, text: string, limitMs = 20_000): Promise<string> {
  const buffer = new Uint8Array(4096);
  let seen = "";
  for (const end = Date.now() + limitMs; !seen.includes(text) && Date.now() < end; ) {
    const entry = pollfd.encode({ fd: terminal.number, events: POLLIN });
    if (syscall("poll", entry, 1, 0) === 0) {
      await sleep(50);
      continue;
    }
    const count = syscall("read", terminal, buffer, buffer.length);
    if (count <= 0) break;
    seen += Buffer.from(buffer.subarray(0, count)).toString();
  }
  return seen;
}

/** A zombie, which its parent has not asked for, is not. */
function isAlive(pid: number): boolean {
  const path = `/proc/${pid}/stat`;
  return existsSync(path) && !/\) [ZX] /.test(readFileSync(path, "utf8"));
}

async function until(condition: () => boolean, limitMs = 10_000): Promise<void> {
  const end = Date.now() + limitMs;
  while (!condition()) {
    assert.ok(Date.now() < end, `not within ${limitMs} ms: ${condition}`);
    await sleep(100);
  }
}
