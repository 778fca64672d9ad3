/**
 * Escapes through the runtime's own processes: its binary, descriptors, working directory and
 * capabilities as a hostile container sees them; and what is left when the runtime is killed.
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import {
  copyFileSync,
  existsSync,
  readFileSync,
  realpathSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { basename } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { cgroupsOf, findLeftovers } from "../leftovers.ts";
import { runCommand, until } from "../processes.ts";
import { type Row, rowsOf } from "../row.ts";
import type { Trial } from "../trial.ts";

const attack = rowsOf("issue 3, Security (processes)");

/** A copy of the runtime that an attack may hurt, and its hash. */
function copyRuntime(t: Trial): {
  readonly command: readonly string[];
  readonly intact: () => boolean;
} {
  const [path = "", ...args] = t.runtime;
  const copy = t.path(basename(path));
  copyFileSync(realpathSync(path), copy);
  const hash = () => createHash("sha256").update(readFileSync(copy)).digest("hex");
  const before = hash();
  return { command: [copy, ...args, "--root", t.stateRoot], intact: () => hash() === before };
}

/** Looks for processes that are not busybox and tries what could be done to them. */
const preyOnRuntime = `
touch /ready
while [ ! -e /stop ]; do
  for p in /proc/[0-9]*; do
    exe=$(readlink $p/exe 2>/dev/null) || continue
    case "$exe" in ""|/bin/busybox) continue;; esac
    echo "saw $exe" >> /caught
    (exec 9< $p/exe) 2>/dev/null && echo "opened $exe" >> /caught
    (: >> $p/exe) 2>/dev/null && echo "opened $exe for writing" >> /caught
    (cat $p/environ) 2>/dev/null | tr '\\0' ' ' | grep . | sed 's/^/environment /' >> /caught
    ls -l $p/fd 2>/dev/null | grep -- '->' | grep -v pipe: | sed 's/^/descriptor /' >> /caught
    ls -d $p/cwd/../../../../../..${"$HOST"} 2>/dev/null && echo "host through cwd" >> /caught
  done
done`;

