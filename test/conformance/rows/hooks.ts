/** config.md, "POSIX-platform Hooks", and runtime.md's lifecycle steps that call them. */
import assert from "node:assert/strict";
import { existsSync, readFileSync, readlinkSync, writeFileSync } from "node:fs";
import type { ContainerState } from "../../../oci/index.ts";
import type { BundleConfig } from "../bundle.ts";
import { cgroupsOf } from "../leftovers.ts";
import { isAlive, until } from "../processes.ts";
import { type Row, rowsOf } from "../row.ts";
import type { Trial } from "../trial.ts";

const row = rowsOf("config.md, POSIX-platform Hooks");
const life = rowsOf("runtime.md, Lifecycle");

type HookName =
  | "prestart"
  | "createRuntime"
  | "createContainer"
  | "startContainer"
  | "poststart"
  | "poststop";
type Hook = NonNullable<NonNullable<BundleConfig["hooks"]>["prestart"]>[number];

/** The hooks that run in the runtime's namespaces, and the verb that calls them. */
const inRuntime: readonly HookName[] = ["prestart", "createRuntime", "poststart", "poststop"];
const inContainer: readonly HookName[] = ["createContainer", "startContainer"];
const allHooks: readonly HookName[] = [
  "prestart",
  "createRuntime",
  "createContainer",
  "startContainer",
  "poststart",
  "poststop",
];

/** A hook that is a shell script; startContainer's shell is the container's own. */
function shell(script: string, more: Partial<Hook> = {}): Hook {
  return { path: "/bin/sh", args: ["sh", "-c", script], env: ["PATH=/usr/bin:/bin"], ...more };
}

/** Where a hook can write: startContainer sees the container's root, all others the host's. */
function log(t: Trial, name: HookName): string {
  return name === "startContainer" ? "/hooks.log" : t.path("hooks.log");
}

function readLogs(t: Trial): readonly string[] {
  const files = [t.path("hooks.log"), `${t.rootfs}/hooks.log`].filter((file) => existsSync(file));
  return files.flatMap((file) => readFileSync(file, "utf8").trim().split("\n"));
}

/** Creates, starts, waits for and deletes a container with these hooks. */
async function wholeLife(
  t: Trial,
  hooks: NonNullable<BundleConfig["hooks"]>,
  script = "true",
): Promise<void> {
  const container = await t.create(script, (config) => {
    config.hooks = hooks;
  });
  await container.start();
  await container.exited();
  await container.delete();
}

function hookRow(
  name: HookName,
  id: string,
  claim: string,
  check: (t: Trial) => Promise<void>,
): Row {
  return row("MUST", `hook-${name}-${id}`, `${name}: ${claim}`, check);
}

function commonRows(name: HookName): readonly Row[] {
  return [
    hookRow(name, "state", "the state is on stdin, with the status that fits", async (t) => {
      await wholeLife(t, { [name]: [shell(`cat > ${log(t, name)}`)] });
      const text = readLogs(t).join("\n");
      const state = JSON.parse(text) as ContainerState;
      assert.equal(state.bundle, t.bundle);
      assert.match(state.id, /^mw-/);
      assert.ok(state.ociVersion);
      const expected: Readonly<Record<HookName, RegExp>> = {
        // Step 2 of the lifecycle is over, the create operation is not: both words fit.
        prestart: /^creat(ing|ed)$/,
        createRuntime: /^creat(ing|ed)$/,
        createContainer: /^creat(ing|ed)$/,
        startContainer: /^created$/,
        poststart: /^running$/,
        poststop: /^stopped$/,
      };
      assert.match(state.status, expected[name]);
    }),
    hookRow(name, "args-env", "args and env are the hook's own, argv[0] included", async (t) => {
      const script = `echo "$0 $1 $2" > ${log(t, name)}; env >> ${log(t, name)}`;
      const hook = { path: "/bin/sh", args: ["sh", "-c", script, "zero", "a b", "two"] };
      await wholeLife(t, { [name]: [{ ...hook, env: ["KEY=value", "PATH=/usr/bin:/bin"] }] });
      const [first, ...env] = readLogs(t);
      assert.equal(first, "zero a b two");
      assert.ok(env.includes("KEY=value"));
      const extra = env.filter((line) => !/^(KEY|PATH|PWD|SHLVL|_|OLDPWD)=/.test(line));
      assert.deepEqual(extra, [], "the hook sees more than its own environment");
    }),
    hookRow(name, "order", "hooks run in the listed order", async (t) => {
      const hooks = ["one", "two", "three"].map((word) => shell(`echo ${word} >> ${log(t, name)}`));
      await wholeLife(t, { [name]: hooks });
      assert.deepEqual(readLogs(t), ["one", "two", "three"]);
    }),
    hookRow(name, "timeout", "a hook that takes longer than its timeout is aborted", async (t) => {
      const slow = shell(`exec sleep 30; echo late >> ${log(t, name)}`, { timeout: 1 });
      const started = performance.now();
      const { container, outcome } = await t.tryCreate("sleep 100", (config) => {
        config.hooks = { [name]: [slow] };
      });
      if (outcome.status === 0) {
        await t.verb(["start", container.id]);
        await t.verb(["kill", container.id, "KILL"]);
        if (existsSync(container.pidFile)) await container.exited().catch(() => undefined);
        await t.verb(["delete", container.id]);
      }
      assert.ok(performance.now() - started < 10_000, "the hook was waited for");
      assert.ok(!readLogs(t).includes("late"));
    }),
  ];
}

