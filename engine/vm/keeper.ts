/**
 * Keeps the machine of a container that the OCI runtime made: the process whose PID engines know.
 *
 * ```
 * create ─► launch program waits ─ start ─► becomes us ─ boots ─ launches ─► start returns
 * kill, exec, update ─► machine.sock ─► guest        our streams ◄─► the process's
 * ```
 * We end with the process's status, and the machine ends with us, however that happens.
 */
import { realpathSync, statfsSync, statSync } from "node:fs";
import { join } from "node:path";
import { type Fd, syscall } from "../../linux/index.ts";
import type { RuntimeConfig } from "../../oci/index.ts";
import {
  type Container,
  cachedSeccomp,
  LaunchError,
  MACHINE_SOCKET,
  MACHINE_STARTER,
  makeRaw,
  message,
  readContainer,
  rootResolver,
} from "../../runtime/index.ts";
import { GUEST_ROOTFS, type GuestProcess, openSocket } from "../../vmm-sandbox/index.ts";
import { ContainerError } from "../errors.ts";
import { forwardSignals } from "../signals.ts";
import { defaultStateRoot } from "../state-root.ts";
import { type BundleShares, type HostFiles, planBundleShares } from "./bundle-shares.ts";
import { type CpuKind, chooseCpu } from "./choose-cpu.ts";
import { launchProcess } from "./first-process.ts";
import { attach } from "./foreground.ts";
import { baseModules, findGuestKernel } from "./guest-kernel.ts";
import { planGuestLaunch } from "./guest-launch.ts";
import { KeptMachine } from "./kept-machine.ts";
import { type ContainerMachine, startMachine } from "./machine.ts";
import { relayProcess } from "./monitor-client.ts";
import { describeFailure, serveMachine } from "./monitor-socket.ts";
import { connectNamespace, type NamespaceNetwork } from "./namespace-network.ts";

const MiB = 2 ** 20;
const DEFAULT_MEMORY_BYTES = 512 * MiB;
/** What the guest's kernel and its caches take, beside what the container was granted. */
const KERNEL_MEMORY_BYTES = 64 * MiB;

/** @returns the exit status of the container's process, as a shell has it */
export async function keepMachine(stateRoot: string, id: string): Promise<number> {
  // Output that nobody reads any more is no reason to end the container.
  for (const stream of [process.stdout, process.stderr]) stream.on("error", () => undefined);
  using signals = forwardSignals(true, Number.POSITIVE_INFINITY);
  let kept: KeptMachine;
  try {
    kept = await launch(readContainer(stateRoot, id));
  } catch (error) {
    tellStarter(error);
    return statusOf(error);
  }
  const { directory } = kept.container;
  using _door = serveMachine(join(directory, MACHINE_SOCKET), kept);
  signals.targetOf((signal) => void kept.kill(signal));
  syscall("close", MACHINE_STARTER); // now `start` returns
  return await kept.run((status) =>
    attach(
      kept.process,
      { interactive: true, tty: kept.terminal, makeRaw: () => makeRaw(0) },
      status,
    ),
  );
}

/** Stands for another process in the machine, which `exec` has asked for on this socket. */
export async function relayInMachine(socket: number): Promise<number> {
  return await relayProcess(openSocket(socket), {
    tty: process.stdin.isTTY === true,
    interactive: true,
    isRunning: true,
    enterRaw: () => makeRaw(0),
    patience: Number.POSITIVE_INFINITY,
  });
}

