/**
 * Rows that a peer fails by its own fault (the suite is right, the peer is not), and rows that we
 * decided against. A row that fails and is not listed here, or is listed and passes, makes the run
 * fail. Checked with Debian 12's runc 1.1.5 and crun 1.8.1, which both implement specification 1.0.2.
 */
import { basename } from "node:path";

type Faults = readonly (readonly [reason: string, ids: string])[];

/** Both are older than these parts of the specification. */
// biome-ignore format: table
const tooOld: Faults = [
  ["older than process.scheduler (1.2)",       "scheduler-other scheduler-batch scheduler-idle scheduler-unknown scheduler-priority-refused"],
  ["older than process.ioPriority (1.2)",      "io-priority-best-effort io-priority-idle io-priority-unknown"],
  ["older than process.execCPUAffinity (1.3)", "exec-cpu-affinity"],
  ["older than recursive idmaps (1.2)",        "ridmap-mount idmap-not-recursive"],
  ["older than time namespaces (1.2)",         "ns-new-time ns-join-time timens-boottime timens-monotonic timens-without-namespace"],
  ["older than linux.memoryPolicy (1.3)",      "memory-policy memory-policy-unknown memory-policy-nodes-refused"],
  ["older than linux.netDevices (1.3)",        "netdev-moved netdev-renamed netdev-missing netdev-name-taken"],
  ["older than cpu.burst (1.1)",               "cpu-burst"],
  ["a pids limit of 0 means none (1.3)",       "pids-zero"],
];

/** Both have these faults. */
// biome-ignore format: table
const shared: Faults = [
  ["delete also kills and deletes a created container", "delete-created"],
  ["takes two rlimits of one type",                           "rlimit-duplicate"],
  ["fails on a capability that it does not hold itself",      "caps-not-grantable"],
  ["start succeeds although startContainer failed",           "hook-startContainer-fails"],
  ["a failed poststart hook does not stop the container",     "hook-poststart-fails"],
  ["takes paths that are not absolute",                       "masked-relative readonly-relative"],
  ["ignores intelRdt without resctrl",                        "intel-rdt-missing"],
  ["takes any file for the device",                           "device-conflict"],
  ["always allows mknod of all devices",                      "device-mknod-denied"],
  ["takes a seccomp rule without names",                      "seccomp-names-empty"],
];

// biome-ignore format: table
const runc: Faults = [
  ...tooOld,
  ...shared,
  ["hooks after a failed poststop hook are not called",       "hook-poststop-fails"],
  ["calls poststart hooks in create",                         "hook-poststart-state hooks-sequence"],
  ["does not know the mount option",                          "mount-option-defaults"],
  ["older than idmapped mounts (1.1)",                        "idmap-mount idmap-without-mappings idmap-half"],
  ["wants mappings for a user namespace that it joins",       "ns-join-user rootless-join"],
  ["sets no additional groups for an ordinary user",          "rootless-ranges-ids"],
  ["keeps the owner of a cgroup that is the container's",     "cgroup-owner-v2"],
  ["takes a scope that another container has",                "systemd-name-taken"],
  ["an ordinary user's exec stays outside of the scope",      "rootless-systemd-life"],
  ["older than domainname (1.1)",                             "domainname domainname-without-uts"],
  ["rootfsPropagation is lost",                               "propagation-shared propagation-unbindable"],
  ["ignores linux.personality",                               "personality-linux32 personality-unknown"],
  ["does not look at ociVersion",                             "other-major-version version-missing"],
  ["ignores memory.kernelTCP",                                "memory-kernel-tcp"],
  ["older than cpu.idle (1.1)",                               "cpu-idle"],
  ["ignores an errnoRet that the action cannot use",          "seccomp-errno-on-allow"],
  ["binds /dev/console through a symlink (CVE-2025-52565)",   "console-link"],
  ["the waiting init can be looked into; its binary is a sealed copy", "created-init-hidden"],
  ["sometimes: what a killed create made before its state is left", "killed-after-"],
  ["refuses seccomp flags",                                   "seccomp-flag-tsync seccomp-flag-log seccomp-flag-spec-allow"],
];

