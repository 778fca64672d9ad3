/**
 * Runs another process in a container.
 *
 * Our program is already the small one from a sealed memfd, and not dumpable, before it sets foot
 * in the container: a hostile process there can neither trace it nor reach our executable through
 * its /proc/PID (CVE-2019-5736), and it holds no descriptor of the host's files.
 */

import {
  type Argument,
  call,
  F_SETFD,
  Fd,
  type Program,
  SIG_SETMASK,
  SIGKILL,
  sigsetSizeBytes,
  spawnProgram,
  syscall,
} from "../linux/index.ts";
import type { NamespaceType, Process } from "../oci/index.ts";
import { everyCapability, permittedCapabilities } from "./capabilities.ts";
import { openCgroupEntrances } from "./cgroups/cgroup.ts";
import type { SystemdDriver } from "./cgroups/systemd/scope.ts";
import { LaunchError, StatusError } from "./errors.ts";
import { readLink } from "./files.ts";
import { type Command, commandOf, planExecutableCheck, planExecute } from "./launch/execute.ts";
import { planLabels } from "./launch/labels.ts";
import { planListener } from "./launch/listener.ts";
import { flagsOf, namespaceFiles } from "./launch/namespaces.ts";
import { planAffinity } from "./launch/placement.ts";
import { planBecomeRoot, planHidden, planOomScore, planPrologue } from "./launch/plan.ts";
import { planCredentials, planLimits } from "./launch/process.ts";
import { executionError, reportError } from "./launch/report.ts";
import { RowList } from "./launch/row-list.ts";
import { planSignals, planStdioOwner, planWorkingDirectory } from "./launch/surroundings.ts";
import {
  message,
  messageSizeBytes,
  planFailureReport,
  planMessage,
  planRendezvous,
  reportSizeLimit,
} from "./launch/sync.ts";
import { planControllingTerminal, planTerminal } from "./launch/terminal.ts";
import { isOrdinaryUser } from "./privilege.ts";
import { openResctrlEntrances } from "./resctrl.ts";
import { cachedSeccomp } from "./seccomp/cache.ts";
import type { EncodedFilter } from "./seccomp/compile.ts";
import { connectListener, sendListenerState } from "./seccomp-agent.ts";
import { socketPair } from "./sockets.ts";
import { type Container, ociState } from "./state.ts";
import { waitForChild } from "./wait.ts";

export interface ExecOptions {
  readonly process: Process;
  readonly console?: Fd;
  readonly stdio?: readonly [number, number, number];
  readonly preserveFds?: number;
  /**
   * Stays open in the command, under the same number: that speaks for a process in a machine, and
   * enters none of the container's namespaces here.
   */
  readonly handed?: Fd;
  /** For a container whose cgroup systemd made. */
  readonly systemd?: SystemdDriver;
  /** Loaded instead of what linux.seccomp of the container compiles to. */
  readonly seccompFilter?: EncodedFilter | undefined;
}

export interface ExecedProcess {
  readonly pid: number;
  readonly pidfd: Fd;
}

const CLONE_PARENT = 0x8000;
const SIGCHLD = 17;

/** The process runs when this returns; it is our child. */
export function execInContainer(container: Container, options: ExecOptions): ExecedProcess {
  if (container.status === "stopped" || container.pid === 0)
    throw new StatusError("cannot exec in a stopped container");
  if (container.status === "paused")
    throw new StatusError("cannot exec in a paused container (use --ignore-paused to override)");
  using target = Fd.from("pidfd_open", container.pid, 0);
  const types = options.handed === undefined ? differingNamespaces(container.pid) : [];
  // What comes from outside a user's own systemd, only systemd can move in.
  const isMoved = container.cgroup?.systemd !== undefined && isOrdinaryUser();
  const { cgroup, resctrl } = container;
  const entrances = [
    ...(cgroup === undefined || isMoved ? [] : openCgroupEntrances(cgroup)),
    ...(resctrl === undefined ? [] : openResctrlEntrances(resctrl)),
  ];
  const listener = connectListener(container.config.linux?.seccomp);
  const [sync, theirs] = socketPair();
  const program = planExec(container, options, {
    sync: theirs.number,
    target: target.number,
    flags: flagsOf(types),
    joinsUser: types.includes("user"),
    grantable: types.includes("user") ? everyCapability : permittedCapabilities(),
    ...(listener === undefined ? {} : { listener: listener.number }),
    entrances: entrances.map(({ number }) => number),
    awaitsCgroup: isMoved,
    rootless: isOrdinaryUser(),
    seccompFilter: options.seccompFilter,
  });
  const keep = [theirs.number, target.number, ...entrances.map(({ number }) => number)];
  if (options.console !== undefined) keep.push(options.console.number);
  if (options.handed !== undefined) keep.push(options.handed.number);
  if (listener !== undefined) keep.push(listener.number);
  let maker = 0;
  try {
    const { pid, pidfd, encoded } = spawnProgram(program, {
      keep,
      name: "manyworlds-exec",
      ...(options.stdio === undefined ? {} : { stdio: options.stdio }),
    });
    maker = pid;
    pidfd.close();
    theirs.close();
    return converse(sync, maker, container, options, (block) =>
      reportError(block, program, encoded),
    );
  } finally {
    if (maker > 0) waitForChild(maker);
    listener?.close();
    for (const fd of [sync, theirs, ...entrances]) fd.close();
  }
}

