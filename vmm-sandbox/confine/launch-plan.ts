/**
 * The program that a monitor's process runs before it becomes the monitor: in new namespaces it
 * builds a root of its own, gives up every capability and executes the monitor from a descriptor.
 *
 * ```
 * clones itself into the namespaces; the clone goes on, as the starter's child:
 * waits for its ID maps ─ root: tmpfs with what the monitor reads ─ pivot_root ─ limits
 *   ─ capabilities ─ no_new_privs ─ execveat(executable)
 * ```
 * namespaces(7), pivot_root(2), capabilities(7).
 */
import {
  ALL_FDS,
  type Argument,
  AT_EMPTY_PATH,
  AT_FDCWD,
  AT_RECURSIVE,
  CLONE_NEWCGROUP,
  CLONE_NEWIPC,
  CLONE_NEWNET,
  CLONE_NEWNS,
  CLONE_NEWPID,
  CLONE_NEWUSER,
  CLONE_NEWUTS,
  CLONE_PARENT,
  CLOSE_RANGE_CLOEXEC,
  cap_user_data,
  cap_user_header,
  F_SETFD,
  LINUX_CAPABILITY_VERSION_3,
  MNT_DETACH,
  MOUNT_ATTR_NODEV,
  MOUNT_ATTR_NOSUID,
  MOUNT_ATTR_RDONLY,
  MOVE_MOUNT_F_EMPTY_PATH,
  MS_NODEV,
  MS_NOEXEC,
  MS_NOSUID,
  MS_PRIVATE,
  MS_REC,
  mount_attr,
  OPEN_TREE_CLOEXEC,
  OPEN_TREE_CLONE,
  PR_CAP_AMBIENT,
  PR_CAP_AMBIENT_RAISE,
  PR_CAPBSET_DROP,
  PR_SET_NO_NEW_PRIVS,
  PR_SET_PDEATHSIG,
  PR_SET_SECUREBITS,
  type Program,
  RLIMIT_CORE,
  RLIMIT_MEMLOCK,
  RLIMIT_MSGQUEUE,
  RLIMIT_NICE,
  RLIMIT_NPROC,
  RLIMIT_RTPRIO,
  type Row,
  rlimit64,
  SIGCHLD,
  SIGKILL,
} from "../../linux/index.ts";

export interface RootEntry {
  /** Absolute, on the host. */
  readonly source: string;
  /** Absolute, in the monitor's root. */
  readonly target: string;
  readonly type: "directory" | "file" | "device";
  readonly readOnly: boolean;
}

export interface RootLink {
  readonly path: string;
  readonly target: string;
}

export interface LaunchPlan {
  /** Parents come before what lies in them. */
  readonly entries: readonly RootEntry[];
  readonly links: readonly RootLink[];
  /** An existing directory on the host, below which no source lies; the root is built on it. */
  readonly scaffold: string;
  /** Capabilities, as bits, that the monitor keeps in its user namespace. */
  readonly keepCapabilities: bigint;
  /** Our numbers of the executable and of the socket to whoever starts the monitor. */
  readonly executable: number;
  readonly sync: number;
  /** Those that the monitor gets besides 0, 1 and 2. */
  readonly keep: readonly number[];
  readonly args: readonly string[];
  readonly env: readonly string[];
}

/** Everything that a process can be a stranger in. */
const monitorNamespaces =
  CLONE_NEWUSER +
  CLONE_NEWNS +
  CLONE_NEWPID +
  CLONE_NEWNET +
  CLONE_NEWIPC +
  CLONE_NEWUTS +
  CLONE_NEWCGROUP;

/** Bytes of the report: the header of the program's block. */
export const REPORT_BYTES = 64;
/** What the starter first reads: the monitor's PID, or a whole report. */
export const PID_BYTES = 8;
export const IDS_ARE_MAPPED = 1;
const LAUNCH_FAILED = 125;
const FIRST_OWN_FD = 3;
/** Room for empty files and folders that things are mounted on. */
const ROOT_OPTIONS = "size=1m,mode=755";
const CAPABILITIES = 64;
const MAX_THREADS = 4096;
/** Root has no powers by being root, and setuid keeps none. linux/securebits.h */
const SECUREBITS = 0b0010_1111;

