/**
 * Rows that turn the prepared process into the one config.json describes: limits, scheduling,
 * user, capabilities (runtime-spec 1.3 config.md, "Process").
 */
import {
  cap_user_data,
  cap_user_header,
  IOPRIO_WHO_PROCESS,
  LINUX_CAPABILITY_VERSION_3,
  PR_CAP_AMBIENT,
  PR_CAP_AMBIENT_CLEAR_ALL,
  PR_CAP_AMBIENT_RAISE,
  PR_CAPBSET_DROP,
  PR_SET_KEEPCAPS,
  PR_SET_NO_NEW_PRIVS,
  RLIMIT_AS,
  RLIMIT_CORE,
  RLIMIT_CPU,
  RLIMIT_DATA,
  RLIMIT_FSIZE,
  RLIMIT_LOCKS,
  RLIMIT_MEMLOCK,
  RLIMIT_MSGQUEUE,
  RLIMIT_NICE,
  RLIMIT_NOFILE,
  RLIMIT_NPROC,
  RLIMIT_RSS,
  RLIMIT_RTPRIO,
  RLIMIT_RTTIME,
  RLIMIT_SIGPENDING,
  RLIMIT_STACK,
  rlimit64,
  SECCOMP_SET_MODE_FILTER,
  sched_attr,
  sock_filter,
  sock_fprog,
} from "../../linux/index.ts";
import { type Process, SpecError } from "../../oci/index.ts";
import { CAP_SYS_ADMIN, capabilityMask } from "../capabilities.ts";
import type { EncodedFilter } from "../seccomp/compile.ts";
import type { ListenerPlan } from "./listener.ts";
import type { RowList } from "./row-list.ts";

// biome-ignore format: table
const rlimits: Readonly<Record<string, number>> = {
  RLIMIT_CPU, RLIMIT_FSIZE, RLIMIT_DATA, RLIMIT_STACK, RLIMIT_CORE, RLIMIT_RSS, RLIMIT_NPROC,
  RLIMIT_NOFILE, RLIMIT_MEMLOCK, RLIMIT_AS, RLIMIT_LOCKS, RLIMIT_SIGPENDING, RLIMIT_MSGQUEUE,
  RLIMIT_NICE, RLIMIT_RTPRIO, RLIMIT_RTTIME,
};

/** sched(7); linux/sched.h. */
// biome-ignore format: table
const policies: Readonly<Record<string, number>> = {
  SCHED_OTHER: 0, SCHED_FIFO: 1, SCHED_RR: 2, SCHED_BATCH: 3, SCHED_ISO: 4, SCHED_IDLE: 5,
  SCHED_DEADLINE: 6,
};

// biome-ignore format: table
const schedulerFlags: Readonly<Record<string, number>> = {
  SCHED_FLAG_RESET_ON_FORK: 1, SCHED_FLAG_RECLAIM: 2, SCHED_FLAG_DL_OVERRUN: 4,
  SCHED_FLAG_KEEP_POLICY: 8, SCHED_FLAG_KEEP_PARAMS: 16, SCHED_FLAG_UTIL_CLAMP_MIN: 32,
  SCHED_FLAG_UTIL_CLAMP_MAX: 64,
};

/** ioprio_set(2), linux/ioprio.h: class above 13 bits of priority. */
// biome-ignore format: table
const ioClasses: Readonly<Record<string, number>> = {
  IOPRIO_CLASS_RT: 1, IOPRIO_CLASS_BE: 2, IOPRIO_CLASS_IDLE: 3,
};
const ioClassShift = 13;
const defaultUmask = 0o022;
const uint64Largest = 2n ** 64n - 1n;

