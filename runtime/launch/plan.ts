/**
 * Compiles a container's configuration to the syscall program that becomes the container.
 *
 * ```
 * prologue ─ cgroup ─ joined namespaces ─┬──────────────────────────────┐ (staged)
 *                                        │ clone; tell PID; exit         │
 * rootfs ─ mounts ─ devices ─ hooks ─ terminal ─ hidden paths ─ pivot ◄──┘
 * limits ─ user ─ capabilities ─ [ready, wait for start] ─ seccomp ─ execve
 * ```
 * Pure: reads and changes nothing. `formatProgram` shows the result, and golden files hold it.
 */
import {
  AF_INET,
  type Argument,
  AT_FDCWD,
  CLOSE_RANGE_CLOEXEC,
  encodeUtf8,
  KEYCTL_JOIN_SESSION_KEYRING,
  MSG_DONTWAIT,
  MSG_PEEK,
  O_CLOEXEC,
  O_WRONLY,
  PR_SET_DUMPABLE,
  PR_SET_PDEATHSIG,
  type Program,
  type Row,
  SIG_SETMASK,
  SIGKILL,
  SOCK_CLOEXEC,
  SOCK_DGRAM,
  sigsetSizeBytes,
  utf8Length,
} from "../../linux/index.ts";
import type { NamespaceType, Process, RuntimeConfig } from "../../oci/index.ts";
import { type EncodedFilter, encodeSeccomp } from "../seccomp/compile.ts";
import { commandOf, planExecutableCheck, planExecute } from "./execute.ts";
import { planInit } from "./init.ts";
import { planLabels } from "./labels.ts";
import { planListener } from "./listener.ts";
import type { MountFacts } from "./mounts.ts";
import {
  clonedFlags,
  firstCloneFlags,
  type NamespacePlan,
  namespaceFlags,
  planNamespaces,
} from "./namespaces.ts";
import { planMemoryPolicy } from "./placement.ts";
import { planCredentials, planLimits } from "./process.ts";
import { planRootFileSystem } from "./root-file-system.ts";
import { type CallOptions, RowList } from "./row-list.ts";
import { planStandIn } from "./stand-in.ts";
import { planSignals, planStdioOwner, planWorkingDirectory } from "./surroundings.ts";
import { message, planFailureReport, planMessage, planRendezvous, reportBuffer } from "./sync.ts";
import { planControllingTerminal, planTerminal } from "./terminal.ts";

/** What the runtime prepared: descriptors are numbers in the program's process. */
export interface LaunchContext extends MountFacts {
  /** Absolute path of the root file system. */
  readonly rootfs: string;
  /** What puts something on `rootfs` first, such as an overlay. */
  readonly rootMount?: RootMount;
  /** Where the mount is that `rootfs` lies on; for a root that is shared. */
  readonly mountAbove?: string;
  /** Wait for `start` on this listening socket; without it the command runs at once. */
  readonly start?: number;
  /** The runtime's end of sync.ts. */
  readonly sync: number;
  /** Socket that is sent the terminal. */
  readonly console?: number;
  /** `tasks` files (v1, resctrl) or cgroup.procs (v2) to write "0" to. */
  readonly cgroupFds: readonly number[];
  /** The runtime sees to it that the program is moved to its cgroup. */
  readonly awaitsCgroup?: boolean;
  readonly joined: ReadonlyMap<NamespaceType, number>;
  readonly keyring?: string;
  readonly preserveFds: number;
  /** Nobody but the process that makes the container will look after it. */
  readonly dieWithParent?: boolean;
  /** PID 1 is ours and the command its child; init.ts. */
  readonly init?: boolean;
  /** Loaded instead of what linux.seccomp compiles to. */
  readonly seccompFilter?: EncodedFilter | undefined;
  readonly noPivot: boolean;
  readonly hooks: boolean;
  /** Capabilities of the process that the program begins in. */
  readonly grantable: bigint;
  /** Connected socket of the agent that answers for seccomp. */
  readonly listener?: number;
  readonly hasKcore: boolean;
  /** SELinux is there for linux.mountLabel. */
  readonly labelsMounts?: boolean;
  /** We are not the host's root: setgroups may be forbidden, mknod is. */
  readonly rootless: boolean;
  /**
   * The command is ours and keeps a machine: it sees the host's files, and holds the connection of
   * `start` (MACHINE_STARTER) until the guest's process runs.
   */
  readonly keepsMachine?: boolean;
}

