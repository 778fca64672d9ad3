/** Checks of what containers need from the kernel. */
import { existsSync, readFileSync } from "node:fs";
import {
  CLONE_NEWCGROUP,
  CLONE_NEWIPC,
  CLONE_NEWNET,
  CLONE_NEWNS,
  CLONE_NEWPID,
  CLONE_NEWUSER,
  CLONE_NEWUTS,
  SECCOMP_GET_ACTION_AVAIL,
  type SyscallName,
} from "../../linux/index.ts";
import { namesOfMask } from "../spec/capabilities.ts";
import { type Finding, partly, unusable, usable } from "./finding.ts";
import { errnoOf, tryInChild } from "./probe.ts";

export function readText(path: string): string {
  try {
    return readFileSync(path, "utf8").trim();
  } catch {
    return "";
  }
}

export function checkKernel(): Finding {
  const release = readText("/proc/sys/kernel/osrelease");
  // since: close_range 5.9, openat2 5.6, mount_setattr 5.12, pidfd_open 5.3, fsopen 5.2
  const needed: readonly (readonly [SyscallName, string])[] = [
    ["openat2", "5.6"],
    ["close_range", "5.9"],
    ["pidfd_open", "5.3"],
    ["fsopen", "5.2"],
    ["mount_setattr", "5.12"],
  ];
  for (const [call, since] of needed) {
    if (errnoOf(call, -1, -1, -1, -1, 0) !== "ENOSYS") continue;
    const cause = `${call}() does not exist in ${release}, or a seccomp filter hides it`;
    return unusable("kernel", cause, `use Linux ${since} or later, outside of old containers`);
  }
  return usable("kernel", `Linux ${release}`);
}

export function checkPrivileges(): Finding {
  const mask = /CapEff:\s*([0-9a-f]+)/.exec(readText("/proc/self/status"))?.[1] ?? "0";
  const names = namesOfMask(BigInt(`0x${mask}`));
  const uid = process.getuid?.() ?? -1;
  if (names.includes("CAP_SYS_ADMIN")) {
    const missing = 41 - names.length;
    return usable(
      "privileges",
      `user ${uid}, ${names.length} capabilities${missing > 0 ? `, ${missing} missing` : ""}`,
    );
  }
  return partly(
    "privileges",
    `user ${uid}, rootless`,
    "CAP_SYS_ADMIN is missing, so containers need a user namespace",
    "run as root for containers without a user namespace",
  );
}

const rootNamespaces =
  CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET | CLONE_NEWCGROUP;

export function checkNamespaces(): Finding {
  const refused = tryInChild(rootNamespaces, []);
  if (refused === undefined) return usable("namespaces", "mount, pid, uts, ipc, network, cgroup");
  const inUser = tryInChild(rootNamespaces | CLONE_NEWUSER, []);
  if (inUser === undefined) return usable("namespaces", "all, inside a user namespace");
  return unusable(
    "namespaces",
    `clone() with new namespaces failed with ${refused.errno}`,
    "run as root, or allow user namespaces (see below); in a container, give it --privileged",
  );
}

export function checkUserNamespaces(): Finding {
  const name = "user namespaces";
  const max = readText("/proc/sys/user/max_user_namespaces");
  const refused = tryInChild(CLONE_NEWUSER, []);
  if (max === "0") {
    return unusable(
      name,
      "user.max_user_namespaces is 0",
      "sysctl -w user.max_user_namespaces=10000",
    );
  }
  if (readText("/proc/sys/kernel/unprivileged_userns_clone") === "0") {
    const cure = "sysctl -w kernel.unprivileged_userns_clone=1";
    return partly(name, "for root only", "kernel.unprivileged_userns_clone is 0", cure);
  }
  if (readText("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") === "1") {
    return partly(
      name,
      "for root only",
      "AppArmor lets no ordinary program have one (Ubuntu 23.10 and later)",
      "sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, or an AppArmor profile with userns",
    );
  }
  if (refused !== undefined) {
    const cause = `clone(CLONE_NEWUSER) failed with ${refused.errno}`;
    return unusable(
      name,
      cause,
      "ask who runs the outer container for --security-opt seccomp=unconfined",
    );
  }
  return usable(name, `up to ${max}`);
}

export function checkSubordinateIds(): Finding {
  const name = "subordinate IDs";
  if (process.getuid?.() === 0) return usable(name, "not needed by root");
  const path = (process.env["PATH"] ?? "").split(":");
  const found = (program: string): boolean => path.some((dir) => existsSync(`${dir}/${program}`));
  if (!found("newuidmap") || !found("newgidmap")) {
    const cause = "newuidmap or newgidmap is not installed";
    return partly(name, "one user ID only when rootless", cause, "apt-get install uidmap");
  }
  const user = process.env["USER"] ?? process.env["LOGNAME"] ?? "root";
  const uid = String(process.getuid?.() ?? 0);
  const has = (file: string): boolean =>
    readText(file)
      .split("\n")
      .some((line) => line.startsWith(`${user}:`) || line.startsWith(`${uid}:`));
  if (has("/etc/subuid") && has("/etc/subgid")) return usable(name, `/etc/subuid names ${user}`);
  return partly(
    name,
    "one user ID only when rootless",
    `/etc/subuid or /etc/subgid has no line for ${user}`,
    `usermod --add-subuids 100000-165535 --add-subgids 100000-165535 ${user}`,
  );
}

const RET_ALLOW = Uint8Array.of(0, 0, 0xff, 0x7f); // SECCOMP_RET_ALLOW 0x7fff0000, little endian

export function checkSeccomp(probe: (action: Uint8Array) => number): Finding {
  const result = probe(RET_ALLOW);
  if (result === 0) {
    const actions = readText("/proc/sys/kernel/seccomp/actions_avail");
    return usable("seccomp", `filters with ${actions.split(" ").length} actions`);
  }
  return unusable(
    "seccomp",
    "the kernel was built without CONFIG_SECCOMP_FILTER",
    "run with --security-opt seccomp=unconfined, or use another kernel",
  );
}

export const seccompActionAvailable = SECCOMP_GET_ACTION_AVAIL;

export function checkAppArmor(): Finding {
  const enabled = readText("/sys/module/apparmor/parameters/enabled") === "Y";
  if (!enabled)
    return usable("AppArmor", "not enabled here: nothing to confine, nothing in the way");
  const profile = readText("/proc/self/attr/current");
  return usable("AppArmor", `enabled; we run as ${profile === "" ? "unconfined" : profile}`);
}