export function planLimits(rows: RowList, process: Process): void {
  for (const { type, soft, hard } of process.rlimits ?? []) {
    const resource = lookUp(rlimits, type, "process.rlimits");
    const limit = rlimit64.encode({ rlim_cur: toUint64(soft), rlim_max: toUint64(hard) });
    rows.call("prlimit64", [0, resource, limit, 0], { note: `set ${type}` });
  }
  const { scheduler, ioPriority } = process;
  if (scheduler !== undefined) {
    const flags = (scheduler.flags ?? []).map((flag) =>
      lookUp(schedulerFlags, flag, "process.scheduler.flags"),
    );
    const attributes = sched_attr.encode({
      size: sched_attr.sizeBytes,
      sched_policy: lookUp(policies, scheduler.policy, "process.scheduler.policy"),
      sched_flags: flags.reduce((all, flag) => all | flag, 0),
      sched_nice: scheduler.nice ?? 0,
      sched_priority: scheduler.priority ?? 0,
      sched_runtime: scheduler.runtime ?? 0,
      sched_deadline: scheduler.deadline ?? 0,
      sched_period: scheduler.period ?? 0,
    });
    rows.call("sched_setattr", [0, attributes, 0], { note: "process.scheduler" });
  }
  if (ioPriority !== undefined) {
    const ioClass = lookUp(ioClasses, ioPriority.class, "process.ioPriority.class");
    const value = (ioClass << ioClassShift) | ioPriority.priority;
    rows.call("ioprio_set", [IOPRIO_WHO_PROCESS, 0, value], { note: "process.ioPriority" });
  }
}

/**
 * User, groups and capabilities. The filter is loaded as late as its privileges allow: without
 * no_new_privs that needs CAP_SYS_ADMIN, which is then given up by the one call after it.
 */
export function planCredentials(
  rows: RowList,
  process: Process,
  seccomp: EncodedFilter | undefined,
  {
    mayKeepGroups,
    grantable,
    listener,
  }: {
    readonly mayKeepGroups: boolean;
    /** Capabilities that can be had at all; others are passed over, as the specification wishes. */
    readonly grantable: bigint;
    readonly listener?: ListenerPlan | undefined;
  },
): { loadFilter(): void; dropPrivileges(): void } {
  const user = process.user ?? { uid: 0, gid: 0 };
  rows.call("umask", [user.umask ?? defaultUmask]);
  const noNewPrivileges = process.noNewPrivileges === true;
  // As runc and crun: a process whose capabilities nobody named has none.
  const sets = process.capabilities ?? {};
  planBoundingSet(rows, capabilityMask(sets.bounding));
  rows.call("prctl", [PR_SET_KEEPCAPS, 1, 0, 0, 0]);
  const groups = new Uint8Array(new Uint32Array(user.additionalGids ?? []).buffer);
  const count = user.additionalGids?.length ?? 0;
  rows.call("setgroups", [count, count === 0 ? 0 : groups], {
    // user_namespaces(7): somebody who mapped just their own group keeps the groups they have.
    ...(mayKeepGroups && count === 0 ? { ignore: ["EPERM"] as const } : {}),
    note: "set additional groups",
  });
  rows.call("setresgid", [user.gid, user.gid, user.gid], { note: `become group ${user.gid}` });
  rows.call("setresuid", [user.uid, user.uid, user.uid], { note: `become user ${user.uid}` });
  if (noNewPrivileges) rows.call("prctl", [PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0]);
  const final = toSets(sets, grantable);
  const loadsWithPrivilege = seccomp !== undefined && !noNewPrivileges;
  planCapset(rows, loadsWithPrivilege ? withAdmin(final) : final);
  planAmbient(rows, capabilityMask(sets.ambient) & final.permitted & final.inheritable);
  return {
    dropPrivileges() {
      if (loadsWithPrivilege) planCapset(rows, final);
    },
    loadFilter() {
      if (seccomp === undefined) return;
      planFilter(rows, seccomp, listener);
      if (loadsWithPrivilege) planCapset(rows, final);
    },
  };
}

interface CapabilitySets {
  readonly effective: bigint;
  readonly permitted: bigint;
  readonly inheritable: bigint;
}

