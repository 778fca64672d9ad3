/** config.md, apparmorProfile and selinuxLabel; config-linux.md, Mount Label: on kernels that have them. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { file } from "../machine.ts";
import { CannotCheck, type Need, type Row, rowsOf } from "../row.ts";
import type { Trial } from "../trial.ts";

const process_ = rowsOf("config.md, Linux Process");
const mount = rowsOf("config-linux.md, Mount Label");

const appArmor: Need = () => {
  const switched = "/sys/module/apparmor/parameters/enabled";
  return existsSync(switched) && readFileSync(switched, "utf8").startsWith("Y")
    ? undefined
    : "the kernel has no AppArmor";
};
const parser = file("/sbin/apparmor_parser", "needs Debian's apparmor");
const selinux = file("/sys/fs/selinux/enforce", "the kernel has no SELinux");

/** Loads a profile that allows all but one file; returns its name. */
function loadProfile(t: Trial): string {
  const name = `mw-conformance-${t.unit}`;
  const rules = "file, capability, network, mount, umount, pivot_root, signal, ptrace, unix,";
  const text = `profile ${name} flags=(attach_disconnected,mediate_deleted) {\n${rules}\ndeny /etc/secret r,\n}\n`;
  const run = (flag: string) =>
    spawnSync("apparmor_parser", [flag, "-K"], { input: text, encoding: "utf8" });
  const loaded = run("-r");
  if (loaded.status !== 0) throw new CannotCheck(`cannot load a profile: ${loaded.stderr}`);
  t.onClose(() => void run("-R"));
  return name;
}

/** A label that the loaded policy knows; in permissive mode anybody may take it. */
const label = "unconfined_u:unconfined_r:unconfined_t:s0";

function needsPolicy(): void {
  try {
    writeFileSync("/proc/thread-self/attr/exec", label);
    writeFileSync("/proc/thread-self/attr/exec", "\0");
  } catch (error) {
    throw new CannotCheck(`the policy has no "${label}": ${(error as Error).message}`);
  }
}

export const securityModuleRows: readonly Row[] = [
  process_(
    "MUST",
    "apparmor-profile",
    "the program, and what is executed beside it, runs with the profile",
    async (t) => {
      const profile = loadProfile(t);
      writeFileSync(`${t.rootfs}/etc/secret`, "secret\n");
      const container = await t.started("sleep 100", (config) => {
        config.process.apparmorProfile = profile;
      });
      assert.equal(container.proc("attr/current").trim(), `${profile} (enforce)`);
      const seen = await container.exec(
        "cat /proc/self/attr/current; cat /etc/secret 2>&1 || true",
      );
      assert.match(seen, new RegExp(`^${profile} \\(enforce\\)\ncat:.*Permission denied`));
    },
    { needs: [appArmor, parser] },
  ),
  process_(
    "MUST",
    "apparmor-exec",
    "exec --apparmor gives another profile",
    async (t) => {
      const profile = loadProfile(t);
      const container = await t.started();
      const seen = await container.exec("cat /proc/self/attr/current", ["--apparmor", profile]);
      assert.equal(seen, `${profile} (enforce)`);
    },
    { needs: [appArmor, parser] },
  ),
  process_(
    "MUST",
    "apparmor-not-loaded",
    "a profile that is not loaded is refused",
    async (t) => {
      await t.refused((config) => {
        config.process.apparmorProfile = "mw-conformance-not-loaded";
      }, /apparmor/i);
    },
    { needs: [appArmor] },
  ),
  process_(
    "MUST",
    "apparmor-unconfined",
    "the profile unconfined is one as well",
    async (t) => {
      const out = await t.probe("cat /proc/self/attr/current", (config) => {
        config.process.apparmorProfile = "unconfined";
      });
      assert.equal(out, "unconfined");
    },
    { needs: [appArmor] },
  ),
  process_(
    "MUST",
    "selinux-label",
    "the program, and what is executed beside it, has the label",
    async (t) => {
      needsPolicy();
      const container = await t.started("sleep 100", (config) => {
        config.process.selinuxLabel = label;
      });
      assert.equal(container.proc("attr/current").replace(/\0/, ""), label);
      assert.match(await container.exec("cat /proc/self/attr/current"), new RegExp(`^${label}`));
    },
    { needs: [selinux] },
  ),
  mount(
    "MUST",
    "selinux-mount-label",
    "file systems that are mounted for the container have the label",
    async (t) => {
      needsPolicy();
      const wanted = "system_u:object_r:tmp_t:s0:c1,c2";
      const out = await t.probe("cat /proc/self/mountinfo", (config) => {
        config.linux.mountLabel = wanted;
      });
      const dev = out.split("\n").find((line) => line.split(" ")[4] === "/dev") ?? "";
      assert.ok(dev.includes(wanted), dev);
    },
    { needs: [selinux] },
  ),
  mount(
    "SHOULD",
    "mount-label-without-selinux",
    "without SELinux a mount label is at most an error that names it",
    async (t) => {
      const { outcome } = await t.tryCreate("true", (config) => {
        config.linux.mountLabel = "system_u:object_r:svirt_sandbox_file_t:s0:c715,c811";
      });
      if (outcome.status !== 0) assert.match(outcome.stderr, /label|context=/i);
    },
    {
      needs: [() => (existsSync("/sys/fs/selinux/enforce") ? "the kernel has SELinux" : undefined)],
    },
  ),
];
