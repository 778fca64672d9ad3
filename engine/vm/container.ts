/**
 * A container in a virtual machine of its own: image → block device → machine → process. This
 * process is the machine's monitor; when it goes, so does the container.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ErofsReader, rootImage } from "../../image/erofs/index.ts";
import type { ImageRecord } from "../../image/index.ts";
import { hasNativeCode } from "../../linux/index.ts";
import type { Process, RuntimeConfig } from "../../oci/index.ts";
import { dockerSeccompFilter, executionError, message } from "../../runtime/index.ts";
import {
  GUEST_ROOTFS,
  type GuestLaunch,
  type GuestProcess,
  GuestRefusal,
  startGuestProcess,
} from "../../vmm-sandbox/index.ts";
import { makeBindSources } from "../bind-sources.ts";
import {
  type Claim,
  type ContainerRecord,
  ignoreMissing,
  type RunLock,
} from "../containers/directory.ts";
import { ContainerError } from "../errors.ts";
import type { ContainerOptions, PullPolicy } from "../options.ts";
import { openPlaces, type Places } from "../places.ts";
import type { OnProgress } from "../progress.ts";
import { resolveImage } from "../resolve-image.ts";
import { makeArguments } from "../spec/environment.ts";
import { hostFile } from "../spec/host.ts";
import { makeHosts, makeResolvConf } from "../spec/network-files.ts";
import { MAX_ACCOUNT_FILE_BYTES, parseGroup, parsePasswd, resolveUser } from "../spec/users.ts";
import { chooseCpu } from "./choose-cpu.ts";
import { baseModules, findGuestKernel } from "./guest-kernel.ts";
import { type GuestFacts, planGuestExec, planGuestLaunch } from "./guest-launch.ts";
import { type ContainerMachine, type Phase, startMachine } from "./machine.ts";
import { planShares, type SharePlan } from "./shares.ts";
import { checkGuestOptions, guestFiles, makeGuestConfig } from "./spec.ts";

export interface VmOptions {
  readonly cpu?: "auto" | "kvm" | "software" | undefined;
  /** Path of the guest's kernel. */
  readonly kernel?: string | undefined;
  /** Gets what the guest's kernel says. */
  readonly onConsole?: ((bytes: Uint8Array) => void) | undefined;
  readonly onPhase?: ((phase: Phase) => void) | undefined;
}

export interface VmContainerRequest extends VmOptions {
  readonly image: string;
  readonly container: ContainerOptions;
  readonly root?: string | undefined;
  readonly name?: string | undefined;
  readonly remove: boolean;
  readonly pull?: PullPolicy | undefined;
  readonly platform?: string | undefined;
  readonly size?: { readonly width: number; readonly height: number } | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly onProgress?: OnProgress | undefined;
  /** The image is here and ready. */
  readonly onReady?: (() => void) | undefined;
}

const MiB = 2 ** 20;
const DEFAULT_MEMORY_BYTES = 512 * MiB;
/** What the guest's kernel and its caches take, beside what the container was granted. */
const KERNEL_MEMORY_BYTES = 64 * MiB;
const SHORT_ID = 12;
const KILL_PATIENCE_MS = 3000;
const SIGKILL = 9;

export async function startVmContainer(request: VmContainerRequest): Promise<VmContainer> {
  checkGuestOptions(request.container);
  const places = openPlaces(request.root);
  try {
    if (hasNativeCode()) (await import("../sweep.ts")).sweep(places);
    const image = await resolveImage(places, request.image, { ...request, unpack: false });
    return await launchIn(places, image, request);
  } catch (error) {
    places.store[Symbol.dispose]();
    throw error;
  }
}