function toSets(sets: NonNullable<Process["capabilities"]>, grantable: bigint): CapabilitySets {
  const mask = (names: readonly string[] | undefined) => capabilityMask(names) & grantable;
  const permitted = mask(sets.permitted);
  return { effective: mask(sets.effective), permitted, inheritable: mask(sets.inheritable) };
}

function withAdmin({ effective, permitted, inheritable }: CapabilitySets): CapabilitySets {
  const admin = 1n << BigInt(CAP_SYS_ADMIN);
  return { effective: effective | admin, permitted: permitted | admin, inheritable };
}

function planBoundingSet(rows: RowList, kept: bigint): void {
  const [next, after] = ["next_capability", "kept_capability"];
  const capability = { load: "capability", width: 4 } as const;
  rows.add({ store: rows.buffer("capability", 8), value: 0, width: 4 }, { label: next });
  rows.add({ compute: [kept, ">>", capability], as: "capability_bit" });
  rows.add({ jump: after, if: [{ result: "capability_bit" }, "&", 1] });
  rows.call("prctl", [PR_CAPBSET_DROP, capability, 0, 0, 0], {
    ignore: ["EINVAL"], // this kernel is older than the capability
    note: "give up a capability for good",
  });
  rows.label(after);
  rows.add({ compute: [capability, "+", 1], as: "capability_after" });
  rows.add({ store: { buffer: "capability" }, value: { result: "capability_after" }, width: 4 });
  rows.add({ jump: next, if: [{ result: "capability_after" }, "<=", newestCapability] });
}

/** CAP_CHECKPOINT_RESTORE; nothing newer exists in Linux 6.18. */
const newestCapability = 40;

function planCapset(rows: RowList, sets: CapabilitySets): void {
  const header = cap_user_header.encode({ version: LINUX_CAPABILITY_VERSION_3, pid: 0 });
  const data = new Uint8Array(2 * cap_user_data.sizeBytes);
  for (const half of [0, 1]) {
    const word = (set: bigint) => Number((set >> BigInt(32 * half)) & 0xffff_ffffn);
    const { effective, permitted, inheritable } = sets;
    const encoded = cap_user_data.encode({
      effective: word(effective),
      permitted: word(permitted),
      inheritable: word(inheritable),
    });
    data.set(encoded, half * cap_user_data.sizeBytes);
  }
  rows.call("capset", [header, data], { note: "process.capabilities" });
}

function planAmbient(rows: RowList, mask: bigint): void {
  rows.call("prctl", [PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0], { ignore: ["EINVAL"] });
  for (let capability = 0; mask >> BigInt(capability) > 0n; capability += 1)
    if ((mask >> BigInt(capability)) & 1n)
      rows.call("prctl", [PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0]);
}

function planFilter(
  rows: RowList,
  { code, flags }: EncodedFilter,
  listener: ListenerPlan | undefined,
): void {
  const program = sock_fprog.encode({ len: code.length / sock_filter.sizeBytes });
  const pointer = { struct: program, pointers: { [sock_fprog.offsets.filter]: code } };
  const all = flags | (listener?.flag ?? 0);
  const loaded = rows.result("seccomp", [SECCOMP_SET_MODE_FILTER, all, pointer], {
    note: "linux.seccomp",
  });
  listener?.send(loaded);
}

function toUint64(value: number): bigint {
  const exact = BigInt(value);
  return exact > uint64Largest ? uint64Largest : BigInt.asUintN(64, exact);
}

function lookUp(table: Readonly<Record<string, number>>, name: string, path: string): number {
  const value = Object.hasOwn(table, name) ? table[name] : undefined;
  if (value === undefined)
    throw new SpecError({
      document: "config.json",
      path,
      problem: `has ${JSON.stringify(name)}, expected one of ${Object.keys(table).join(", ")}`,
    });
  return value;
}