/** Pure. On failure the program writes its header to `sync`; otherwise the socket just closes. */
export function planLaunch(plan: LaunchPlan): Program {
  return {
    rows: [
      ...enterNamespaces(plan.sync),
      ...plan.entries.map(openSource),
      ...becomeNobody(),
      { call: "mount", args: [0, "/", 0, MS_REC | MS_PRIVATE, 0], note: "mounts stay ours" },
      {
        call: "mount",
        args: ["root", plan.scaffold, "tmpfs", MS_NOSUID | MS_NODEV, ROOT_OPTIONS],
        note: "the monitor's root",
      },
      ...makeTargets(plan),
      ...plan.entries.flatMap((entry, index) => placeSource(entry, index, plan.scaffold)),
      ...enterRoot(plan.scaffold),
      ...limits(),
      ...dropCapabilities(plan.keepCapabilities),
      { call: "prctl", args: [PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0] },
      ...keepDescriptors(plan.keep),
      // Last, since a change of credentials takes it back. prctl(2)
      { call: "prctl", args: [PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0], note: "end with the starter" },
      {
        call: "execveat",
        args: [plan.executable, "", { strings: plan.args }, { strings: plan.env }, AT_EMPTY_PATH],
        note: "become the monitor",
      },
      { label: "failed" },
      { call: "write", args: [plan.sync, { buffer: "header" }, REPORT_BYTES] },
      { end: LAUNCH_FAILED },
    ],
    buffers: { go: 8, pid: PID_BYTES },
    onError: "failed",
  };
}

/**
 * The clone has every capability in its user namespace, which an execve before its IDs are mapped
 * would take away. Whoever started us learns its PID, writes the maps, as only our parent namespace
 * may, and then one byte.
 */
function enterNamespaces(sync: number): readonly Row[] {
  return [
    { call: "clone", args: [monitorNamespaces + CLONE_PARENT + SIGCHLD, 0, 0, 0, 0], as: "pid" },
    { jump: "inside", if: [{ last: true }, "==", 0] },
    { store: { buffer: "pid" }, value: { result: "pid" }, width: 8 },
    { call: "write", args: [sync, { buffer: "pid" }, PID_BYTES] },
    { end: 0 },
    { label: "inside" },
    { call: "read", args: [sync, { buffer: "go" }, 1] },
    { jump: "mapped", if: [{ last: true }, "==", IDS_ARE_MAPPED] },
    { end: LAUNCH_FAILED },
    { label: "mapped" },
  ];
}

function becomeNobody(): readonly Row[] {
  return [
    { call: "setgroups", args: [0, 0], ignore: ["EPERM"], note: "denied without privileges" },
    { call: "setresgid", args: [0, 0, 0] },
    { call: "setresuid", args: [0, 0, 0] },
    { call: "setsid", args: [], ignore: ["EPERM"] },
    { call: "sethostname", args: ["monitor", 7] },
  ];
}

/** As whoever starts it, who may enter folders that nobody may; before the scaffold covers any. */
function openSource({ source }: RootEntry, index: number): Row {
  return {
    call: "open_tree",
    args: [AT_FDCWD, source, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE],
    as: `source${index}`,
  };
}

function makeTargets({ entries, links, scaffold }: LaunchPlan): readonly Row[] {
  const made = new Set<string>(["/"]);
  const rows: Row[] = [];
  const directory = (path: string) => {
    if (made.has(path)) return;
    directory(parentOf(path));
    made.add(path);
    rows.push({ call: "mkdir", args: [scaffold + path, 0o755] });
  };
  for (const path of ["/proc", "/dev"]) directory(path);
  for (const { target, type } of entries) {
    if (type === "directory") directory(target);
    else {
      directory(parentOf(target));
      rows.push({ call: "mknod", args: [scaffold + target, 0o100644, 0], ignore: ["EEXIST"] });
    }
  }
  for (const { path, target } of links) {
    directory(parentOf(path));
    rows.push({ call: "symlink", args: [target, scaffold + path] });
  }
  rows.push({
    call: "mount",
    args: [
      "proc",
      `${scaffold}/proc`,
      "proc",
      MS_NOSUID | MS_NODEV | MS_NOEXEC,
      "subset=pid,hidepid=2",
    ],
    note: "JavaScript engines find themselves and their stack in it",
  });
  return rows;
}

