/** What can be done with a container that exists: start, signal, pause, delete. */
import { call, Fd, hasErrno, SIGKILL, SOCK_SEQPACKET, syscall } from "../linux/index.ts";
import { deleteCgroup, freezeCgroup, signalCgroup, sleep } from "./cgroups/cgroup.ts";
import type { SystemdDriver } from "./cgroups/systemd/scope.ts";
import { LaunchError, StatusError } from "./errors.ts";
import { exists } from "./files.ts";
import { HookError, runHooks, runPoststopHooks } from "./hooks.ts";
import { hookFlags, planNamespaces } from "./launch/namespaces.ts";
import { errnoOffset, executionError, lowerErrno } from "./launch/report.ts";
import { message, messageSizeBytes, reportSizeLimit } from "./launch/sync.ts";
import { killMachine } from "./machine/verbs.ts";
import { leaveResctrl } from "./resctrl.ts";
import { connectTo } from "./sockets.ts";
import {
  type Container,
  ociState,
  readContainer,
  removeState,
  startSocketPath,
  takeStartReport,
} from "./state.ts";

const killPatienceMs = 10_000;
const pollMs = 2;

/**
 * Lets a created container run its command; returns when the command has begun. When a hook or a
 * machine fails the container is stopped (runtime.md, "Lifecycle").
 */
export function startContainer(container: Container): void {
  try {
    begin(container);
  } catch (error) {
    // Engines delete right away what did not start: a machine takes a moment to end.
    const hasFailed = error instanceof LaunchError && container.machine !== undefined;
    if (error instanceof HookError || hasFailed) {
      syscall("kill", container.pid, SIGKILL);
      awaitEnd(container);
    }
    throw error;
  }
}

function begin(container: Container): void {
  if (container.status !== "created") explainDoor(container);
  if (container.status === "stopped")
    throw new StatusError("cannot start a container that has stopped");
  if (container.status !== "created")
    throw new StatusError("cannot start an already running container");
  const { hooks, linux, process } = container.config;
  if (process === undefined)
    throw new StatusError("cannot start a container without process in its config.json");
  if (hooks?.startContainer !== undefined) {
    using pidfd = Fd.from("pidfd_open", container.pid, 0);
    const place = { pidfd, flags: hookFlags(linux?.namespaces) };
    runHooks(
      "startContainer",
      hooks.startContainer,
      ociState(container, "created", container.pid),
      place,
    );
  }
  const path = startSocketPath(container.directory);
  using socket = connectTo(path, SOCK_SEQPACKET);
  call("unlink", path);
  const report = new Uint8Array(reportSizeLimit);
  const size = readReport(socket, report);
  if (size > 0) throw startError(container, report.subarray(0, size));
  const state = ociState(container, "running", container.pid);
  runHooks("poststart", hooks?.poststart, state);
}

/** The door has connected, and was told that the command does not run. */
function explainDoor(container: Container): void {
  const report = takeStartReport(container.directory);
  if (report !== undefined && report.length >= messageSizeBytes)
    throw startError(container, report);
}

function startError({ config }: Container, report: Uint8Array): LaunchError {
  const view = new DataView(report.buffer, report.byteOffset, report.length);
  if (report.length === messageSizeBytes && view.getUint32(0, true) === message.notExecuted)
    return executionError(config, view.getUint32(4, true));
  if (report.length > messageSizeBytes && view.getUint32(0, true) === message.machineFailed) {
    const status = view.getUint32(4, true);
    const text = new TextDecoder().decode(report.subarray(messageSizeBytes));
    return new LaunchError(text, status === 126 || status === 127 ? status : 125);
  }
  const errno = report.length > errnoOffset ? view.getUint32(errnoOffset, true) : 0;
  return new LaunchError(`unable to start container process: ${lowerErrno(errno)}`);
}

/** 0 at the end of file; a process that dies while it starts resets the connection. */
function readReport(socket: Fd, report: Uint8Array): number {
  try {
    return call("read", socket, report, report.length);
  } catch (error) {
    if (hasErrno(error, "ECONNRESET")) return 0;
    throw error;
  }
}

export function killContainer(container: Container, signal: number, { all = false } = {}): void {
  if (container.machine !== undefined) {
    killMachine(container, signal);
    return;
  }
  if (all && container.cgroup !== undefined) {
    signalCgroup(container.cgroup, signal);
    if (signal === SIGKILL && container.status === "paused") freezeCgroup(container.cgroup, false);
    return;
  }
  if (container.pid === 0) throw new StatusError("container not running");
  const result = syscall("kill", container.pid, signal);
  if (result === -3) throw new StatusError("container not running");
  if (result < 0) call("kill", container.pid, signal);
  // A frozen process dies of SIGKILL only when it is thawed.
  if (signal === SIGKILL && container.status === "paused" && container.cgroup !== undefined)
    freezeCgroup(container.cgroup, false);
}

export function pauseContainer({ status, cgroup }: Container): void {
  if (status !== "running" && status !== "created") throw new StatusError("container not running");
  if (cgroup === undefined) throw new StatusError("cannot pause a container without cgroup");
  freezeCgroup(cgroup, true);
}

export function resumeContainer({ status, cgroup }: Container): void {
  if (status !== "paused" || cgroup === undefined) throw new StatusError("container not paused");
  freezeCgroup(cgroup, false);
}

export interface DeleteOptions {
  readonly force?: boolean;
  /** For a container whose cgroup systemd made. */
  readonly systemd?: SystemdDriver | undefined;
}

/** Removes a container that has stopped, or with `force` any; returns what a poststop hook said. */
export function deleteContainer(
  container: Container,
  { force = false, systemd }: DeleteOptions = {},
): string | undefined {
  const { status, id } = container;
  if (status !== "stopped" && status !== "creating" && !force)
    throw new StatusError(`cannot delete container ${id} that is not stopped: ${status}`);
  if (container.pid > 0) {
    killContainer(container, SIGKILL);
    awaitEnd(container);
  }
  return destroyContainer(container, systemd);
}

function awaitEnd({ directory, id }: Container): void {
  const root = directory.slice(0, directory.lastIndexOf("/"));
  const until = Date.now() + killPatienceMs;
  while (readContainer(root, id).pid > 0) {
    if (Date.now() > until) throw new Error("container init still running");
    sleep(pollMs);
  }
}

/** Takes away what is left after the last process: cgroup, state; then tells the hooks. */
export function destroyContainer(
  container: Container,
  systemd?: SystemdDriver,
): string | undefined {
  const { cgroup, directory, config, resctrl } = container;
  if (cgroup !== undefined) {
    // Without a PID namespace of its own other processes may be left; and a launch that was
    // interrupted may have begun what nobody wrote down.
    const isUnknown = container.status === "creating";
    if (isUnknown || !planNamespaces(config.linux?.namespaces).has("pid"))
      signalCgroup(cgroup, SIGKILL);
    if (cgroup.systemd !== undefined) systemd?.stopScope(cgroup);
    deleteCgroup(cgroup);
  }
  if (resctrl !== undefined) leaveResctrl(resctrl);
  if (exists(directory)) removeState(directory);
  return runPoststopHooks(container);
}