const failing = (name: HookName) => ({ [name]: [shell("echo no >&2; exit 3")] });

export const hookRows: readonly Row[] = [
  ...allHooks.flatMap(commonRows),

  row("MUST", "hooks-sequence", "each kind is called in its place of the lifecycle", async (t) => {
    const note = (name: HookName) => [shell(`echo ${name} >> ${log(t, name)}`)];
    const container = await t.create("echo program >> /hooks.log", (config) => {
      config.hooks = Object.fromEntries(allHooks.map((name) => [name, note(name)]));
    });
    assert.deepEqual(readLogs(t), ["prestart", "createRuntime", "createContainer"], "after create");
    await container.start();
    await container.exited();
    const host = readFileSync(t.path("hooks.log"), "utf8").trim().split("\n");
    assert.deepEqual(host, ["prestart", "createRuntime", "createContainer", "poststart"]);
    const inside = readFileSync(`${t.rootfs}/hooks.log`, "utf8").trim().split("\n");
    assert.deepEqual(inside, ["startContainer", "program"]);
    await container.delete();
    assert.equal(readLogs(t).includes("poststop"), true);
  }),
  ...inRuntime.map((name) =>
    hookRow(name, "namespaces", "runs in the runtime's namespaces", async (t) => {
      const types = ["mnt", "pid", "net", "ipc", "uts"];
      const print = types.map((type) => `readlink /proc/self/ns/${type}`).join("; ");
      await wholeLife(t, { [name]: [shell(`(${print}) > ${log(t, name)}`)] });
      assert.deepEqual(
        readLogs(t),
        types.map((type) => readlinkSync(`/proc/self/ns/${type}`)),
      );
    }),
  ),
  ...inContainer.map((name) =>
    hookRow(name, "namespaces", "runs in the container's namespaces", async (t) => {
      const types = ["mnt", "pid", "net", "ipc", "uts"];
      const print = types.map((type) => `readlink /proc/self/ns/${type}`).join("; ");
      const container = await t.create("sleep 100", (config) => {
        // createContainer runs before the root changes, so /proc is the host's: ask it by its own.
        config.hooks = { [name]: [shell(`(${print}) > ${log(t, name)}`)] };
      });
      await container.start();
      await until("the hook has written", () => readLogs(t).length === types.length);
      const seen = readLogs(t);
      types.forEach((type, index) => {
        if (type === "pid" && name === "createContainer") return; // as joined, visible either way
        assert.equal(seen[index], container.namespaceOf(type), type);
      });
    }),
  ),
  ...(["prestart", "createRuntime"] as const).map((name) =>
    hookRow(
      name,
      "pid",
      "the pid in the state is the host's, and its network namespace exists",
      async (t) => {
        const script = `sed -n 's/.*"pid": *\\([0-9]*\\).*/\\1/p' | { read p; readlink /proc/$p/ns/net; }`;
        const container = await t.create("true", (config) => {
          config.hooks = { [name]: [shell(`tr -d '\\n' | ${script} > ${log(t, name)}`)] };
        });
        assert.equal(readLogs(t)[0], container.namespaceOf("net"));
      },
    ),
  ),
  hookRow(
    "createContainer",
    "before-pivot",
    "sees the host's files, and the container's mounts below the root file system",
    async (t) => {
      await wholeLife(t, {
        createContainer: [
          shell(
            `cat ${t.bundle}/config.json > /dev/null && cat ${t.rootfs}/proc/version > ${log(t, "createContainer")}`,
          ),
        ],
      });
      assert.match(readLogs(t)[0] ?? "", /^Linux version/);
    },
  ),
  hookRow("startContainer", "path", "path is resolved in the container", async (t) => {
    writeFileSync(`${t.rootfs}/hook`, "#!/bin/sh\necho inside > /hooks.log\n", { mode: 0o755 });
    await wholeLife(t, { startContainer: [{ path: "/hook" }] });
    assert.deepEqual(readLogs(t), ["inside"]);
  }),
  hookRow("startContainer", "not-in-create", "is not called by create", async (t) => {
    await t.create("true", (config) => {
      config.hooks = { startContainer: [shell("echo ran > /hooks.log")] };
    });
    assert.deepEqual(readLogs(t), []);
  }),
  hookRow(
    "poststart",
    "program-runs",
    "is called when the program has been executed, before start returns",
    async (t) => {
      const container = await t.create("echo program > /ran; sleep 100", (config) => {
        config.hooks = { poststart: [shell(`sleep 0.2; echo after > ${log(t, "poststart")}`)] };
      });
      await container.start();
      assert.deepEqual(readLogs(t), ["after"], "start returned before the hook had ended");
      assert.ok(existsSync(`${t.rootfs}/ran`), "the program had not been executed");
    },
  ),
  hookRow(
    "poststop",
    "after-delete",
    "is called after the cgroups are gone, before delete returns",
    async (t) => {
      const memory = cgroupPaths(t);
      await wholeLife(t, {
        poststop: [
          shell(
            `for d in ${memory}; do [ -d $d ] && echo $d; done > ${log(t, "poststop")}; echo end >> ${log(t, "poststop")}`,
          ),
        ],
      });
      assert.deepEqual(readLogs(t), ["end"], "cgroups were still there");
    },
  ),
  hookRow("poststop", "force", "is called by delete --force of a running container", async (t) => {
    const container = await t.create("sleep 100", (config) => {
      config.hooks = { poststop: [shell(`echo stopped > ${log(t, "poststop")}`)] };
    });
    await container.start();
    await container.delete(["--force"]);
    assert.deepEqual(readLogs(t), ["stopped"]);
  }),
  row("MUST", "hook-relative-path", "a hook whose path is not absolute is refused", async (t) => {
    await t.refused((config) => {
      config.hooks = { prestart: [{ path: "bin/true" }] };
    });
  }),
  row(
    "MUST",
    "hook-timeout-zero",
    "a timeout that is not greater than zero is refused",
    async (t) => {
      await t.refused((config) => {
        config.hooks = { prestart: [{ path: "/bin/true", timeout: 0 }] };
      });
    },
  ),
  row("MUST", "hook-timeout-negative", "a negative timeout is refused", async (t) => {
    await t.refused((config) => {
      config.hooks = { prestart: [{ path: "/bin/true", timeout: -1 }] };
    });
  }),
  row("MUST", "hook-missing", "a hook that is not there makes create fail", async (t) => {
    await t.refused((config) => {
      config.hooks = { createRuntime: [{ path: "/nowhere/hook" }] };
    });
  }),

  ...(["prestart", "createRuntime", "createContainer"] as const).map((name) =>
    life(
      "MUST",
      `hook-${name}-fails`,
      `${name}: a failure makes create fail and leaves nothing`,
      async (t) => {
        await t.refused((config) => {
          config.hooks = failing(name);
        });
        assert.deepEqual(cgroupsOf(t), []);
      },
    ),
  ),
  ...(["prestart", "createRuntime", "createContainer"] as const).map((name) =>
    life(
      "MUST",
      `hook-${name}-fails-poststop`,
      `${name}: after a failure the poststop hooks are called`,
      async (t) => {
        await t.refused((config) => {
          config.hooks = {
            ...failing(name),
            poststop: [shell(`echo undone > ${log(t, "poststop")}`)],
          };
        });
        assert.deepEqual(readLogs(t), ["undone"]);
      },
    ),
  ),
  life(
    "MUST",
    "hook-startContainer-fails",
    "startContainer: a failure makes start fail and the program is not run",
    async (t) => {
      const container = await t.create("echo ran > /ran", (config) => {
        config.hooks = failing("startContainer");
      });
      assert.notEqual((await t.verb(["start", container.id])).status, 0);
      assert.ok(!existsSync(`${t.rootfs}/ran`));
      assert.ok(!isAlive(container.pid), "the container still runs");
    },
  ),
  life(
    "MUST",
    "hook-poststart-fails",
    "poststart: a failure makes start fail and stops the container",
    async (t) => {
      const container = await t.create("sleep 100", (config) => {
        config.hooks = failing("poststart");
      });
      assert.notEqual((await t.verb(["start", container.id])).status, 0);
      assert.ok(!isAlive(container.pid), "the container still runs");
    },
  ),
  life(
    "MUST",
    "hook-poststop-fails",
    "poststop: after a failure the other hooks run and delete succeeds",
    async (t) => {
      await wholeLife(t, {
        poststop: [shell("exit 4"), shell(`echo second > ${log(t, "poststop")}`)],
      });
      assert.deepEqual(readLogs(t), ["second"]);
    },
  ),
];

function cgroupPaths(t: Trial): string {
  const bases = [...t.machine.cgroupV1.values()];
  return bases.map((base) => `${base}${t.cgroupsPath}`).join(" ");
}