function converse(
  sync: Fd,
  maker: number,
  container: Container,
  { process, systemd }: ExecOptions,
  explain: (block: Uint8Array) => LaunchError,
): ExecedProcess {
  const buffer = new Uint8Array(reportSizeLimit);
  let pid = 0;
  // The process may speak before its maker has told who it is; until then nobody could reap it,
  // and PID 1 of the container could not end.
  const early: Uint8Array[] = [];
  const fail = (error: LaunchError): never => {
    if (pid > 0) {
      syscall("kill", pid, SIGKILL);
      waitForChild(pid);
    }
    throw error;
  };
  const answer = (block: Uint8Array): void => {
    const { code, value } = readMessage(block);
    if (code === undefined) fail(explain(block));
    else if (code === message.notExecuted)
      fail(executionError({ ...container.config, process }, value));
    else if (code === message.listenerState) {
      const state = ociState(container, container.status, container.pid);
      sendListenerState(sync, container.config.linux?.seccomp, state, pid);
    }
  };
  for (;;) {
    const size = call("read", sync, buffer, buffer.length);
    const block = buffer.slice(0, size);
    const { code, value } = readMessage(block);
    if (code === message.enterCgroup) {
      if (container.cgroup !== undefined) systemd?.enterScope(container.cgroup, maker);
      call("write", sync, "1", 1);
    } else if (code === message.pid) pid = value;
    else if (size > 0) early.push(block);
    if (pid === 0 && size > 0) continue;
    for (const one of early.splice(0)) answer(one);
    if (size > 0) continue;
    if (pid === 0) fail(new LaunchError("unable to start container process: it was killed"));
    return { pid, pidfd: Fd.from("pidfd_open", pid, 0) };
  }
}

/** Without a code it is a failure report. */
function readMessage(block: Uint8Array): { readonly code?: number; readonly value: number } {
  if (block.length !== messageSizeBytes) return { value: 0 };
  const view = new DataView(block.buffer);
  return { code: view.getUint32(0, true), value: view.getUint32(4, true) };
}

/** Namespaces of the container that are not ours; setns(2) refuses to join our own user one. */
function differingNamespaces(pid: number): readonly NamespaceType[] {
  const types = Object.keys(namespaceFiles) as NamespaceType[]; // SAFE: the table's own keys
  return types.filter((type) => {
    const link = (process: string) => {
      try {
        return readLink(`/proc/${process}/ns/${namespaceFiles[type]}`);
      } catch {
        return undefined; // this kernel has no such namespaces
      }
    };
    return link(String(pid)) !== link("self");
  });
}

export interface ExecContext {
  readonly sync: number;
  readonly target: number;
  readonly flags: number;
  readonly joinsUser: boolean;
  readonly grantable: bigint;
  readonly listener?: number;
  readonly entrances: readonly Argument[];
  readonly awaitsCgroup?: boolean;
  /** Of a user namespace in which setgroups may be denied. */
  readonly rootless?: boolean;
  /** Without it, the one that the process names. */
  readonly command?: Command;
  readonly seccompFilter?: EncodedFilter | undefined;
}

/** Pure: the rows of an exec. */
export function planExec(
  { config, owner }: Pick<Container, "config" | "owner">,
  {
    process,
    console: socket,
    preserveFds = 0,
    handed,
  }: Omit<ExecOptions, "console"> & { readonly console?: { readonly number: number } },
  context: ExecContext,
  rows = new RowList(),
): Program {
  planPrologue(rows, { preserveFds, sync: context.sync });
  if (handed !== undefined) rows.call("fcntl", [handed.number, F_SETFD, 0]);
  planOomScore(rows, config.process);
  planLabels(rows, process);
  planHidden(rows);
  planAffinity(rows, process, "initial");
  for (const entrance of context.entrances)
    rows.call("write", [entrance, "0", 1], { note: "enter the cgroup" });
  if (context.awaitsCgroup === true) planRendezvous(rows, message.enterCgroup);
  if (context.flags !== 0)
    rows.call("setns", [context.target, context.flags], {
      note: "join the container's namespaces",
    });
  rows.call("clone", [CLONE_PARENT | SIGCHLD, 0, 0, 0, 0], { note: "enter its PID namespace" });
  rows.add({ jump: "inner", if: [{ last: true }, "==", 0] });
  planMessage(rows, message.pid, { last: true });
  rows.call("exit_group", [0]);
  rows.label("inner");
  if (context.joinsUser) planBecomeRoot(rows);
  rows.call("setsid", []);
  const uid = process.user?.uid ?? 0;
  if (process.terminal === true && socket !== undefined) {
    const isRaw = handed !== undefined;
    const tty = planTerminal(rows, undefined, socket.number, process.consoleSize, isRaw);
    planControllingTerminal(rows, tty, uid);
  } else if (uid !== 0) planStdioOwner(rows, uid);
  planSignals(rows);
  planLimits(rows, process);
  const profile = config.linux?.seccomp;
  const seccomp =
    context.seccompFilter ?? (profile === undefined ? undefined : cachedSeccomp(profile));
  const listener =
    seccomp?.notifies && context.listener !== undefined
      ? planListener(rows, context.listener)
      : undefined;
  rows.call("chdir", [process.cwd], { ignore: ["EACCES"], note: "process.cwd" });
  const { loadFilter } = planCredentials(rows, process, seccomp, {
    mayKeepGroups: owner !== 0 || context.rootless === true,
    grantable: context.grantable,
    listener,
  });
  planAffinity(rows, process, "final");
  planWorkingDirectory(rows, process.cwd);
  const command = context.command ?? commandOf(rows, process);
  planExecutableCheck(rows, command);
  loadFilter();
  rows.call("rt_sigprocmask", [SIG_SETMASK, new Uint8Array(8), 0, sigsetSizeBytes]);
  planExecute(rows, command);
  planFailureReport(rows);
  return { rows: rows.rows, buffers: rows.buffers, onError: "fail" };
}
