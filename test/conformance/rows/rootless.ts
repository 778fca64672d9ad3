/** An ordinary user's containers: user_namespaces(7), newuidmap(1), cgroup-v2.rst on delegation. */
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import {
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import type { BundleConfig } from "../bundle.ts";
import { cgroupV2Only, controller, file } from "../machine.ts";
import { until } from "../processes.ts";
import { CannotCheck, type Need, type Row, rowsOf } from "../row.ts";
import type { Edit, Trial } from "../trial.ts";

const row = rowsOf("issue 3, Rootless");
const nobody = 65_534;
const firstSubordinate = 700_000;
const subordinates = 65_536;

const mayMakeUserNamespaces: Need = () => {
  const limit = "/proc/sys/kernel/unprivileged_userns_clone";
  return existsSync(limit) && readFileSync(limit, "utf8").trim() === "0"
    ? "ordinary users may not make user namespaces here"
    : undefined;
};
const setpriv = file("/usr/bin/setpriv", "needs util-linux");
const plain = { needs: [setpriv, mayMakeUserNamespaces] };
const ranges = { needs: [...plain.needs, file("/usr/bin/newuidmap", "needs Debian's uidmap")] };

/** Somebody for whom a systemd of their own runs. */
function userWithSystemd(): number | undefined {
  if (!existsSync("/run/user")) return undefined;
  const found = readdirSync("/run/user").find(
    (uid) => uid !== "0" && existsSync(`/run/user/${uid}/systemd/private`),
  );
  return found === undefined ? undefined : Number(found);
}
const ownSystemd: Need = () =>
  userWithSystemd() === undefined ? "no ordinary user has a systemd running" : undefined;
const delegated = { needs: [...plain.needs, cgroupV2Only, ownSystemd] };

function become(uid: number, env: readonly string[] = []): readonly string[] {
  const ids = ["--reuid", String(uid), "--regid", String(uid), "--clear-groups"];
  return ["setpriv", ...ids, "env", "-i", "PATH=/usr/bin:/usr/sbin:/bin:/sbin", ...env];
}

/** What `spec --rootless` writes: a user namespace, and nothing that needs root. */
function rootless(uid: number, isRange = false): Edit {
  return (config) => {
    config.linux.namespaces.push({ type: "user" });
    config.linux.uidMappings = [{ containerID: 0, hostID: uid, size: 1 }];
    config.linux.gidMappings = [{ containerID: 0, hostID: uid, size: 1 }];
    delete config.linux.cgroupsPath;
    delete config.linux.resources;
    const options = ["rprivate", "nosuid", "noexec", "nodev", "relatime", "ro"];
    config.mounts.push({
      destination: "/sys/fs/cgroup",
      type: "cgroup",
      source: "cgroup",
      options,
    });
    if (isRange) {
      const more = { containerID: 1, hostID: firstSubordinate, size: 1000 };
      config.linux.uidMappings.push(more);
      config.linux.gidMappings.push(more);
      return;
    }
    // The group "tty" is not mapped.
    for (const mount of config.mounts)
      mount.options = (mount.options ?? []).filter((option) => option !== "gid=5");
  };
}

/** Runs as nobody, for whom ranges are written down just for the runtime: in its mount namespace. */
function becomeNobodyWithRanges(t: Trial): void {
  const list = t.path("ranges");
  writeFileSync(list, `nobody:${firstSubordinate}:${subordinates}\n`);
  const touch = ["/etc/subuid", "/etc/subgid"].filter((path) => !existsSync(path));
  if (touch.length > 0) throw new CannotCheck(`there is no ${touch.join(", ")}`);
  const script = `mount --bind ${list} /etc/subuid && mount --bind ${list} /etc/subgid && exec "$@"`;
  const inside = ["unshare", "-m", "--propagation", "slave", "sh", "-c", script, "sh"];
  t.callThrough([...inside, ...become(nobody)], nobody);
}

function edits(...list: readonly Edit[]): Edit {
  return (config: BundleConfig) => {
    for (const edit of list) edit(config);
  };
}

async function wholeLife(t: Trial, edit: Edit): Promise<void> {
  const container = await t.create("trap 'exit 7' TERM; while :; do sleep 0.1; done", edit);
  assert.equal(await container.status(), "created");
  await container.start();
  assert.equal(await container.status(), "running");
  assert.equal(await container.exec("id -u; id -g"), "0\n0");
  assert.equal((await container.tryExec(["/bin/sh", "-c", "exit 4"])).status, 4);
  await container.kill("TERM");
  assert.equal(await container.exited(), 7);
  assert.equal(await container.status(), "stopped");
  await container.delete();
}

/** A cgroup that belongs to the user, with the runtime in one below it. */
function delegateTo(t: Trial, uid: number): string {
  const top = join(t.machine.cgroup2?.path ?? "", `mw-delegated-${t.unit}`);
  const own = join(top, "runtime");
  writeFileSync(join(t.machine.cgroup2?.path ?? "", "cgroup.subtree_control"), "+memory +pids");
  mkdirSync(own, { recursive: true });
  for (const directory of [top, own])
    for (const name of ["", "cgroup.procs", "cgroup.threads", "cgroup.subtree_control"])
      chownSync(join(directory, name), uid, uid);
  const script = `echo 0 > ${own}/cgroup.procs && exec "$@"`;
  t.callThrough(["sh", "-c", script, "sh", ...become(uid)], uid);
  t.onClose(async () => {
    await until(
      "the runtime's cgroup is empty",
      () => readFileSync(join(own, "cgroup.procs"), "utf8") === "",
    );
    for (const directory of [own, top]) rmdirSync(directory);
  });
  return top.slice((t.machine.cgroup2?.path ?? "").length);
}

function becomeUserWithSystemd(t: Trial): number {
  const uid = userWithSystemd();
  if (uid === undefined) throw new CannotCheck("no ordinary user has a systemd running");
  t.useSystemd();
  t.callThrough(become(uid, [`XDG_RUNTIME_DIR=/run/user/${uid}`]), uid);
  return uid;
}

function scopeOf(t: Trial, text: string): string {
  const path = /^0::(.*)$/m.exec(text)?.[1] ?? "";
  return join(t.machine.cgroup2?.path ?? "", path);
}

export const rootlessRows: readonly Row[] = [
  row(
    "contract",
    "rootless-life",
    "an ordinary user creates, starts, enters, kills and deletes a container",
    async (t) => {
      t.callThrough(become(nobody), nobody);
      t.config.process.oomScoreAdj = 100; // written through /proc/self, by exec as well
      await wholeLife(t, rootless(nobody));
    },
    plain,
  ),
  row(
    "contract",
    "rootless-map",
    "without ranges the user's own ID is the container's root, and setgroups is denied",
    async (t) => {
      t.callThrough(become(nobody), nobody);
      const out = await t.probe("cat /proc/self/uid_map /proc/self/setgroups", rootless(nobody));
      assert.match(out, /^\s*0\s+65534\s+1\ndeny$/);
    },
    plain,
  ),
  row(
    "contract",
    "rootless-limit-refused",
    "a limit for which no cgroup is delegated to the user is refused",
    async (t) => {
      t.callThrough(become(nobody), nobody);
      await t.refused(
        edits(rootless(nobody), (config) => {
          config.linux.resources = { pids: { limit: 20 } };
        }),
        /cgroup|permission denied/i,
      );
    },
    plain,
  ),
  row(
    "contract",
    "rootless-join",
    "a second container joins the namespaces that the user's first one owns",
    async (t) => {
      t.callThrough(become(nobody), nobody);
      const first = await t.started("sleep 100", rootless(nobody));
      const types = ["user", "network", "ipc"] as const;
      const files = { user: "user", network: "net", ipc: "ipc" } as const;
      const second = await t.started("sleep 100", (config) => {
        for (const type of types) {
          config.linux.namespaces = config.linux.namespaces.filter((one) => one.type !== type);
          config.linux.namespaces.push({ type, path: `/proc/${first.pid}/ns/${files[type]}` });
        }
        delete config.linux.uidMappings;
        delete config.linux.gidMappings;
      });
      for (const type of types)
        assert.equal(second.namespaceOf(files[type]), first.namespaceOf(files[type]), type);
    },
    plain,
  ),
  row(
    "contract",
    "rootless-ranges-life",
    "with ranges of newuidmap's the whole life works as well",
    async (t) => {
      becomeNobodyWithRanges(t);
      await wholeLife(t, rootless(nobody, true));
    },
    ranges,
  ),
  row(
    "contract",
    "rootless-ranges-ids",
    "with ranges the container has many IDs: users, groups and owners of files",
    async (t) => {
      becomeNobodyWithRanges(t);
      const container = await t.started(
        "sleep 100",
        edits(rootless(nobody, true), (config) => {
          config.process.user = { uid: 33, gid: 34, additionalGids: [50] };
        }),
      );
      const status = container.proc("status");
      assert.match(status, new RegExp(`^Uid:\t${firstSubordinate + 32}\t`, "m"));
      assert.match(status, new RegExp(`^Gid:\t${firstSubordinate + 33}\t`, "m"));
      assert.match(status, new RegExp(`^Groups:\t${firstSubordinate + 49} `, "m"));
      const seen = await container.exec("chown 5:6 /tmp && stat -c %u:%g /tmp", [
        "--user",
        "0:0",
        "--cap",
        "CAP_CHOWN",
      ]);
      assert.equal(seen, "5:6");
    },
    ranges,
  ),
  row(
    "contract",
    "rootless-ranges-foreign",
    "a range that is not the user's is refused with newuidmap's reason",
    async (t) => {
      becomeNobodyWithRanges(t);
      await t.refused(
        edits(rootless(nobody, true), (config) => {
          config.linux.uidMappings = [
            { containerID: 0, hostID: nobody, size: 1 },
            { containerID: 1, hostID: 1, size: 100 },
          ];
        }),
        /newuidmap/,
      );
    },
    ranges,
  ),
  row(
    "contract",
    "rootless-delegated",
    "below a cgroup that was delegated to the user, limits are in force and the cgroup is removed",
    async (t) => {
      const uid = userWithSystemd() ?? nobody;
      const top = delegateTo(t, uid);
      const container = await t.started(
        "sleep 100",
        edits(rootless(uid), (config) => {
          config.linux.cgroupsPath = `${top}/container`;
          config.linux.resources = { memory: { limit: 64 << 20 }, pids: { limit: 30 } };
        }),
      );
      const directory = scopeOf(t, container.proc("cgroup"));
      assert.ok(directory.endsWith(`${top}/container`), directory);
      assert.equal(readFileSync(join(directory, "memory.max"), "utf8").trim(), String(64 << 20));
      assert.equal(readFileSync(join(directory, "pids.max"), "utf8").trim(), "30");
      assert.match(await container.exec("cat /proc/self/cgroup"), /\/container$/m);
      await container.delete(["--force"]);
      assert.ok(!existsSync(directory));
    },
    { needs: [...plain.needs, cgroupV2Only, controller("memory")] },
  ),
  row(
    "contract",
    "rootless-systemd-life",
    "with --systemd-cgroup the container is a scope of the user's own systemd",
    async (t) => {
      const uid = becomeUserWithSystemd(t);
      const container = await t.started(
        "sleep 100",
        edits(rootless(uid), (config) => {
          config.linux.cgroupsPath = `user.slice:mw:${t.newId()}`;
          config.linux.resources = { memory: { limit: 64 << 20 }, pids: { limit: 30 } };
        }),
      );
      const directory = scopeOf(t, container.proc("cgroup"));
      assert.match(directory, new RegExp(`user@${uid}\\.service/user\\.slice/mw-.*\\.scope$`));
      assert.equal(readFileSync(join(directory, "memory.max"), "utf8").trim(), String(64 << 20));
      assert.equal(readFileSync(join(directory, "pids.max"), "utf8").trim(), "30");
      await t.ok(["update", "--pids-limit", "31", container.id]);
      assert.equal(readFileSync(join(directory, "pids.max"), "utf8").trim(), "31");
      await t.ok(["pause", container.id]);
      assert.equal(await container.status(), "paused");
      await t.ok(["resume", container.id]);
      assert.equal(scopeOf(t, await container.exec("cat /proc/self/cgroup")), directory);
      await container.delete(["--force"]);
      assert.ok(!existsSync(directory));
      const unit = directory.slice(directory.lastIndexOf("/") + 1);
      const [command = "", ...args] = become(uid, [`XDG_RUNTIME_DIR=/run/user/${uid}`]);
      const show = ["systemctl", "--user", "show", unit, "--property", "LoadState"];
      assert.equal(
        execFileSync(command, [...args, ...show], { encoding: "utf8" }).trim(),
        "LoadState=not-found",
      );
    },
    delegated,
  ),
  row(
    "contract",
    "rootless-systemd-cpuset-refused",
    "a limit whose controller the user's systemd was not given is refused, and leaves nothing",
    async (t) => {
      const uid = becomeUserWithSystemd(t);
      const controllers = readFileSync(
        `${t.machine.cgroup2?.path}/user.slice/user-${uid}.slice/user@${uid}.service/cgroup.controllers`,
        "utf8",
      );
      if (controllers.includes("cpuset")) throw new CannotCheck("cpuset is delegated");
      await t.refused(
        edits(rootless(uid), (config) => {
          config.linux.cgroupsPath = `user.slice:mw:${t.newId()}`;
          config.linux.resources = { cpu: { cpus: "0" } };
        }),
        /cpu/,
      );
    },
    delegated,
  ),
];