export const processAttackRows: readonly Row[] = [
  attack(
    "attack",
    "exec-joiner-hidden",
    "a hostile container cannot look into the process that joins it with exec (CVE-2016-9962)",
    async (t) => {
      const { command, intact } = copyRuntime(t);
      const container = await t.started(preyOnRuntime, (config) => {
        config.process.env.push(`HOST=${t.directory}`);
      });
      await until("the attacker waits", () => existsSync(`${t.rootfs}/ready`));
      for (let attempt = 0; attempt < 20; attempt++)
        await runCommand(
          [...command, "exec", container.id, "/bin/true"],
          t.path(`exec-${attempt}`),
        );
      writeFileSync(`${t.rootfs}/stop`, "");
      const caught = existsSync(`${t.rootfs}/caught`)
        ? readFileSync(`${t.rootfs}/caught`, "utf8")
        : "";
      const gained = caught
        .split("\n")
        .filter((line) => /^(opened|environment|descriptor|host)/.test(line));
      assert.deepEqual([...new Set(gained)].slice(0, 5), []);
      assert.ok(intact(), "the runtime's binary was changed");
    },
  ),
  attack(
    "attack",
    "overwrite-by-interpreter",
    "a program whose interpreter is /proc/self/exe cannot lead to the runtime's binary being overwritten (CVE-2019-5736)",
    async (t) => {
      const { command, intact } = copyRuntime(t);
      writeFileSync(`${t.rootfs}/evil`, "#!/proc/self/exe\n", { mode: 0o755 });
      const overwrite = `
touch /ready
while [ ! -e /stop ]; do
  for p in /proc/[0-9]*; do
    case "$(readlink $p/exe 2>/dev/null)" in ""|/bin/busybox) continue;; esac
    (exec 9< $p/exe; for i in 1 2 3 4 5 6 7 8 9 10 11 12; do
      (echo evil >> /proc/self/fd/9) 2>/dev/null && { echo overwritten >> /caught; break; }; sleep 0.05; done) 2>/dev/null
  done
done`;
      const container = await t.started(overwrite);
      await until("the attacker waits", () => existsSync(`${t.rootfs}/ready`));
      for (let attempt = 0; attempt < 8; attempt++)
        await runCommand(
          [...command, "exec", container.id, "/evil", "--version"],
          t.path(`exec-${attempt}`),
        );
      await sleep(700);
      writeFileSync(`${t.rootfs}/stop`, "");
      assert.ok(intact(), "the runtime's binary was overwritten");
    },
  ),
  attack(
    "attack",
    "overwrite-by-args",
    "a container that runs /proc/self/exe cannot overwrite the runtime's binary (CVE-2019-5736)",
    async (t) => {
      const { command, intact } = copyRuntime(t);
      writeFileSync(`${t.rootfs}/evil`, "#!/proc/self/exe\n", { mode: 0o755 });
      t.config.process.args = ["/evil", "--version"];
      t.writeConfig();
      const run = [...command, "run", "--bundle", t.bundle, t.container().id];
      await runCommand(run, t.path("run"), { timeoutMs: 5_000 }).catch(() => undefined);
      assert.ok(intact());
    },
  ),
  attack(
    "attack",
    "created-init-hidden",
    "the waiting init of a created container cannot be opened by a container that shares its PID namespace",
    async (t) => {
      const first = await t.create("sleep 100");
      const script =
        "(: >> /proc/1/exe) 2>/dev/null && echo exe; (exec 9< /proc/1/exe) 2>/dev/null && echo exe-read; cat /proc/1/environ 2>/dev/null | wc -c; readlink /proc/1/fd/* 2>/dev/null | wc -l; ls /proc/1/root/ 2>/dev/null | wc -l";
      const out = await t.probe(script, (config) => {
        config.linux.cgroupsPath = t.cgroupsPathFor("-second");
        config.linux.namespaces = config.linux.namespaces.map((entry) =>
          entry.type === "pid" ? { type: "pid", path: `/proc/${first.pid}/ns/pid` } : entry,
        );
      });
      assert.equal(out.replaceAll(/\s+/g, " "), "0 0 0");
    },
  ),

  ...[3, 4, 5, 6, 7, 8, 9, 10, 11, 12].map((fd) =>
    attack(
      "attack",
      `cwd-descriptor-${fd}`,
      `a cwd of /proc/self/fd/${fd} does not lead into a descriptor the runtime left open (CVE-2024-21626)`,
      async (t) => {
        writeFileSync(t.path("marker"), "the host's");
        const { stdout } = await t.run(
          `cat ./../../../../../../..${t.path("marker")}; readlink /proc/self/cwd`,
          (config) => {
            config.process.cwd = `/proc/self/fd/${fd}`;
          },
        );
        assert.doesNotMatch(stdout, /the host's/);
      },
    ),
  ),
  attack(
    "attack",
    "cwd-descriptor-exec",
    "exec --cwd /proc/self/fd/N does not lead into a descriptor of the runtime's (CVE-2024-21626)",
    async (t) => {
      writeFileSync(t.path("marker"), "the host's");
      symlinkSync("/proc/self/fd/7", `${t.rootfs}/link`);
      const container = await t.started();
      for (const cwd of ["/link", ...[3, 5, 6, 7, 8, 9, 10].map((fd) => `/proc/self/fd/${fd}`)]) {
        const command = ["/bin/cat", `./../../../../../../..${t.path("marker")}`];
        const { stdout } = await container.tryExec(command, ["--cwd", cwd]);
        assert.equal(stdout, "", cwd);
      }
    },
  ),
  attack(
    "attack",
    "program-in-descriptor",
    "args[0] of /proc/self/fd/N does not run the runtime's own files",
    async (t) => {
      for (const fd of [3, 6, 9]) {
        const { stdout } = await t.run("", (config) => {
          config.process.args = [`/proc/self/fd/${fd}`, "--version"];
        });
        assert.doesNotMatch(stdout, /version/);
      }
    },
  ),
  attack(
    "attack",
    "inheritable-empty",
    "neither start nor exec --cap gives inheritable capabilities that were not asked for (CVE-2022-29162)",
    async (t) => {
      const container = await t.started();
      assert.match(container.proc("status"), /CapInh:\t0000000000000000/);
      const out = await container.exec("grep CapInh /proc/self/status", ["--cap", "CAP_NET_ADMIN"]);
      assert.match(out, /0000000000000000$/);
    },
  ),
  attack(
    "attack",
    "signals-clean",
    "the program starts with no signal blocked or ignored",
    async (t) => {
      const out = await t.probe("", (config) => {
        config.process.args = ["/bin/grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status"];
      });
      assert.match(out, /SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000/);
    },
  ),
  attack(
    "attack",
    "parent-death-signal",
    "the program does not die with the runtime that started it",
    async (t) => {
      const container = await t.started("sleep 100");
      await sleep(100);
      assert.equal(await container.status(), "running");
    },
  ),
  attack(
    "attack",
    "environment-hidden",
    "the runtime's environment is not in any process of the container",
    async (t) => {
      t.config.process.args = ["/bin/sleep", "100"];
      t.writeConfig();
      const container = t.container();
      const env = { PATH: "/usr/bin:/bin", SECRET_TOKEN: "do-not-leak" };
      const { status, stderr } = await container.create([], { env });
      assert.equal(status, 0, stderr);
      await t.verb(["start", container.id], { env });
      const seen = await container.exec("cat /proc/*/environ | tr '\\0' '\\n'");
      assert.doesNotMatch(seen, /do-not-leak/);
    },
  ),
  attack(
    "attack",
    "proc-sysrq",
    "the program cannot write to /proc/sysrq-trigger and other files that config.json masks or protects",
    async (t) => {
      const out = await t.probe(
        "for f in /proc/sysrq-trigger /proc/sys/kernel/domainname; do (: >> $f) 2>/dev/null && echo $f; done; head -c 1 /proc/kcore | wc -c",
        (config) => {
          config.linux.readonlyPaths = ["/proc/sys", "/proc/sysrq-trigger"];
          config.linux.maskedPaths = ["/proc/kcore"];
        },
      );
      assert.equal(out, "0");
    },
  ),

  ...[2, 5, 10, 20, 40].map((delayMs) =>
    attack(
      "attack",
      `killed-after-${delayMs}ms`,
      `delete --force cleans up after a create that was killed after ${delayMs} ms`,
      async (t) => {
        t.config.process.args = ["/bin/sleep", "100"];
        t.writeConfig();
        const container = t.container();
        const [file = "", ...first] = t.runtime;
        const args = [
          ...first,
          "--root",
          t.stateRoot,
          "create",
          "--bundle",
          t.bundle,
          "--pid-file",
          container.pidFile,
          container.id,
        ];
        const child = spawn(file, args, { stdio: "ignore" });
        const ended = new Promise((resolve) => child.once("exit", resolve));
        await sleep(delayMs);
        child.kill("SIGKILL");
        await ended;
        await sleep(50); // what was to follow its parent's death has followed
        const { status, stderr } = await t.verb(["delete", "--force", container.id]);
        assert.equal(status, 0, stderr);
        await until("nothing is left", () => findLeftovers(t).length === 0, 2_000).catch(
          () => undefined,
        );
        assert.deepEqual(findLeftovers(t), []);
        assert.deepEqual(cgroupsOf(t), []);
      },
    ),
  ),
];