/** Descriptor that a machine's keeper finds its `start` on. */
export const MACHINE_STARTER = 100;

export interface RootMount {
  /** Rows that mount the root file system on `rootfs`; they may change the working directory. */
  readonly rows: readonly Row[];
  /** RootFacts.resolveInRoot for what will be there; without it nothing is known beforehand. */
  readonly resolve?: (path: string) => string | undefined;
}

export interface LaunchPlan {
  readonly program: Program;
  /** CLONE_NEW* for the clone that starts the program. */
  readonly cloneFlags: number;
  readonly namespaces: NamespacePlan;
}

const SIGCHLD = 17;
const CLONE_PARENT = 0x8000;
/** net(7): SIOCSIFFLAGS with IFF_UP | IFF_RUNNING in struct ifreq. */
const SIOCSIFFLAGS = 0x8914;
const upAndRunning = 0x41;
const interfaceNameSize = 16;
const ifreqSize = 40;

export function planLaunch(config: RuntimeConfig, context: LaunchContext): LaunchPlan {
  const namespaces = planNamespaces(config.linux?.namespaces);
  const rows = new RowList();
  planPrologue(rows, context);
  planOomScore(rows, config.process);
  planLabels(rows, config.process);
  if (!namespaces.created.has("user")) planHidden(rows);
  planWayIn(rows, config, namespaces, context);
  planSurroundings(rows, config, namespaces, context);
  const tty =
    context.keepsMachine === true
      ? planHostFiles(rows, config, context)
      : planRootFileSystem(rows, config, namespaces, context);
  planBecoming(rows, config, context, tty);
  planFailureReport(rows);
  return {
    program: { rows: rows.rows, buffers: rows.buffers, onError: "fail" },
    cloneFlags: firstCloneFlags(namespaces),
    namespaces,
  };
}

export function planPrologue(
  rows: RowList,
  { preserveFds, sync }: Pick<LaunchContext, "preserveFds" | "sync">,
): void {
  rows.add({ store: rows.buffer(reportBuffer, 8), value: sync, width: 4 });
  rows.call("close_range", [3 + preserveFds, 0x7fff_ffff, CLOSE_RANGE_CLOEXEC], {
    note: "nothing else is inherited",
  });
}

/**
 * Whoever shares our PID namespace must not look into us. From here on our /proc files are not
 * ours; so a new user namespace, which is mapped from outside, comes before.
 */
export function planHidden(rows: RowList): void {
  rows.call("prctl", [PR_SET_DUMPABLE, 0, 0, 0, 0], { note: "nobody in there looks into us" });
}

/** A container that waits holds nothing of the runtime's but what it waits with. */
function closeAllBut(rows: RowList, { sync, start, listener, preserveFds }: LaunchContext): void {
  const kept = [sync, start, listener].filter((fd) => fd !== undefined).sort((a, b) => a - b);
  let first = 3 + preserveFds;
  for (const fd of kept) {
    if (fd > first) rows.call("close_range", [first, fd - 1, 0]);
    first = fd + 1;
  }
  rows.call("close_range", [first, 0x7fff_ffff, 0]);
}

/** Enters cgroups and namespaces. */
function planWayIn(
  rows: RowList,
  { linux }: RuntimeConfig,
  namespaces: NamespacePlan,
  context: LaunchContext,
): void {
  for (const tasks of context.cgroupFds)
    rows.call("write", [tasks, "0", 1], { note: "enter the cgroup" });
  if (context.awaitsCgroup === true) planRendezvous(rows, message.enterCgroup);
  if (!namespaces.staged) {
    planJoins(rows, namespaces, context);
    planCgroupNamespace(rows, namespaces);
    return;
  }
  planJoins(rows, namespaces, context);
  if (namespaces.created.has("time")) planTimeNamespace(rows, linux?.timeOffsets);
  const inner = "inner";
  rows.call("clone", [clonedFlags(namespaces) + CLONE_PARENT + SIGCHLD, 0, 0, 0, 0], {
    note: "make the container's first process",
  });
  rows.add({ jump: inner, if: [{ last: true }, "==", 0] });
  planMessage(rows, message.pid, { last: true });
  rows.call("exit_group", [0]);
  rows.label(inner);
  if (namespaces.created.has("user")) {
    planRendezvous(rows, message.mapIds);
    planHidden(rows);
  }
  if (namespaces.has("user")) planBecomeRoot(rows);
  planCgroupNamespace(rows, namespaces);
}

