import assert from "node:assert/strict";
import { once } from "node:events";
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { useWorld, type World } from "./world.ts";

describe("manyworlds run, end to end", function () {
  this.timeout(120_000);
  let world: World;
  useWorld((made) => {
    world = made;
  });

  it("pulls what is missing, with progress on stderr only", () => {
    const { status, stdout, stderr } = world.mw(["run", "--rm", world.image]);
    assert.deepEqual([status, stdout], [0, "default command\n"], stderr);
    assert.match(stderr, /^Unable to find image '.*busybox:latest' locally\nPulling /);
    assert.match(stderr, /Downloading/);
  });
  it("pulls nothing the second time", () => {
    const { status, stderr } = world.mw(["run", "--rm", world.image, "true"]);
    assert.deepEqual([status, stderr], [0, ""]);
  });

  /** Each flag of the issue, seen from inside the container. */
  // biome-ignore format: table
  const rows: readonly (readonly [flags: string, script: string, expected: string | RegExp])[] = [
    ["", "echo $FROM_IMAGE $HOME $PATH; pwd; id -u", "yes /root /bin\n/\n0\n"],
    ["", "ls /proc/self/fd | wc -l", /^4\n$/],
    ["", "cat; echo end", "end\n"],
    ["", "cat /proc/self/status | grep CapEff", /00000000a80425fb/],
    ["", "cat /proc/self/status | grep Seccomp:", /2$/m],
    ["", "grep -c . /proc/net/dev; ip link | grep -c UP", /^3\n1\n$/],
    ["", "wc -c < /proc/keys; ls /sys/firmware | wc -l", /^0\n0\n$/],
    ["", "echo 1 > /proc/sys/kernel/hostname 2>&1 || echo refused", /refused/],
    ["", "echo 1 > /sys/kernel/x 2>&1 || echo refused", /refused/],
    ["", "ulimit -n", "1024\n"],
    ["", "grep -c /proc/acpi /proc/self/mountinfo; echo $$", /\n1\n$/],
    ["", "mount -t tmpfs x /tmp 2>&1 || echo refused", /refused/],
    ["", "ls /dev | tr '\\n' ' '", /^(core )?fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero $/],
    ["-e A=1 -eB=2 --env=C=3", "echo $A$B$C", "123\n"],
    ["-e FROM_IMAGE=mine", "echo $FROM_IMAGE", "mine\n"],
    ["-w /new/directory", "pwd", "/new/directory\n"],
    ["-u web", "id; echo $HOME", /uid=1000\(web\) gid=1000\(web\) groups=29\(audio\),1000\(web\)\n\/home\/web\n/],
    ["-u 4711:4712", "id -u; id -g; echo $HOME", "4711\n4712\n/\n"],
    ["-u web --group-add video", "id -G", "1000 29 30\n"],
    ["-u web", "grep CapEff /proc/self/status; touch /x 2>&1 || echo refused", /0000000000000000\n.*refused/s],
    ["--hostname outpost", "hostname; cat /etc/hostname; echo $HOSTNAME", "outpost\noutpost\noutpost\n"],
    ["--domainname example.org", "cat /proc/sys/kernel/domainname", "example.org\n"],
    ["--network none", "ls /sys/class/net", "lo\n"],
    ["--add-host db:10.1.2.3", "grep db /etc/hosts", "10.1.2.3\tdb\n"],
    ["--dns 9.9.9.9 --dns-search example.org --dns-option ndots:3", "cat /etc/resolv.conf", "nameserver 9.9.9.9\nsearch example.org\noptions ndots:3\n"],
    ["--read-only", "touch /x 2>&1 || echo refused; touch /dev/shm/x && echo ok", /refused\nok\n/],
    ["--read-only --tmpfs /tmp", "touch /tmp/x && echo ok", "ok\n"],
    ["--tmpfs /t:size=1m,mode=700", "df -k /t | tail -1; stat -c %a /t", /1024 .*\n700\n/],
    ["--mount type=tmpfs,target=/t,tmpfs-size=2m", "df -k /t | tail -1", / 2048 /],
    ["--shm-size 3m", "df -k /dev/shm | tail -1", / 3072 /],
    ["--cap-drop ALL", "grep CapEff /proc/self/status", /0000000000000000/],
    ["--cap-drop ALL --cap-add NET_ADMIN", "grep CapEff /proc/self/status", /0000000000001000/],
    ["--cap-add SYS_ADMIN", "mount -t tmpfs x /tmp && echo ok", "ok\n"],
    ["--security-opt no-new-privileges", "grep NoNewPrivs /proc/self/status", /1$/m],
    ["--security-opt seccomp=unconfined", "grep Seccomp: /proc/self/status", /0$/m],
    ["--privileged", "grep Seccomp: /proc/self/status; ls /dev/vda /dev/kmsg; touch /sys/fs/cgroup/x 2>&1; mount -t tmpfs x /tmp && echo ok", /0\n.*\/dev\/kmsg.*ok\n$/s],
    ["-m 64m", "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/memory.max 2>/dev/null || true", "67108864\n"],
    ["--cpus 0.5", "cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us /sys/fs/cgroup/cpu.max 2>/dev/null || true", /^50000/],
    ["--pids-limit 7", "cat /sys/fs/cgroup/pids/pids.max /sys/fs/cgroup/pids.max 2>/dev/null || true", "7\n"],
    ["--ulimit nofile=100:200 --ulimit core=0", "ulimit -n; ulimit -H -n; ulimit -c", "100\n200\n0\n"],
    ["--sysctl net.ipv4.ip_unprivileged_port_start=7", "cat /proc/sys/net/ipv4/ip_unprivileged_port_start", "7\n"],
    ["--device /dev/null:/dev/other", "ls -l /dev/other; echo x > /dev/other && echo ok", /^crw.* 1, *3 .*other\nok\n$/],
    ["--entrypoint /bin/busybox", "", /./],
    ["--init", "echo $$; (sleep 0.1 &); sleep 0.5; grep -l 'State:.Z' /proc/[0-9]*/status | wc -l", /^(?!1\n)\d+\n0\n$/],
    ["--oom-score-adj 500", "cat /proc/self/oom_score_adj", "500\n"],
    ["--pid host", "ls /proc | grep -c '^[0-9]'", /^[0-9]{2,}\n$/],
    ["--cgroupns host", "cat /proc/self/cgroup", /manyworlds\/[0-9a-f]{64}/],
    ["", "cat /proc/self/cgroup | grep -c /manyworlds/ || true", "0\n"],
    ["--pull never", "echo ok", "ok\n"],
    ["--pull always", "echo ok", "ok\n"],
    ["--platform linux/amd64", "echo ok", "ok\n"],
    ["--isolation container", "echo ok", "ok\n"],
  ];
  for (const [flags, script, expected] of rows) {
    if (script === "") continue;
    it(`${flags === "" ? "by default" : flags}: ${script}`, () => {
      const text = world.inside(flags, script);
      if (typeof expected === "string") assert.equal(text, expected);
      else assert.match(text, expected);
    });
  }

  it("--network host shares the host's network and names", () => {
    const text = world.inside("--network host", "ls /sys/class/net; hostname");
    assert.ok(text.split("\n").length > 3, text);
    assert.ok(text.includes(readFileSync("/etc/hostname", "utf8").trim()) || text.length > 0);
  });
  it("-v binds a directory, read-only when asked, and makes a missing one", () => {
    mkdirSync(world.path("shared"));
    world.file("shared/file", "from the host\n");
    const bind = world.path("shared");
    assert.equal(
      world.inside(`-v ${bind}:/data`, "cat /data/file; echo back > /data/answer"),
      "from the host\n",
    );
    assert.equal(readFileSync(`${bind}/answer`, "utf8"), "back\n");
    assert.match(
      world.inside(`-v ${bind}:/data:ro`, "touch /data/x 2>&1 || echo refused"),
      /refused/,
    );
    world.inside(`-v ${world.path("made")}:/data`, "true");
    assert.ok(existsSync(world.path("made")));
  });
  it("-v binds a single file", () => {
    const file = world.file("single", "one\n");
    assert.equal(world.inside(`-v ${file}:/etc/motd`, "cat /etc/motd"), "one\n");
  });
  it("--mount refuses a source that does not exist", () => {
    const { status, stderr } = world.mw([
      "run",
      "--rm",
      "--mount",
      `type=bind,source=${world.path("no")},target=/x`,
      world.image,
    ]);
    assert.equal(status, 125);
    assert.match(stderr, /Cannot mount ".*": it does not exist on the host/);
  });
  it("--env-file, --label, --cidfile and --name", () => {
    const file = world.file("env", "A=from file\n# no\nB=2\n");
    assert.equal(world.inside(["--env-file", file, "-e", "B=3"], "echo $A $B"), "from file 3\n");
    const idFile = world.path("id");
    world.inside(["--cidfile", idFile, "--name", "named", "--label", "a=b"], "true");
    assert.match(readFileSync(idFile, "utf8"), /^[0-9a-f]{64}$/);
  });
  it("--entrypoint replaces the image's command", () => {
    const { stdout } = world.mw([
      "run",
      "--rm",
      "--entrypoint",
      "/bin/echo",
      world.image,
      "a",
      "b",
    ]);
    assert.equal(stdout, "a b\n");
  });
  it("-i passes standard input on, and without -i there is none", () => {
    const line = ["run", "--rm", "-i", world.image, "wc", "-c"];
    assert.equal(world.mw(line, { input: "x".repeat(100_000) }).stdout, "100000\n");
    assert.equal(
      world.mw(
        line.filter((word) => word !== "-i"),
        { input: "x" },
      ).stdout,
      "0\n",
    );
  });
  it("keeps standard output and standard error apart", () => {
    const { stdout, stderr } = world.mw([
      "run",
      "--rm",
      world.image,
      "sh",
      "-c",
      "echo out; echo err >&2",
    ]);
    assert.deepEqual([stdout, stderr], ["out\n", "err\n"]);
  });
  it("a custom seccomp profile decides", () => {
    const profile = {
      defaultAction: "SCMP_ACT_ALLOW",
      syscalls: [{ names: ["mkdir", "mkdirat"], action: "SCMP_ACT_ERRNO", errnoRet: 38 }],
    };
    const file = world.file("profile.json", JSON.stringify(profile));
    assert.match(
      world.inside(`--security-opt seccomp=${file}`, "mkdir /x 2>&1 || echo refused"),
      /not implemented.*refused/s,
    );
  });

  /** docker's exit statuses. */
  // biome-ignore format: table
  const statuses: readonly (readonly [string, readonly string[], number, RegExp])[] = [
    ["the command's own", ["IMAGE", "sh", "-c", "exit 42"], 42, /^$/],
    ["128 + signal", ["IMAGE", "sh", "-c", "sh -c 'kill -9 $$'; exit $?"], 137, /^(Killed\n)?$/],
    ["127 for a command that is not there", ["IMAGE", "nope"], 127, /executable file not found in \$PATH/],
    ["127 for a path that is not there", ["IMAGE", "/no/such"], 127, /no such file or directory/],
    ["126 for what cannot be executed", ["IMAGE", "/etc/passwd"], 126, /permission denied/],
    ["126 for a directory", ["IMAGE", "/etc"], 126, /permission denied|is a directory/],
    ["125 for an unknown flag", ["--nope", "IMAGE"], 125, /Unknown flag "--nope"\n.*\nSee 'manyworlds run --help'/],
    ["125 without an image", [], 125, /needs at least 1 argument/],
    ["125 for an image that is not there", ["--pull", "never", "nowhere"], 125, /Cannot find image "nowhere" here/],
    ["125 for a bad reference", ["UPPER"], 125, /must be lower case/],
    ["125 for an unknown user", ["-u", "nobody", "IMAGE"], 125, /Cannot find user "nobody"/],
    ["125 for too many CPUs", ["--cpus", "10000", "IMAGE"], 125, /expected 0.01 to/],
    ["125 for a missing device", ["--device", "/dev/nope", "IMAGE"], 125, /Cannot add the device/],
    ["125 for a virtual machine without a kernel", ["--isolation", "vm", "--kernel", "/nonexistent", "IMAGE"], 125, /as guest kernel: expected a bzImage/],
    ["125 for a bridge", ["--network", "bridge", "IMAGE"], 125, /use --network none/],
    ["125 for another platform's image", ["--pull", "always", "--platform", "linux/s390x", "IMAGE"], 125, /s390x/],
    ["1 for -t without a terminal", ["-it", "IMAGE"], 1, /not a terminal/],
  ];
  for (const [what, args, expected, message] of statuses) {
    it(`ends with ${what}`, () => {
      const line = args.map((word) => (word === "IMAGE" ? world.image : word));
      const { status, stderr } = world.mw(["run", "--rm", ...line]);
      assert.match(stderr, message);
      assert.equal(status, expected, stderr);
    });
  }

  it("20 at once all work", async () => {
    const runs = Array.from({ length: 20 }, async (_, index) => {
      const child = world.start(["run", "--rm", world.image, "echo", String(index)]);
      let output = "";
      child.stdout?.on("data", (data) => {
        output += String(data);
      });
      const [status] = await once(child, "close");
      return `${status} ${output}`;
    });
    const expected = Array.from({ length: 20 }, (_, index) => `0 ${index}\n`);
    assert.deepEqual(await Promise.all(runs), expected);
  });

  it("leaves nothing behind", () => assert.deepEqual(world.leftovers(), []));
});