function placeSource(
  { target, type, readOnly }: RootEntry,
  index: number,
  scaffold: string,
): Row[] {
  const source: Argument = { result: `source${index}` };
  const device = type === "device" ? 0 : MOUNT_ATTR_NODEV;
  const attributes = mount_attr.encode({
    attr_set: MOUNT_ATTR_NOSUID | device | (readOnly ? MOUNT_ATTR_RDONLY : 0),
  });
  const flags = AT_EMPTY_PATH | AT_RECURSIVE;
  return [
    { call: "mount_setattr", args: [source, "", flags, attributes, attributes.length] },
    {
      call: "move_mount",
      args: [source, "", AT_FDCWD, scaffold + target, MOVE_MOUNT_F_EMPTY_PATH],
    },
  ];
}

function enterRoot(scaffold: string): readonly Row[] {
  const readOnly = mount_attr.encode({ attr_set: MOUNT_ATTR_RDONLY });
  return [
    { call: "chdir", args: [scaffold] },
    { call: "pivot_root", args: [".", "."] },
    { call: "umount2", args: [".", MNT_DETACH], note: "nothing of the host is left" },
    { call: "chdir", args: ["/"] },
    { call: "mount_setattr", args: [AT_FDCWD, "/", 0, readOnly, readOnly.length] },
  ];
}

/**
 * A core would hold the guest's memory; most others are nothing that a monitor has. Threads are counted
 * in the new user namespace (before Linux 5.14 with all monitors of this user, hence their number).
 */
function limits(): readonly Row[] {
  const none = [RLIMIT_CORE, RLIMIT_MEMLOCK, RLIMIT_MSGQUEUE, RLIMIT_NICE, RLIMIT_RTPRIO];
  return [...none.map((limit) => setLimit(limit, 0)), setLimit(RLIMIT_NPROC, MAX_THREADS)];
}

/** EPERM: it is lower already. */
function setLimit(limit: number, value: number): Row {
  const both = rlimit64.encode({ rlim_cur: value, rlim_max: value });
  return { call: "prlimit64", args: [0, limit, both, 0], ignore: ["EPERM"] };
}

/** The bounding set first: dropping from it is itself a capability. */
function dropCapabilities(keep: bigint): readonly Row[] {
  const isKept = (capability: number) => ((keep >> BigInt(capability)) & 1n) === 1n;
  const all = Array.from({ length: CAPABILITIES }, (_, capability) => capability);
  const header = cap_user_header.encode({ version: LINUX_CAPABILITY_VERSION_3, pid: 0 });
  const data = new Uint8Array(2 * cap_user_data.sizeBytes);
  [keep & 0xffff_ffffn, keep >> 32n].forEach((half, index) => {
    const set = Number(half);
    data.set(
      cap_user_data.encode({ effective: set, permitted: set, inheritable: set }),
      index * cap_user_data.sizeBytes,
    );
  });
  return [
    ...all
      .filter((capability) => !isKept(capability))
      .map(
        (capability): Row => ({
          call: "prctl",
          args: [PR_CAPBSET_DROP, capability, 0, 0, 0],
          ignore: ["EINVAL"],
        }),
      ),
    { call: "prctl", args: [PR_SET_SECUREBITS, SECUREBITS, 0, 0, 0] },
    { call: "capset", args: [header, data] },
    ...all.filter(isKept).map(
      (capability): Row => ({
        call: "prctl",
        args: [PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0],
      }),
    ),
  ];
}

/** Whatever else was inherited is nobody's business in there; `sync` closes with it. */
function keepDescriptors(keep: readonly number[]): readonly Row[] {
  return [
    { call: "close_range", args: [FIRST_OWN_FD, ALL_FDS, CLOSE_RANGE_CLOEXEC] },
    ...keep.map((fd): Row => ({ call: "fcntl", args: [fd, F_SETFD, 0] })),
  ];
}

function parentOf(path: string): string {
  return path.slice(0, path.lastIndexOf("/")) || "/";
}