/** Root of the user namespace, where 0 is mapped. */
export function planBecomeRoot(rows: RowList): void {
  rows.call("setresgid", [0, 0, 0], { ignore: ["EINVAL"] });
  rows.call("setresuid", [0, 0, 0], { ignore: ["EINVAL"] });
}

function planJoins(rows: RowList, { joined }: NamespacePlan, context: LaunchContext): void {
  const user = joined.find(({ type }) => type === "user");
  const others = joined.filter(({ type }) => type !== "user");
  const join = (type: NamespaceType, options: CallOptions = {}) =>
    rows.result("setns", [context.joined.get(type) ?? -1, namespaceFlags[type]], {
      ...options,
      note: `join the ${type} namespace`,
    });
  if (user === undefined) {
    for (const { type } of others) join(type);
    return;
  }
  // Those of the host's user namespace can be entered before, the others only after; one that
  // can be entered neither way is an error.
  const tries = others.map(({ type }) => ({ type, first: join(type, { ignore: ["EPERM"] }) }));
  join("user");
  for (const { type, first } of tries) {
    const joined = rows.freshLabel("joined");
    rows.add({ jump: joined, if: [first, "==", 0] });
    join(type);
    rows.label(joined);
  }
}

function planCgroupNamespace(rows: RowList, { created }: NamespacePlan): void {
  if (created.has("cgroup"))
    rows.call("unshare", [namespaceFlags.cgroup], { note: "the cgroup becomes its root" });
}

function planTimeNamespace(
  rows: RowList,
  offsets: NonNullable<RuntimeConfig["linux"]>["timeOffsets"] = {},
): void {
  rows.call("unshare", [namespaceFlags.time]);
  for (const [clock, { secs = 0, nanosecs = 0 } = {}] of Object.entries(offsets))
    planWriteFile(rows, "/proc/self/timens_offsets", `${clock} ${secs} ${nanosecs}`);
}

/** While our own /proc files are within reach. */
export function planOomScore(rows: RowList, process: Process | undefined): void {
  if (process?.oomScoreAdj !== undefined)
    planWriteFile(rows, "/proc/self/oom_score_adj", String(process.oomScoreAdj));
}

function planWriteFile(rows: RowList, path: string, text: string): void {
  const file = rows.result("openat", [AT_FDCWD, path, O_WRONLY | O_CLOEXEC], {
    note: `write "${text}"`,
  });
  rows.call("write", [file, text, utf8Length(text)], { note: `write to "${path}"` });
  rows.call("close", [file]);
}

/** Session, keyring, network, host name, kernel parameters: what needs the host's /proc. */
function planSurroundings(
  rows: RowList,
  { hostname, domainname, linux }: RuntimeConfig,
  namespaces: NamespacePlan,
  { keyring }: LaunchContext,
): void {
  rows.call("setsid", [], { ignore: ["EPERM"] });
  if (keyring !== undefined)
    rows.call("keyctl", [KEYCTL_JOIN_SESSION_KEYRING, keyring], {
      ignore: ["ENOSYS", "EDQUOT"],
      note: "a session keyring of its own",
    });
  if (namespaces.created.has("network")) planLoopback(rows);
  if (hostname !== undefined && hostname !== "")
    rows.call("sethostname", [hostname, utf8Length(hostname)]);
  if (domainname !== undefined && domainname !== "")
    rows.call("setdomainname", [domainname, utf8Length(domainname)]);
  for (const [name, value] of Object.entries(linux?.sysctl ?? {}))
    planWriteFile(rows, `/proc/sys/${sysctlPath(name)}`, value);
  if (linux?.personality !== undefined) {
    const domain = linux.personality.domain === "LINUX32" ? 8 : 0;
    rows.call("personality", [domain], { note: "linux.personality" });
  }
}

