/**
 * Escapes through paths: symlinks where the runtime mounts, makes devices, masks or changes folder,
 * and folders that are exchanged while it looks. In each, "victim" is a folder of the host's that
 * the image points at; whatever happens, nothing may change in it.
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { listen } from "../console.ts";
import { type Row, rowsOf } from "../row.ts";
import type { Edit, Trial } from "../trial.ts";

const attack = rowsOf("issue 3, Security (paths)");

/** The host's folder, with one file; the image has the same path so that honest resolution works. */
function victim(t: Trial): string {
  const path = t.path("victim");
  mkdirSync(path);
  writeFileSync(`${path}/file`, "the host's\n");
  mkdirSync(`${t.rootfs}${path}`, { recursive: true });
  writeFileSync(`${t.rootfs}${path}/file`, "the container's\n");
  return path;
}

function assertUntouched(path: string): void {
  assert.deepEqual(readdirSync(path), ["file"], "something was made in the host's folder");
  assert.equal(readFileSync(`${path}/file`, "utf8"), "the host's\n", "the host's file was changed");
}

/** Runs the configuration; whether it is refused is the runtime's choice, unless `refusal` is a must. */
async function tryOut(t: Trial, script: string, edit: Edit): Promise<string> {
  const { stdout } = await t.run(script, edit);
  return stdout;
}

function withoutDevMount(edit: Edit = () => undefined): Edit {
  return (config) => {
    config.mounts = config.mounts.filter(({ destination }) => !destination.startsWith("/dev"));
    edit(config);
  };
}

/** Ways for an image to point out of itself. */
const links: readonly (readonly [id: string, target: (path: string) => string])[] = [
  ["absolute", (path) => path],
  ["dots", (path) => `../../../../../../../../../../..${path}`],
  ["proc", (path) => `/proc/1/root${path}`],
];

// biome-ignore format: table
const places: readonly (readonly [id: string, claim: string, edit: (link: string) => Edit])[] = [
  ["mount", "a mount whose destination leads through a symlink (CVE-2021-30465)", (link) => (config) => {
    config.mounts.push({ destination: `${link}/new`, type: "tmpfs", source: "tmpfs" });
  }],
  ["mount-file", "a bound file whose destination leads through a symlink", (link) => (config) => {
    config.mounts.push({ destination: `${link}/bound`, type: "none", source: "/etc/hostname", options: ["bind"] });
  }],
  ["mount-last", "a mount onto the symlink itself", (link) => (config) => {
    config.mounts.push({ destination: link, type: "tmpfs", source: "tmpfs" });
  }],
  ["device", "a device whose path leads through a symlink", (link) => (config) => {
    config.linux.devices = [{ type: "c", path: `${link}/device`, major: 10, minor: 229 }];
  }],
  ["cwd", "a cwd that leads through a symlink and is made", (link) => (config) => {
    config.process.cwd = `${link}/made`;
  }],
  ["masked", "a masked path that leads through a symlink", (link) => (config) => {
    config.linux.maskedPaths = [`${link}/file`];
  }],
  ["readonly", "a read-only path that leads through a symlink", (link) => (config) => {
    config.linux.readonlyPaths = [link];
  }],
];

const linkRows: readonly Row[] = places.flatMap(([place, claim, edit]) =>
  links.map(([kind, target]) =>
    attack("attack", `link-${place}-${kind}`, `${claim} stays inside (${kind})`, async (t) => {
      const path = victim(t);
      symlinkSync(target(path), `${t.rootfs}/link`);
      await tryOut(t, "true", edit("/link"));
      assertUntouched(path);
      writeFileSync(`${path}/file`, "the host's\n"); // neither masked nor read-only on the host
    }),
  ),
);