async function launchIn(
  places: Places,
  image: ImageRecord,
  request: VmContainerRequest,
): Promise<VmContainer> {
  const { container: options, onProgress, signal } = request;
  const defaults = places.store.images.config(image).config ?? {};
  const command = makeArguments(defaults, options); // fails before anything is made
  const { cpu, reason } = chooseCpu(request.cpu ?? "auto");
  const shares = planShares(options);
  const kernel = findGuestKernel({
    kernel: request.kernel,
    env: process.env,
    root: places.root,
    cpu,
    modules: shares.shares.length === 0 ? baseModules : [...baseModules, "virtiofs"],
  });
  const disk = await diskOf(places, image, request);
  signal?.throwIfAborted();
  request.onReady?.();
  const cpus = countCpus(options, cpu, onProgress);
  const memoryBytes = memoryOf(options);
  const claim = claimName(places, request.name);
  try {
    const { id, name } = claim;
    const hostname = options.hostname ?? id.slice(0, SHORT_ID);
    using reader = new ErofsReader(disk);
    const plain = makeGuestConfig(defaults, options, {
      id,
      hostname,
      account: readAccount(reader, options.user ?? defaults.User ?? "", options.groups ?? []),
      cpus,
      sourceOf: shares.sourceOf,
    });
    const config = withSize(plain, request.size);
    const socket = join(places.runRoot, "vm", `${id.slice(0, SHORT_ID)}.sock`);
    const record: ContainerRecord = {
      id,
      name,
      image: request.image,
      imageId: image.config.digest,
      command,
      createdAt: new Date().toISOString(),
      autoRemove: request.remove,
      labels: { ...defaults.Labels, ...options.labels },
      cgroupsPath: "",
      network: "none",
      machine: { cpu, reason, cpus, memoryBytes, kernel: kernel.path, socket },
    };
    mkdirSync(places.containers.path(id), { recursive: true, mode: 0o700 });
    writeFileSync(join(places.containers.path(id), "config.json"), JSON.stringify(config));
    places.containers.write(record);
    makeBindSources(options);
    const machine = await startMachine({
      cpu,
      cpus,
      memoryBytes,
      kernel,
      rootImage: disk,
      shares: shares.shares,
      files: networkFiles(hostname, options),
      resources: config.linux?.resources,
      onConsole: request.onConsole,
      onPhase: request.onPhase,
    });
    const facts: GuestFacts = {
      rootfs: GUEST_ROOTFS,
      cgroups: machine.cgroups,
      files: new Set([...Object.values(guestFiles), ...shares.files]),
      locate: (path) => reader.locate(path),
    };
    try {
      const launch = planGuestLaunch(config, facts, {
        filter: filterOf(config, options),
        init: options.init ?? false,
      });
      const first = await startIn(machine, launch, config, name);
      return new VmContainer(places, record, config, claim.lock, machine, first, shares);
    } catch (error) {
      await machine[Symbol.asyncDispose]();
      throw error;
    }
  } catch (error) {
    takeAway(places, claim);
    throw error;
  }
}

export class VmContainer {
  readonly record: ContainerRecord;
  readonly process: GuestProcess;
  readonly #places: Places;
  readonly #config: RuntimeConfig;
  readonly #lock: RunLock;
  readonly #machine: ContainerMachine;
  readonly #shares: SharePlan;
  readonly #status: Promise<number>;

  constructor(
    places: Places,
    record: ContainerRecord,
    config: RuntimeConfig,
    lock: RunLock,
    machine: ContainerMachine,
    first: GuestProcess,
    shares: SharePlan,
  ) {
    this.#places = places;
    this.record = record;
    this.#config = config;
    this.#lock = lock;
    this.#machine = machine;
    this.process = first;
    this.#shares = shares;
    this.#status = this.#awaitProcess();
    this.#status.catch(() => undefined); // whoever waits hears of it
  }

  get machine(): ContainerMachine {
    return this.#machine;
  }

  /** The first process's exit status as a shell reports it. Its last output may still be coming. */
  get status(): Promise<number> {
    return this.#status;
  }

  /** Starts another process in the container. */
  async exec(
    options: Partial<Process> & { readonly args: readonly string[] },
  ): Promise<GuestProcess> {
    const base = this.#config.process;
    if (base === undefined) throw new ContainerError("Cannot run another process: there is none");
    const env = [...(base.env ?? []), ...(options.env ?? [])];
    const process: Process = { ...base, terminal: false, ...options, env: lastOfEach(env) };
    const launch = planGuestExec(this.#config, process, this.#machine, {
      pid: this.process.pid,
      flags: joinFlags,
    });
    return await startIn(this.#machine, launch, { ...this.#config, process }, this.record.name);
  }

