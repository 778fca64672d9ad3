/** A container that runs in a virtual machine: its processes, its signals, its end. */
import { ErofsReader } from "../../image/erofs/index.ts";
import type { Process, RuntimeConfig } from "../../oci/index.ts";
import { executionError, message } from "../../runtime/index.ts";
import {
  type CpuReport,
  type GuestLaunch,
  type GuestProcess,
  GuestRefusal,
  startGuestProcess,
} from "../../vmm-sandbox/index.ts";
import {
  type Claim,
  type ContainerRecord,
  ignoreMissing,
  type RunLock,
} from "../containers/directory.ts";
import { ContainerError } from "../errors.ts";
import type { Places } from "../places.ts";
import { MAX_ACCOUNT_FILE_BYTES, parseGroup, parsePasswd, resolveUser } from "../spec/users.ts";
import { planGuestExec } from "./guest-launch.ts";
import type { ContainerMachine } from "./machine.ts";
import type { SharePlan } from "./shares.ts";

const KILL_PATIENCE_MS = 3000;
const SIGKILL = 9;

export interface VmContainerParts {
  readonly places: Places;
  readonly record: ContainerRecord;
  readonly config: RuntimeConfig;
  readonly lock: RunLock;
  readonly machine: ContainerMachine;
  readonly first: GuestProcess;
  readonly shares: SharePlan;
  /** The image as a block device. */
  readonly disk: string;
}

export class VmContainer {
  readonly record: ContainerRecord;
  readonly process: GuestProcess;
  readonly #places: Places;
  readonly #config: RuntimeConfig;
  readonly #lock: RunLock;
  readonly #machine: ContainerMachine;
  readonly #shares: SharePlan;
  readonly #disk: string;
  readonly #status: Promise<number>;
  /** `finish` is to keep what the CPU counted, for `stats` afterwards. */
  keepsStats = false;
  #stats: Promise<CpuReport | undefined> | undefined;

  constructor({ places, record, config, lock, machine, first, shares, disk }: VmContainerParts) {
    this.#places = places;
    this.record = record;
    this.#config = config;
    this.#lock = lock;
    this.#machine = machine;
    this.process = first;
    this.#shares = shares;
    this.#disk = disk;
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

  /** Starts another process in the container; `user` as `--user` has it. */
  async exec(
    options: Partial<Process> & { readonly args: readonly string[] },
    user?: string,
  ): Promise<GuestProcess> {
    const base = this.#config.process;
    if (base === undefined) throw new ContainerError("Cannot run another process: there is none");
    const env = lastOfEach([...(base.env ?? []), ...(options.env ?? [])]);
    const process: Process = { ...base, terminal: false, ...options, env, ...this.#account(user) };
    const launch = planGuestExec(this.#config, process, this.#machine, {
      pid: this.process.pid,
      flags: joinFlags,
    });
    return await startIn(this.#machine, launch, { ...this.#config, process }, this.record.name);
  }

  /** A user other than root starts without capabilities, and root with the container's. */
  #account(user: string | undefined): Partial<Process> {
    if (user === undefined) return {};
    using reader = new ErofsReader(this.#disk);
    const { home: _home, ...account } = readAccount(reader, user, []);
    const { bounding = [] } = this.#config.process?.capabilities ?? {};
    const own = account.uid === 0 ? bounding : [];
    return {
      user: account,
      capabilities: { bounding, permitted: own, effective: own, inheritable: [], ambient: [] },
    };
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

  /**
   * What the CPU has counted so far; after `finish`, when that kept it, what it had counted then.
   * Undefined on KVM, where the processor itself runs the guest.
   */
  stats(): Promise<CpuReport | undefined> {
    return this.#stats ?? this.#machine.sandbox.vm.stats();
  }

  /** Ends the machine and writes down how it went; resolves to the exit status. */
  async finish(): Promise<number> {
    const code = await this.#status.catch(() => KILLED);
    if (this.keepsStats) {
      this.#stats = this.stats();
      await this.#stats.catch(() => undefined); // whoever asks for it hears of it
    }
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
export const joinFlags =
  CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWPID | CLONE_NEWNET;

/** Starts a process; errors say what a shell would. */
export async function startIn(
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

export function takeAway(
  { containers }: Places,
  { id, name, lock }: Pick<Claim<RunLock>, "id" | "name" | "lock">,
): void {
  containers.remove({ id, name });
  lock.close();
}

export function readAccount(reader: ErofsReader, user: string, groups: readonly string[]) {
  const text = (path: string) => reader.readFile(path, MAX_ACCOUNT_FILE_BYTES)?.toString() ?? "";
  return resolveUser(user, groups, {
    passwd: () => parsePasswd(text("/etc/passwd")),
    group: () => parseGroup(text("/etc/group")),
  });
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
