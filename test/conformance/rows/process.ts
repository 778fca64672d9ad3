/** config.md, "Process": terminal aside, what the program finds when it starts. */
import assert from "node:assert/strict";
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { getPriority } from "node:os";
import { manyCpus } from "../machine.ts";
import { rowsOf } from "../row.ts";
import type { Trial } from "../trial.ts";

const row = rowsOf("config.md, Process");
const linux = rowsOf("config.md, Linux Process");
const stdio = rowsOf("runtime-linux.md, File descriptors");

/** Writes an executable shell script into the root file system. */
function script(t: Trial, path: string, text: string): void {
  writeFileSync(`${t.rootfs}${path}`, `#!/bin/sh\n${text}\n`, { mode: 0o755 });
}

export const processRows = [
  row("MUST", "process-args", "args reach the program one by one, as they are", async (t) => {
    script(t, "/show", 'for a in "$@"; do echo "[$a]"; done');
    const out = await t.probe("", (config) => {
      config.process.args = ["/show", "a b", "", "*", "$HOME", 'q"q', "ü"];
    });
    assert.equal(out, '[a b]\n[]\n[*]\n[$HOME]\n[q"q]\n[ü]');
  }),
  row(
    "MUST",
    "process-args-path",
    "args[0] without a slash is found through PATH of the container's env",
    async (t) => {
      mkdirSync(`${t.rootfs}/found`);
      script(t, "/found/program", "echo $0");
      const out = await t.probe("", (config) => {
        config.process.env = ["PATH=/nowhere:/found"];
        config.process.args = ["program"];
      });
      assert.equal(out, "/found/program");
    },
  ),
  row("MUST", "process-args-relative", "args[0] with a slash is relative to cwd", async (t) => {
    script(t, "/opt/program", "echo here");
    const out = await t.probe("", (config) => {
      config.process.cwd = "/opt";
      config.process.args = ["./program"];
    });
    assert.equal(out, "here");
  }),
  row(
    "MUST",
    "process-args-missing",
    "a program that is not there makes create or start fail",
    async (t) => {
      const { container, outcome } = await t.tryCreate("", (config) => {
        config.process.args = ["/nowhere/program"];
      });
      if (outcome.status === 0) assert.notEqual((await t.verb(["start", container.id])).status, 0);
    },
  ),
  row("MUST", "process-args-empty", "empty args are refused", async (t) => {
    await t.refused((config) => {
      config.process.args = [];
    });
  }),
  row(
    "MUST",
    "process-env",
    "env is the environment, and nothing of the runtime's own",
    async (t) => {
      const out = await t.run("", (config) => {
        config.process.args = ["/bin/env"];
        config.process.env = ["PATH=/bin", "A=1", "EMPTY=", "SPACES=x  y", "EQ=a=b"];
      });
      const variables = out.stdout.trim().split("\n").sort();
      // HOME is the one that every runtime adds, from the container's /etc/passwd.
      const expected = ["A=1", "EMPTY=", "EQ=a=b", "PATH=/bin", "SPACES=x  y"];
      assert.deepEqual(
        variables.filter((text) => !text.startsWith("HOME=")),
        expected,
      );
    },
  ),
  row("MUST", "process-cwd", "the program starts in cwd", async (t) => {
    assert.equal(
      await t.probe("pwd", (config) => {
        config.process.cwd = "/var/tmp";
      }),
      "/var/tmp",
    );
  }),
  row("MUST", "process-cwd-relative", "a relative cwd is refused", async (t) => {
    await t.refused((config) => {
      config.process.cwd = "var/tmp";
    });
  }),
  row(
    "MUST",
    "process-cwd-missing",
    "a cwd that is not there is made or refused, never ignored",
    async (t) => {
      const { status, stdout } = await t.run("pwd", (config) => {
        config.process.cwd = "/made/for/you";
      });
      if (status === 0) assert.equal(stdout.trim(), "/made/for/you");
    },
  ),
  row(
    "MUST",
    "process-cwd-symlink",
    "a cwd through a symlink resolves inside the container",
    async (t) => {
      mkdirSync(`${t.rootfs}/real`);
      symlinkSync("/real", `${t.rootfs}/link`);
      const out = await t.probe("readlink /proc/self/cwd", (config) => {
        config.process.cwd = "/link";
      });
      assert.equal(out, "/real");
    },
  ),

  linux("MUST", "oom-score-adj", "oomScoreAdj is set", async (t) => {
    assert.equal(
      await t.probe("cat /proc/self/oom_score_adj", (config) => {
        config.process.oomScoreAdj = 345;
      }),
      "345",
    );
  }),
  linux(
    "MUST",
    "oom-score-adj-zero",
    "an oomScoreAdj of 0 is set, not taken for absent",
    async (t) => {
      const before = readFileSync("/proc/self/oom_score_adj", "utf8");
      writeFileSync("/proc/self/oom_score_adj", "100");
      try {
        assert.equal(
          await t.probe("cat /proc/self/oom_score_adj", (config) => {
            config.process.oomScoreAdj = 100;
          }),
          "100",
        );
      } finally {
        writeFileSync("/proc/self/oom_score_adj", before);
      }
    },
  ),
  linux(
    "MUST",
    "oom-score-adj-absent",
    "without oomScoreAdj the caller's value stays",
    async (t) => {
      const own = readFileSync("/proc/self/oom_score_adj", "utf8").trim();
      assert.equal(await t.probe("cat /proc/self/oom_score_adj"), own);
    },
  ),
  linux("MUST", "no-new-privileges", "noNewPrivileges sets no_new_privs", async (t) => {
    assert.match(await t.probe("grep NoNewPrivs /proc/self/status"), /1$/);
  }),
  linux(
    "MUST",
    "no-new-privileges-off",
    "without noNewPrivileges no_new_privs stays off",
    async (t) => {
      assert.match(
        await t.probe("grep NoNewPrivs /proc/self/status", (config) => {
          delete config.process.noNewPrivileges;
        }),
        /0$/,
      );
    },
  ),
  // biome-ignore format: table
  ...([
    ["SCHED_OTHER", { policy: "SCHED_OTHER", nice: 5 },          "0 5"],
    ["SCHED_BATCH", { policy: "SCHED_BATCH", nice: 3 },          "3 3"],
    ["SCHED_IDLE",  { policy: "SCHED_IDLE" },                    `5 ${getPriority()}`], // has no nice value of its own
  ] as const).map(([name, scheduler, expected]) =>
    linux("MUST", `scheduler-${name.slice(6).toLowerCase()}`, `scheduler ${name} is set with its nice value`, async (t) => {
      const out = await t.probe("awk '{ print $41, $19 }' /proc/$$/stat", (config) => {
        config.process.scheduler = scheduler;
      });
      assert.equal(out, expected); // proc_pid_stat(5): policy, nice
    }),
  ),
  linux(
    "MUST",
    "scheduler-unknown",
    "a scheduler policy that does not exist is refused",
    async (t) => {
      await t.refused((config) => {
        Object.assign(config.process, { scheduler: { policy: "SCHED_NOTHING" } });
      });
    },
  ),
  linux(
    "MUST",
    "scheduler-priority-refused",
    "a priority that its policy does not allow is refused",
    async (t) => {
      await t.refused((config) => {
        config.process.scheduler = { policy: "SCHED_OTHER", priority: 9 };
      });
    },
  ),
  // biome-ignore format: table
  ...([
    ["best-effort", { class: "IOPRIO_CLASS_BE",   priority: 6 }, "best-effort: prio 6"],
    ["idle",        { class: "IOPRIO_CLASS_IDLE", priority: 0 }, "idle"],
  ] as const).map(([name, ioPriority, expected]) =>
    linux("MUST", `io-priority-${name}`, `ioPriority ${ioPriority.class} is set`, async (t) => {
      const out = await t.probe("ionice -p $$", (config) => {
        config.process.ioPriority = ioPriority;
      });
      assert.equal(out, expected);
    }),
  ),
  linux(
    "MUST",
    "io-priority-unknown",
    "an ioPriority class that does not exist is refused",
    async (t) => {
      await t.refused((config) => {
        Object.assign(config.process, { ioPriority: { class: "IOPRIO_CLASS_X", priority: 1 } });
      });
    },
  ),
  linux(
    "MUST",
    "exec-cpu-affinity",
    "execCPUAffinity.final is the affinity of exec's process and not of init",
    async (t) => {
      const container = await t.started("sleep 100", (config) => {
        config.process.execCPUAffinity = { initial: "0", final: "1" };
      });
      assert.equal(await container.exec("grep Cpus_allowed_list /proc/self/status | cut -f2"), "1");
      assert.match(container.proc("status"), /Cpus_allowed_list:\t0-/);
    },
    { needs: [manyCpus] },
  ),

  stdio(
    "MUST",
    "only-standard-streams",
    "the program starts with descriptors 0, 1 and 2 only",
    async (t) => {
      // ls itself opens the directory it lists: that is descriptor 3.
      const out = await t.probe("", (config) => {
        config.process.args = ["/bin/ls", "/proc/self/fd"];
      });
      assert.deepEqual(out.split(/\s+/), ["0", "1", "2", "3"]);
    },
  ),
  stdio(
    "MUST",
    "no-inherited-descriptors",
    "descriptors that the caller left open do not reach the program",
    async (t) => {
      const { openSync, closeSync } = await import("node:fs");
      const fds = [openSync("/etc/hostname", "r"), openSync("/", "r")];
      t.config.process.args = ["/bin/ls", "/proc/self/fd"];
      t.writeConfig();
      const container = t.container();
      const args = ["run", "--bundle", t.bundle, container.id];
      const { stdout } = await t.verb(args, { extraFds: fds });
      for (const fd of fds) closeSync(fd);
      assert.deepEqual(stdout.trim().split(/\s+/), ["0", "1", "2", "3"]);
    },
  ),
];