/** sysctl(8): dots separate, and a slash stands for a dot within a name. */
function sysctlPath(name: string): string {
  const slash = name.indexOf("/");
  const dot = name.indexOf(".");
  if (slash >= 0 && (dot < 0 || slash < dot)) return name;
  return name.replace(/[./]/g, (character) => (character === "." ? "/" : "."));
}

function planLoopback(rows: RowList): void {
  const socket = rows.result("socket", [AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0]);
  const request = new Uint8Array(ifreqSize);
  request.set(encodeUtf8("lo"));
  new DataView(request.buffer).setUint16(interfaceNameSize, upAndRunning, true);
  rows.call("ioctl", [socket, SIOCSIFFLAGS, request], { note: "start the loopback interface" });
  rows.call("close", [socket]);
}

/** Nothing is mounted: there are hooks to wait for, and perhaps a terminal of the host's. */
function planHostFiles(
  rows: RowList,
  { process }: RuntimeConfig,
  context: LaunchContext,
): Argument | undefined {
  if (context.hooks) planRendezvous(rows, message.hooks);
  return process?.terminal === true && context.console !== undefined
    ? planTerminal(rows, undefined, context.console, process.consoleSize, true)
    : undefined;
}

/** From a prepared process to the container's command. */
function planBecoming(
  rows: RowList,
  { process, linux }: RuntimeConfig,
  context: LaunchContext,
  tty: Argument | undefined,
): void {
  if (process === undefined) {
    // config.md, "Process": needed by `start` alone, which refuses; until then somebody must wait.
    planWaitForStart(rows, context);
    rows.call("exit_group", [1]);
    return;
  }
  const uid = process.user?.uid ?? 0;
  if (tty !== undefined) planControllingTerminal(rows, tty, uid);
  else if (uid !== 0) planStdioOwner(rows, uid);
  planSignals(rows);
  planLimits(rows, process);
  const profile = linux?.seccomp;
  const seccomp =
    context.seccompFilter ?? (profile === undefined ? undefined : encodeSeccomp(profile));
  rows.call("chdir", [process.cwd], { ignore: ["EACCES"], note: "process.cwd" });
  planMemoryPolicy(rows, linux ?? {});
  const listener =
    seccomp?.notifies && context.listener !== undefined
      ? planListener(rows, context.listener)
      : undefined;
  const { loadFilter, dropPrivileges } = planCredentials(rows, process, seccomp, {
    mayKeepGroups: context.rootless,
    grantable: context.grantable,
    listener,
  });
  planWorkingDirectory(rows, process.cwd);
  const command = commandOf(rows, process);
  if (context.start !== undefined) planExecutableCheck(rows, command);
  planWaitForStart(rows, context);
  // After each change of credentials, which takes it away again (prctl(2)).
  const bindLife = () => {
    if (context.dieWithParent !== true) return;
    rows.call("prctl", [PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0], { note: "die with the runtime" });
    // It may have died before that; then its end of the socket is closed.
    const peek = MSG_PEEK | MSG_DONTWAIT;
    const answer = rows.buffer("answer", 8);
    rows.call("recvfrom", [{ load: reportBuffer, width: 4 }, answer, 1, peek, 0, 0], {
      ignore: ["EAGAIN"],
      note: "does the runtime live?",
    });
    rows.add({ jump: "abandoned", if: [{ last: true }, "==", 0] });
  };
  bindLife();
  if (context.init === true)
    planInit(rows, {
      terminal: tty !== undefined,
      dropPrivileges() {
        dropPrivileges();
        bindLife();
      },
    });
  if (context.keepsMachine === true) planStandIn(rows, context.rootfs, tty !== undefined);
  loadFilter();
  rows.call("rt_sigprocmask", [SIG_SETMASK, new Uint8Array(8), 0, sigsetSizeBytes]);
  planExecute(rows, command);
}

function planWaitForStart(rows: RowList, context: LaunchContext): void {
  if (context.start === undefined) return;
  closeAllBut(rows, context);
  planMessage(rows, message.ready);
  const starter = rows.result("accept4", [context.start, 0, 0, SOCK_CLOEXEC], {
    note: "wait for start",
  });
  rows.add({ store: rows.buffer(reportBuffer, 8), value: starter, width: 4 });
  if (context.keepsMachine === true)
    rows.call("dup3", [starter, MACHINE_STARTER, 0], { note: "start waits for the guest" });
}