  /** SIGKILL ends the machine when its guest does not react. */
  async kill(signal: number): Promise<void> {
    const sent = this.process.kill(signal);
    if (signal !== SIGKILL) return await sent.catch(() => undefined); // it is ending already
    let timer: NodeJS.Timeout | undefined;
    const patience = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, KILL_PATIENCE_MS);
    });
    await Promise.race([Promise.all([sent, this.#status]), patience]).catch(() => undefined);
    clearTimeout(timer);
    if (await isPending(this.#status)) this.#machine.sandbox.vm.machine.stop({ kind: "stopped" });
  }

  /** Ends the machine and writes down how it went; resolves to the exit status. */
  async finish(): Promise<number> {
    const code = await this.#status.catch(() => KILLED);
    // A shared directory may have writes of the guest's outstanding: those take a clean power-off.
    if (this.#shares.shares.some(({ readOnly }) => !readOnly))
      await this.#machine[Symbol.asyncDispose]();
    else await this.#machine.unplug();
    const { containers, store } = this.#places;
    const { record } = this;
    if (record.autoRemove) takeAway(this.#places, { ...record, lock: this.#lock });
    else {
      containers.write({ ...record, exitStatus: code, finishedAt: new Date().toISOString() });
      ignoreMissing(() => containers.release(containers.runningPath(record.id)));
      this.#lock.close();
    }
    store[Symbol.dispose]();
    return code;
  }

  async #awaitProcess(): Promise<number> {
    const { sandbox } = this.#machine;
    const machineEnded = sandbox.ended.then(async (reason) => {
      if (reason.kind === "stopped") return SIGKILL; // wait(2): killed
      const text =
        reason.kind === "crash" ? await sandbox.vm.describeCrash() : `it ended by ${reason.kind}`;
      throw new ContainerError(`The virtual machine of "${this.record.name}" ended`, {
        cause: new Error(text),
      });
    });
    machineEnded.catch(() => undefined); // of interest only while the process runs
    const ended = this.process.exited.catch(() => machineEnded);
    return shellStatus(await Promise.race([ended, machineEnded]));
  }
}

const KILLED = 128 + SIGKILL;
const [CLONE_NEWNS, CLONE_NEWCGROUP, CLONE_NEWUTS] = [0x0002_0000, 0x0200_0000, 0x0400_0000];
const [CLONE_NEWIPC, CLONE_NEWPID, CLONE_NEWNET] = [0x0800_0000, 0x2000_0000, 0x4000_0000];
const joinFlags =
  CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID | CLONE_NEWNET;

async function startIn(
  { sandbox }: ContainerMachine,
  launch: GuestLaunch,
  config: RuntimeConfig,
  name: string,
): Promise<GuestProcess> {
  try {
    return await startGuestProcess(sandbox.kernel, sandbox.host, launch);
  } catch (error) {
    const cause =
      error instanceof GuestRefusal && error.code === message.notExecuted
        ? executionError(config, error.value)
        : error;
    const status = cause instanceof Error && "exitCode" in cause ? Number(cause.exitCode) : 125;
    throw new ContainerError(`Cannot start container "${name}"`, { cause, status });
  }
}

async function diskOf(
  { store }: Places,
  image: ImageRecord,
  { signal, onProgress }: VmContainerRequest,
): Promise<string> {
  using _lease = await store.lease(signal === undefined ? {} : { signal });
  const onBuild = () => onProgress?.({ type: "status", text: "Writing the image's block device" });
  return await rootImage(store, image, { signal, onBuild });
}

function claimName({ containers }: Places, name: string | undefined): Claim<RunLock> {
  return hasNativeCode() ? containers.claim(name) : containers.claimByOwner(name);
}

function takeAway(
  { containers }: Places,
  { id, name, lock }: Pick<Claim<RunLock>, "id" | "name" | "lock">,
): void {
  containers.remove({ id, name });
  lock.close();
}

function countCpus(
  { cpus = 1 }: ContainerOptions,
  cpu: "kvm" | "software",
  onProgress: OnProgress | undefined,
): number {
  const count = Math.max(1, Math.ceil(cpus));
  if (cpu === "kvm" || count === 1) return count;
  const text = `The software CPU has one virtual CPU: the machine gets 1 of the ${count} asked for`;
  onProgress?.({ type: "warning", text });
  return count;
}

function memoryOf({ memoryBytes }: ContainerOptions): number {
  if (memoryBytes === undefined || memoryBytes === 0) return DEFAULT_MEMORY_BYTES;
  return Math.ceil((memoryBytes + KERNEL_MEMORY_BYTES) / MiB) * MiB;
}

function readAccount(reader: ErofsReader, user: string, groups: readonly string[]) {
  const text = (path: string) => reader.readFile(path, MAX_ACCOUNT_FILE_BYTES)?.toString() ?? "";
  return resolveUser(user, groups, {
    passwd: () => parsePasswd(text("/etc/passwd")),
    group: () => parseGroup(text("/etc/group")),
  });
}

function networkFiles(hostname: string, options: ContainerOptions): ReadonlyMap<string, string> {
  return new Map([
    [guestFiles.hosts, makeHosts(options, "")],
    [guestFiles.resolvConf, makeResolvConf(options, hostFile("/etc/resolv.conf"))],
    [guestFiles.hostname, `${hostname}\n`],
  ]);
}

function filterOf({ process }: RuntimeConfig, { privileged, security }: ContainerOptions) {
  if (privileged === true || security?.seccomp !== undefined) return undefined;
  return dockerSeccompFilter(process?.capabilities?.bounding ?? []);
}

function withSize(config: RuntimeConfig, size: VmContainerRequest["size"]): RuntimeConfig {
  const { process } = config;
  if (size === undefined || process?.terminal !== true) return config;
  return { ...config, process: { ...process, consoleSize: size } };
}

/** The last value of each name counts. */
function lastOfEach(env: readonly string[]): readonly string[] {
  const nameOf = (entry: string) =>
    entry.slice(0, (entry.indexOf("=") + 1 || entry.length + 1) - 1);
  return [...new Map(env.map((entry) => [nameOf(entry), entry])).values()];
}

/** wait(2)'s status as a shell has it. */
export function shellStatus(status: number): number {
  const signal = status & 0x7f;
  return signal === 0 ? (status >> 8) & 0xff : 128 + signal;
}

async function isPending(promise: Promise<unknown>): Promise<boolean> {
  const pending = Symbol("pending");
  const first = await Promise.race([promise, Promise.resolve(pending)]).catch(() => undefined);
  return first === pending;
}
