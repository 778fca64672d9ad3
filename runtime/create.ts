/**
 * Makes a container: state, cgroup and process; or leaves nothing behind.
 *
 * ```
 * this process                      launch program (launch/plan.ts)
 * state directory, cgroup, sockets
 * spawn ───────────────────────────► enters cgroups and namespaces, mounts …
 * ◄─ pid (staged), mapIds, hooks ──►
 * ◄─ ready, or end of file when the command runs, or a failure report
 * ```
 */
import {
  AT_FDCWD,
  CLONE_NEWPID,
  CLONE_PARENT,
  call,
  type EncodedProgram,
  F_DUPFD_CLOEXEC,
  Fd,
  type Loader,
  O_CLOEXEC,
  O_RDONLY,
  type Program,
  SIGKILL,
  spawnLoader,
  syscall,
} from "../linux/index.ts";
import type { Mount, NamespaceType } from "../oci/index.ts";
import { everyCapability, permittedCapabilities } from "./capabilities.ts";
import {
  type CgroupPlace,
  createCgroup,
  deleteCgroup,
  limitCgroup,
  openCgroupEntrances,
} from "./cgroups/cgroup.ts";
import { chooseCgroup } from "./cgroups/choose.ts";
import { type CgroupLayout, readCgroupLayout } from "./cgroups/hierarchies.ts";
import { cgroupMountsOf } from "./cgroups/mounts.ts";
import { giveCgroup } from "./cgroups/ownership.ts";
import type { CreatedContainer, CreateOptions } from "./create-options.ts";
import { leaveFacts } from "./door/prepare.ts";
import { LaunchError } from "./errors.ts";
import { exists, isDirectory, isProcfs } from "./files.ts";
import { HookError, hasEarlyHooks, runHooks, runPoststopHooks } from "./hooks.ts";
import { writeIdMappings } from "./id-mappings.ts";
import type { PreparedMount } from "./launch/mounts.ts";
import { firstCloneFlags, hookFlags, planNamespaces } from "./launch/namespaces.ts";
import { type LaunchContext, planLaunch } from "./launch/plan.ts";
import { executionError, namespaceError, reportError } from "./launch/report.ts";
import { isShared } from "./launch/root-file-system.ts";
import { message, messageSizeBytes, reportSizeLimit } from "./launch/sync.ts";
import { prepareMounts } from "./mount-sources.ts";
import { moveNetDevices } from "./net-devices.ts";
import { markPhase } from "./phases.ts";
import { isOrdinaryUser } from "./privilege.ts";
import {
  leaveResctrl,
  makeResctrl,
  openResctrlEntrances,
  placeResctrl,
  type ResctrlPlace,
} from "./resctrl.ts";
import { expandLinks, mountPointOf, resolveRoot, rootResolver } from "./root-facts.ts";
import { cachedSeccomp } from "./seccomp/cache.ts";
import { connectListener, sendListenerState } from "./seccomp-agent.ts";
import { hasSelinux } from "./security-modules.ts";
import { listenAt, socketPair } from "./sockets.ts";
import {
  type ContainerRecord,
  createStateDirectory,
  ociState,
  removeState,
  startSocketPath,
  writePid,
  writeRecord,
} from "./state.ts";
import { checkConfig } from "./validate.ts";
import { waitForChild } from "./wait.ts";

export function createContainer(options: CreateOptions): CreatedContainer {
  const { id, config, bundle, stateRoot } = options;
  checkConfig(config);
  if (config.process === undefined && options.mode === "run")
    throw new LaunchError("process must be specified in config.json");
  const rootfs = resolveRoot(config, bundle);
  const layout = readCgroupLayout();
  const cgroup = layout && options.noCgroups !== true ? chooseCgroup(layout, options) : undefined;
  const resctrl = placeResctrl(config.linux ?? {}, id);
  const directory = createStateDirectory(stateRoot, id); // what was refused leaves nothing
  const record: ContainerRecord = {
    id,
    bundle,
    rootfs,
    created: new Date().toISOString(),
    owner: process.geteuid?.() ?? 0,
    ...(cgroup === undefined ? {} : { cgroup }),
    ...(resctrl === undefined ? {} : { resctrl }),
    config,
    ...(options.machine === undefined ? {} : { machine: options.machine }),
  };
  markPhase("configured");
  const launch = new Launch(options, record, directory, layout);
  try {
    writeRecord(directory, record);
    return launch.run();
  } catch (error) {
    launch.undo();
    // runtime.md, "Lifecycle": what the earlier hooks did, poststop hooks undo.
    if (error instanceof HookError) runPoststopHooks(record);
    throw error;
  }
}