// biome-ignore format: table
const crun: Faults = [
  ...tooOld,
  ...shared,
  ["has its own texts, exit codes and flags; not the contract's", "text- exec-flags exec-caps flags-with-equals run-removes log-json log-text log-create-failure state-json features events-stats verb-help terminal-needless-socket preserve-fds-listen"],
  ["sometimes: does not reap what a failed exec began",       "exec-failed-reaped"],
  ["ignores limits that no cgroup keeps for an ordinary user", "rootless-limit-refused"],
  ["takes any bytes for an ID",                               'create-bad-id-"ü" create-bad-id-"a_b"'],
  ["sends an unknown signal as 0",                            "kill-unknown-signal"],
  ["takes a relative cwd",                                    "process-cwd-relative"],
  ["the bundle is \"/\" in startContainer's state",           "hook-startContainer-state"],
  ["takes a timeout of 0",                                    "hook-timeout-zero"],
  ["calls no poststop hook after a failed create",            "hook-prestart-fails-poststop hook-createRuntime-fails-poststop hook-createContainer-fails-poststop"],
  ["a later mount option does not undo an earlier one",       "mount-option-ro-rw mount-option-nosuid-suid mount-option-nodev-dev mount-option-noexec-exec mount-option-noatime-atime mount-option-nodiratime-diratime mount-option-rrw"],
  ["does not know the mount option",                          "mount-option-iversion mount-option-noiversion mount-option-silent mount-option-loud mount-option-nosymfollow mount-option-nosymfollow-symfollow mount-option-rnosymfollow"],
  ["mount_setattr lacks MOUNT_ATTR__ATIME",                   "mount-option-rnoatime mount-option-rnodiratime mount-option-rstrictatime"],
  ["makes all mounts private after they were mounted",        "mount-option-slave mount-option-rslave mount-option-shared mount-option-rshared mount-option-unbindable mount-option-runbindable mount-option-slave-receives"],
  ["takes two namespaces of one type",                        "ns-duplicate"],
  ["drops nosuid from a read-only path",                      "readonly-keeps-flags"],
  ["takes unknown values",                                    "propagation-unknown device-unknown-type seccomp-flag-unknown"],
  ["refuses versions after 1.0",                              "future-minor-version"],
  ["writes -1 into pids.max",                                 "pids-unlimited"],
  ["a failed create leaves its cgroups",                      "cgroup-missing-controller cgroup-bad-value unified-missing-controller"],
  ["binds /dev/console through a symlink (CVE-2025-52565)",   "console-link"],
  ["mounts anything on /proc (CVE-2019-16884)",               "fake-proc"],
  ["sometimes: what a killed create made before its state is left", "killed-after-"],
  ["connects to listenerPath although nothing notifies",      "seccomp-notify-unused"],
  ["sometimes: dies of SIGPIPE when a hook reads no state",   "hook- hooks-"],
];

/** Ours, where we decided against a row. */
// biome-ignore format: table
const ours: Faults = [
  ["allows mknod of all devices, as runc does (docs/decisions/082)", "device-mknod-denied"],
];

const peers: Readonly<Record<string, Faults>> = { runc, crun, "manyworlds-oci": ours };

export interface KnownFault {
  readonly reason: string;
  /** The row may also pass: the fault is a race. */
  readonly sometimes: boolean;
}

/** What is known of this runtime's row; ids that end in "-" stand for all that begin so. */
export function knownFault(runtime: string, id: string): KnownFault | undefined {
  for (const [reason, ids] of peers[basename(runtime)] ?? []) {
    const words = ids.split(" ").filter(Boolean);
    const isNamed = words.includes(id);
    const isPrefixed = words.some((word) => word.endsWith("-") && id.startsWith(word));
    if (isNamed || isPrefixed)
      return { reason, sometimes: reason.startsWith("sometimes") || !isNamed };
  }
  return undefined;
}