async function launch(container: Container): Promise<KeptMachine> {
  const { machine: wish, rootfs } = container;
  if (wish === undefined)
    throw new ContainerError(`Cannot keep a machine for "${container.id}": it runs in none`);
  const { cpu } = chooseCpu(wish.cpu);
  const bundle = planBundleShares(wish.guest, hostFiles);
  const resources = wish.guest.linux?.resources;
  const { kernel: chosenKernel, hwConfig } = wish.guest.vm ?? {};
  const memoryBytes = inMiB(hwConfig?.memory ?? memoryOf(resources?.memory?.limit));
  using opened = new Opened();
  const locate = rootResolver(rootfs, undefined, (fd) => opened.add(fd));
  const network = connectNamespace();
  try {
    const machine = await startMachine({
      cpu,
      cpus: countCpus(container.config, cpu, hwConfig?.vcpus),
      memoryBytes,
      kernel: findKernel(cpu, wish.kernel ?? chosenKernel?.path, network),
      root: { directory: rootfs },
      shares: bundle.shares,
      files: new Map(),
      resources,
      network,
      snapshots: wish.cold ? undefined : join(defaultStateRoot(process.env), "vm-snapshots"),
    });
    try {
      const process = await launchIn(machine, bundle, locate);
      return new KeptMachine({ container, bundle, machine, network, memoryBytes, process });
    } catch (error) {
      await machine[Symbol.asyncDispose]();
      throw error;
    }
  } catch (error) {
    network[Symbol.dispose]();
    throw error;
  }
}

async function launchIn(
  machine: ContainerMachine,
  { config, files }: BundleShares,
  locate: (path: string) => string | undefined,
): Promise<GuestProcess> {
  const profile = config.linux?.seccomp;
  const facts = {
    rootfs: GUEST_ROOTFS,
    cgroups: machine.cgroups,
    files: new Set(files),
    locate,
  };
  const filter = profile === undefined ? undefined : cachedSeccomp(profile);
  return await launchProcess(
    machine.sandbox,
    planGuestLaunch(config, facts, { filter, init: false }),
    config,
  );
}

function findKernel(cpu: CpuKind, kernel: string | undefined, network: NamespaceNetwork) {
  const modules = [...baseModules, "virtiofs"];
  if (network.devices.length > 0) modules.push("virtio_net");
  return findGuestKernel({
    kernel,
    env: process.env,
    root: defaultStateRoot(process.env),
    cpu,
    modules,
  });
}

/** mount(2) follows links of the host, which the guest would follow in its own root. */
const hostFiles: HostFiles = {
  kindOf(path) {
    const stat = statSync(path, { throwIfNoEntry: false });
    if (stat === undefined) return "missing";
    return stat.isDirectory() ? "directory" : stat.isFile() ? "file" : "other";
  },
  resolve: (path) => realpathSync(path),
  sizeOf(path) {
    const { bsize, blocks } = statfsSync(path);
    return bsize * blocks;
  },
};

function memoryOf(limit: number | undefined): number {
  if (limit === undefined || limit <= 0) return DEFAULT_MEMORY_BYTES;
  return limit + KERNEL_MEMORY_BYTES;
}

function inMiB(sizeBytes: number): number {
  return Math.ceil(sizeBytes / MiB) * MiB;
}

/** `asked` is vm.hwConfig's; a limit on processor time is in force whatever their number. */
function countCpus({ linux }: RuntimeConfig, cpu: CpuKind, asked: number | undefined): number {
  if (cpu === "software" && asked !== undefined && asked !== 1)
    throw new ContainerError(
      `Cannot give the machine ${asked} CPUs (vm.hwConfig.vcpus): the software CPU has one`,
    );
  if (cpu === "software") return 1;
  const { quota = 0, period = 100_000 } = linux?.resources?.cpu ?? {};
  return Math.max(1, asked ?? Math.ceil(quota / period));
}

/** `start` hears why, as launch/sync.ts has it. */
function tellStarter(error: unknown): void {
  const { message: text, causes } = describeFailure(error);
  const words = Buffer.from([text, ...causes].join(": "));
  const report = Buffer.alloc(8 + words.length);
  report.writeUInt32LE(message.machineFailed, 0);
  report.writeUInt32LE(statusOf(error), 4);
  words.copy(report, 8);
  syscall("write", MACHINE_STARTER, report, report.length);
}

function statusOf(error: unknown): number {
  if (error instanceof LaunchError) return error.exitCode;
  return error instanceof ContainerError ? error.status : 125;
}

class Opened implements Disposable {
  readonly #all: Fd[] = [];
  add(fd: Fd): void {
    this.#all.push(fd);
  }
  [Symbol.dispose](): void {
    for (const fd of this.#all.splice(0)) fd.close();
  }
}