/** One launch; remembers what has been made, so that it can be undone. */
class Launch {
  readonly #options: CreateOptions;
  readonly #record: ContainerRecord;
  readonly #directory: string;
  readonly #layout: CgroupLayout | undefined;
  readonly #open: Fd[] = [];
  #cgroup: CgroupPlace | undefined;
  #resctrl: ResctrlPlace | undefined;
  #pid = 0;
  #startTime = 0;
  #pidfd: Fd | undefined;

  constructor(
    options: CreateOptions,
    record: ContainerRecord,
    directory: string,
    layout: CgroupLayout | undefined,
  ) {
    this.#options = options;
    this.#record = record;
    this.#directory = directory;
    this.#layout = layout;
  }

  run(): CreatedContainer {
    const { config, mode } = this.#options;
    const entrances = [...this.#enterCgroup(), ...this.#enterResctrl()];
    markPhase("cgroups");
    const [sync, theirs] = socketPair();
    this.#open.push(sync);
    const start = mode === "create" ? listenAt(startSocketPath(this.#directory)) : undefined;
    const joined = this.#openNamespaces();
    const inherited = [theirs, ...entrances, ...joined.values()];
    if (start !== undefined) inherited.push(start);
    const listener = connectListener(config.linux?.seccomp);
    if (listener !== undefined) inherited.push(listener);
    this.#open.push(...inherited);
    const prepared = prepareMounts(config, this.#record.rootfs, (fd) => this.#open.push(fd));
    const programSync = this.#lift(theirs);
    const keep = [programSync, ...inherited.map(({ number }) => number)];
    for (const { tree, userNamespace } of prepared.values()) keep.push(tree ?? userNamespace ?? 0);
    if (this.#options.console !== undefined) keep.push(this.#options.console.number);
    using loader = this.#startLoader(sync, programSync, keep);
    const context = this.#context(programSync, entrances, joined, start, listener, prepared);
    const plan = planLaunch(config, context);
    for (const fd of inherited) fd.close();
    markPhase("planned");
    const encoded = loader.load(plan.program);
    markPhase("loaded");
    // What the door does with containers is not all that machines take.
    const outlives =
      (mode === "create" || this.#options.detach === true) && this.#options.machine === undefined;
    const { staged } = plan.namespaces;
    if (!staged) this.#startTime = writePid(this.#directory, this.#pid);
    // Before the container's command runs, when that is possible: then it costs no time.
    const isAwaited = this.#options.waitedForBy === "parent";
    if (isAwaited) this.#leaveFacts();
    this.#converse(sync, plan.program, encoded, staged);
    if (outlives && !isAwaited) this.#leaveFacts();
    for (const fd of this.#open) fd.close();
    return {
      record: this.#record,
      directory: this.#directory,
      pid: this.#pid,
      pidfd: this.#pidfd ?? loader.pidfd,
    };
  }

  /** Makes the container's process, which then waits for what it is to do. */
  #startLoader(sync: Fd, programSync: number, keep: readonly number[]): Loader {
    const { config, stdio, preserveFds, waitedForBy } = this.#options;
    const flags = firstCloneFlags(planNamespaces(config.linux?.namespaces));
    const ofClone = flags & CLONE_NEWPID;
    const loader = spawnLoader({
      ours: sync,
      theirs: programSync,
      lowest: 3 + (preserveFds ?? 0),
      flags: ofClone + (waitedForBy === "parent" ? CLONE_PARENT : 0),
      unshare: flags - ofClone,
      failureCode: message.unshareFailed,
      keep,
      ...(stdio === undefined ? {} : { stdio }),
    });
    this.#pid = loader.pid;
    this.#pidfd = loader.pidfd;
    return loader;
  }

  #leaveFacts(): void {
    leaveFacts({
      record: this.#record,
      directory: this.#directory,
      startTime: this.#startTime,
      pid: this.#pid,
    });
  }

  /** Removes everything; failures here never hide the first error. */
  undo(): void {
    for (const fd of this.#open) fd.close();
    if (this.#pid > 0) {
      syscall("kill", this.#pid, SIGKILL);
      try {
        waitForChild(this.#pid);
      } catch {
        // Already reaped.
      }
    }
    this.#pidfd?.close();
    try {
      if (this.#cgroup?.systemd !== undefined) this.#options.systemd?.stopScope(this.#cgroup);
      if (this.#resctrl !== undefined) leaveResctrl(this.#resctrl);
      if (this.#cgroup !== undefined) deleteCgroup(this.#cgroup);
    } finally {
      removeState(this.#directory);
    }
  }

  #enterCgroup(): readonly Fd[] {
    const { cgroup, config } = this.#record;
    if (cgroup === undefined || cgroup.systemd !== undefined) return [];
    createCgroup(cgroup);
    this.#cgroup = cgroup;
    limitCgroup(cgroup, config.linux?.resources);
    if (cgroup.version === 2) giveCgroup(cgroup, config);
    return openCgroupEntrances(cgroup);
  }

  #enterResctrl(): readonly Fd[] {
    const { resctrl, config } = this.#record;
    if (resctrl === undefined) return [];
    this.#resctrl = resctrl;
    makeResctrl(resctrl, config.linux?.intelRdt ?? {});
    return openResctrlEntrances(resctrl);
  }

  /** The program's sockets must not lie where preserved descriptors do. */
  #lift(fd: Fd): number {
    const lowest = 3 + (this.#options.preserveFds ?? 0);
    if (fd.number >= lowest) return fd.number;
    const lifted = Fd.from("fcntl", fd, F_DUPFD_CLOEXEC, lowest);
    this.#open.push(lifted);
    return lifted.number;
  }

  #openNamespaces(): ReadonlyMap<NamespaceType, Fd> {
    const opened = new Map<NamespaceType, Fd>();
    for (const { type, path } of planNamespaces(this.#options.config.linux?.namespaces).joined)
      opened.set(type, Fd.from("openat", AT_FDCWD, path, O_RDONLY | O_CLOEXEC));
    return opened;
  }

  #context(
    sync: number,
    entrances: readonly Fd[],
    joined: ReadonlyMap<NamespaceType, Fd>,
    start: Fd | undefined,
    listener: Fd | undefined,
    prepared: ReadonlyMap<Mount, PreparedMount>,
  ): LaunchContext {
    const { options, record } = { options: this.#options, record: this.#record };
    const namespaces = planNamespaces(options.config.linux?.namespaces);
    const cgroups = cgroupMountsOf(this.#layout, record.cgroup, namespaces.created.has("cgroup"));
    const profile = options.config.linux?.seccomp;
    const filter =
      options.seccompFilter ?? (profile === undefined ? undefined : cachedSeccomp(profile));
    return {
      rootfs: record.rootfs,
      ...(isShared(options.config.linux?.rootfsPropagation)
        ? { mountAbove: mountPointOf(record.rootfs) }
        : {}),
      sync,
      cgroupFds: entrances.map(({ number }) => number),
      awaitsCgroup: record.cgroup?.systemd !== undefined,
      joined: new Map([...joined].map(([type, fd]) => [type, fd.number])),
      preserveFds: options.preserveFds ?? 0,
      noPivot: options.noPivot ?? false,
      grantable: namespaces.has("user") ? everyCapability : permittedCapabilities(),
      hooks: hasEarlyHooks(options.config),
      hasKcore: exists("/proc/kcore"),
      ...(options.config.linux?.mountLabel ? { labelsMounts: hasSelinux() } : {}),
      rootless: isOrdinaryUser(),
      cgroups,
      ...(options.rootMount === undefined
        ? { expandInRoot: (path: string) => expandLinks(record.rootfs, path) }
        : {}),
      resolveInRoot: rootResolver(record.rootfs, options.rootMount, (root) =>
        this.#open.push(root),
      ),
      isProcfs,
      prepared,
      isDirectory: (source) => isDirectory(source) ?? true,
      ...(start === undefined ? {} : { start: start.number }),
      ...(listener === undefined ? {} : { listener: listener.number }),
      ...(options.console === undefined ? {} : { console: options.console.number }),
      ...(options.noNewKeyring === true ? {} : { keyring: `_ses.${options.id}` }),
      keepsMachine: options.machine !== undefined,
      dieWithParent: options.dieWithParent ?? false,
      init: options.init ?? false,
      ...(filter === undefined ? {} : { seccompFilter: filter }),
      ...(options.rootMount === undefined ? {} : { rootMount: options.rootMount }),
    };
  }

  /** Answers the program until it is ready, has become the command, or has failed. */
  #converse(sync: Fd, program: Program, encoded: EncodedProgram, staged: boolean): void {
    const buffer = new Uint8Array(reportSizeLimit);
    const view = new DataView(buffer.buffer);
    let known = !staged;
    // The container's process may speak before its maker has told who it is.
    const early: (readonly [code: number, value: number])[] = [];
    for (;;) {
      const size = call("read", sync, buffer, buffer.length);
      if (size === 0) {
        if (known && this.#options.mode === "run") return;
        throw new LaunchError("unable to start container process: it was killed while starting");
      }
      if (size !== messageSizeBytes) throw reportError(buffer.slice(0, size), program, encoded);
      const code = view.getUint32(0, true);
      if (code === message.enterCgroup) {
        this.#startScope();
        call("write", sync, "1", 1);
        continue;
      }
      early.push([code, view.getUint32(4, true)]);
      const pid = known ? undefined : early.find(([code]) => code === message.pid);
      if (pid !== undefined) {
        this.#adopt(pid[1]);
        known = true;
      }
      if (!known) continue;
      for (const [code, value] of early.splice(0))
        if (this.#answer(sync, code, value) === "ready") return;
    }
  }

  /** The process is not yet the container's where another makes that: both end up there. */
  #startScope(): void {
    const { cgroup, config } = this.#record;
    if (cgroup === undefined) return;
    this.#options.systemd?.startScope(cgroup, config, this.#pid);
    this.#cgroup = cgroup;
    if (cgroup.version === 2) giveCgroup(cgroup, config);
  }

  #answer(sync: Fd, code: number, value: number): "ready" | undefined {
    const { config } = this.#options;
    if (code === message.ready) return "ready";
    if (code === message.unshareFailed) throw namespaceError(value);
    if (code === message.notExecuted) throw executionError(config, value);
    if (code === message.mapIds) {
      writeIdMappings(this.#pid, config.linux ?? {});
      call("write", sync, "1", 1);
    } else if (code === message.listenerState) {
      const state = ociState(this.#record, "creating", this.#pid);
      sendListenerState(sync, config.linux?.seccomp, state, this.#pid);
    } else if (code === message.hooks) {
      this.#runEarlyHooks();
      call("write", sync, "1", 1);
    }
    return undefined;
  }

  /** The process that made the container's has done its part; from now on we mean that one. */
  #adopt(pid: number): void {
    const maker = this.#pid;
    this.#pidfd?.close();
    this.#pid = pid;
    this.#pidfd = Fd.from("pidfd_open", pid, 0);
    waitForChild(maker);
    this.#startTime = writePid(this.#directory, pid);
  }

  #runEarlyHooks(): void {
    moveNetDevices(this.#options.config.linux?.netDevices, this.#pid);
    const { hooks, linux } = this.#options.config;
    const state = ociState(this.#record, "creating", this.#pid);
    // The oldest hooks know only "created"; runtime-spec 1.0 had no other status for them.
    runHooks("prestart", hooks?.prestart, { ...state, status: "created" });
    runHooks("createRuntime", hooks?.createRuntime, state);
    if (hooks?.createContainer === undefined || this.#pidfd === undefined) return;
    const place = { pidfd: this.#pidfd, flags: hookFlags(linux?.namespaces) };
    runHooks("createContainer", hooks.createContainer, state, place);
  }
}