export const pathAttackRows: readonly Row[] = [
  ...linkRows,

  ...(["proc", "sysfs"] as const).map((type) =>
    attack(
      "attack",
      `link-${type}`,
      `${type} is not mounted through a symlink that the image put there (CVE-2019-19921, CVE-2023-27561)`,
      async (t) => {
        const path = type === "proc" ? "/proc" : "/sys";
        rmSync(`${t.rootfs}${path}`, { recursive: true });
        mkdirSync(`${t.rootfs}/elsewhere`);
        symlinkSync("/elsewhere", `${t.rootfs}${path}`);
        const { status } = await t.run("true");
        assert.notEqual(status, 0, `${path} is a symlink: expected the runtime to refuse`);
      },
    ),
  ),
  attack(
    "attack",
    "fake-proc",
    "something else than procfs is not accepted on /proc (CVE-2019-16884)",
    async (t) => {
      mkdirSync(t.path("fake/self/attr"), { recursive: true });
      await t.refused((config) => {
        config.mounts.push({
          destination: "/proc",
          type: "none",
          source: t.path("fake"),
          options: ["bind"],
        });
      });
    },
  ),
  attack(
    "attack",
    "fake-proc-sys",
    "a sysctl is not written through a folder that covers /proc/sys (CVE-2025-52881)",
    async (t) => {
      const path = victim(t);
      mkdirSync(t.path("fake/net/ipv4"), { recursive: true });
      symlinkSync(`${path}/file`, t.path("fake/net/ipv4/ip_forward"));
      await tryOut(t, "true", (config) => {
        config.mounts.push({
          destination: "/proc/sys",
          type: "none",
          source: t.path("fake"),
          options: ["bind"],
        });
        config.linux.sysctl = { "net.ipv4.ip_forward": "1" };
      });
      assertUntouched(path);
      assert.equal(
        readFileSync(`${t.rootfs}${path}/file`, "utf8"),
        "the container's\n",
        "written through a symlink",
      );
    },
  ),

  attack(
    "attack",
    "masked-by-false-null",
    "masking does not use a /dev/null that the image replaced (CVE-2025-31133)",
    async (t) => {
      writeFileSync(`${t.rootfs}/etc/secret`, "secret\n");
      writeFileSync(`${t.rootfs}/etc/chosen`, "chosen\n");
      rmSync(`${t.rootfs}/dev/null`, { force: true });
      symlinkSync("/etc/chosen", `${t.rootfs}/dev/null`);
      const out = await tryOut(
        t,
        "cat /etc/secret",
        withoutDevMount((config) => {
          config.linux.maskedPaths = ["/etc/secret"];
        }),
      );
      assert.equal(out, "");
    },
  ),
  attack(
    "attack",
    "console-link",
    "/dev/console is not bound through a symlink of the image's (CVE-2025-52565)",
    async (t) => {
      writeFileSync(`${t.rootfs}/etc/chosen`, "chosen\n");
      symlinkSync("/etc/chosen", `${t.rootfs}/dev/console`);
      const listener = listen(t.path("console"));
      t.onClose(() => listener.close());
      const { container, outcome } = await t.tryCreate(
        "sleep 100",
        withoutDevMount((config) => {
          config.process.terminal = true;
          const { mounts } = config;
          mounts.push({
            destination: "/dev/pts",
            type: "devpts",
            source: "devpts",
            options: ["newinstance", "ptmxmode=0666"],
          });
        }),
        ["--console-socket", t.path("console")],
      );
      if (outcome.status !== 0) return;
      assert.doesNotMatch(container.proc("mountinfo"), / \/etc\/chosen /);
    },
  ),
  attack(
    "attack",
    "copyup-link",
    "tmpcopyup does not copy the host's files through a symlink",
    async (t) => {
      const path = victim(t);
      rmSync(`${t.rootfs}${path}`, { recursive: true });
      symlinkSync(path, `${t.rootfs}/copied`);
      const out = await tryOut(t, "cat /copied/file", (config) => {
        config.mounts.push({
          destination: "/copied",
          type: "tmpfs",
          source: "tmpfs",
          options: ["tmpcopyup"],
        });
      });
      assert.equal(out, "");
      assertUntouched(path);
    },
  ),
  attack(
    "attack",
    "rootfs-link",
    "a rootfs that is a symlink to the host's root does not become it",
    async (t) => {
      rmSync(t.rootfs, { recursive: true });
      symlinkSync("/", t.rootfs);
      const { status } = await t.run("true", (config) => {
        config.mounts = [];
      });
      // Allowed or not is the runtime's choice; cleaning up after it must not follow the link.
      assert.ok(status >= 0);
      assert.ok(readdirSync("/").includes("proc"));
    },
  ),

  attack(
    "attack",
    "mount-race",
    "a folder that is exchanged with a symlink while mounts are made never leads out (CVE-2021-30465)",
    async (t) => {
      const path = victim(t);
      mkdirSync(t.path("shared/folder"), { recursive: true });
      symlinkSync(path, t.path("shared/link"));
      const swap =
        "while :; do mv -T folder third; mv -T link folder; mv -T third link; done 2>/dev/null";
      const swapper = spawn("/bin/sh", ["-c", swap], { cwd: t.path("shared"), stdio: "ignore" });
      t.onClose(() => void swapper.kill("SIGKILL"));
      t.config.mounts.push({
        destination: "/shared",
        type: "none",
        source: t.path("shared"),
        options: ["rbind"],
      });
      t.config.mounts.push({ destination: "/shared/folder/m", type: "tmpfs", source: "tmpfs" });
      t.config.process.args = ["/bin/cat", "/proc/self/mountinfo"];
      t.writeConfig();
      let made = 0;
      for (let attempt = 0; attempt < 25; attempt++) {
        const { status, stdout } = await t.verb(["run", "--bundle", t.bundle, t.container().id]);
        if (status !== 0) continue; // losing the race by refusing is as good
        made += 1;
        assert.match(stdout, /\/m rw[^\n]* - tmpfs tmpfs/, "the mount went somewhere else");
      }
      swapper.kill("SIGKILL");
      assertUntouched(path);
      assert.ok(made >= 0);
    },
  ),
];
