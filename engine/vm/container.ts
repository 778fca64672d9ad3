/** A container that runs in a virtual machine: its processes, its signals, its end. */
import { ErofsReader } from "../../image/erofs/index.ts";
import type { Process, RuntimeConfig } from "../../oci/index.ts";
import type { CpuReport, GuestLaunch, GuestProcess } from "../../vmm-sandbox/index.ts";
import {
  type Claim,
  type ContainerRecord,
  ignoreMissing,
  type RunLock,
} from "../containers/directory.ts";
import { ContainerError } from "../errors.ts";
import type { Places } from "../places.ts";
import { execProcess } from "../spec/exec-process.ts";
import { MAX_ACCOUNT_FILE_BYTES, parseGroup, parsePasswd, resolveUser } from "../spec/users.ts";
import { FirstProcess, joinFlags, launchProcess, shellStatus } from "./first-process.ts";
import { planGuestExec } from "./guest-launch.ts";
import type { ContainerMachine } from "./machine.ts";
import type { SharePlan } from "./shares.ts";

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
  readonly #first: FirstProcess;
  readonly #places: Places;
  readonly #config: RuntimeConfig;
  readonly #lock: RunLock;
  readonly #machine: ContainerMachine;
  readonly #shares: SharePlan;
  readonly #disk: string;
  /** `finish` is to keep what the CPU counted, for `stats` afterwards. */
  keepsStats = false;
  #stats: Promise<CpuReport | undefined> | undefined;

  constructor({ places, record, config, lock, machine, first, shares, disk }: VmContainerParts) {
    this.#places = places;
    this.record = record;
    this.#config = config;
    this.#lock = lock;
    this.#machine = machine;
    this.#first = new FirstProcess(first, machine.sandbox, record.name);
    this.#shares = shares;
    this.#disk = disk;
  }

  /** A file of its directory. */
  path(name: string): string {
    return this.#places.containers.path(this.record.id, name);
  }

  get machine(): ContainerMachine {
    return this.#machine;
  }

  /** The first one. */
  get process(): GuestProcess {
    return this.#first.guest;
  }

  /** The first process's exit status as a shell reports it. Its last output may still be coming. */
  get status(): Promise<number> {
    return this.#first.status;
  }

  /** Starts another process in the container; `user` as `--user` has it. */
  async exec(
    options: Partial<Process> & { readonly args: readonly string[] },
    user?: string,
  ): Promise<GuestProcess> {
    const process = execProcess(this.#config, options, user, (name) => {
      using reader = new ErofsReader(this.#disk);
      return readAccount(reader, name, []);
    });
    const launch = planGuestExec(this.#config, process, this.#machine, {
      pid: this.process.pid,
      flags: joinFlags(this.#config),
    });
    return await startIn(this.#machine, launch, { ...this.#config, process }, this.record.name);
  }

  /** SIGKILL ends the machine when its guest does not react. */
  kill(signal: number): Promise<void> {
    return this.#first.kill(signal);
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
    const code = await this.status.catch(() => KILLED);
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
}

const KILLED = shellStatus(9);

/** Starts a process; errors say what a shell would. */
export async function startIn(
  { sandbox }: ContainerMachine,
  launch: GuestLaunch,
  config: RuntimeConfig,
  name: string,
): Promise<GuestProcess> {
  try {
    return await launchProcess(sandbox, launch, config);
  } catch (cause) {
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
