/**
 * A sandbox whose machine runs in a confined process of its own.
 *
 * ```
 * this process                                     monitor (confine/, monitor.ts)
 *   RemoteKernel, processes ─ Bridge ═ socket ═ Bridge ─ vsock ─ guest
 *   opens kernel, disks, /dev/kvm ── descriptors ──► Vm
 * ```
 */
import { openSync } from "node:fs";
import { Fd } from "../../linux/index.ts";
import { type SharedDirectory, startConfined } from "../confine/index.ts";
import type { InitramfsEntry } from "../guest/initramfs.ts";
import { socketPair } from "../host/socket-pair.ts";
import { openKvm } from "../kvm/index.ts";
import {
  connectAgent,
  encodeFirstRoot,
  type GuestKernel,
  kernelCommandLine,
  type Sandbox,
} from "../sandbox.ts";
import type { SnapshotConfig } from "../snapshot/index.ts";
import { CONTROL_PORT } from "../vsock-ports.ts";
import type { MonitorConfig, MonitorNet, MonitorShare } from "./config.ts";
import { ConfinedMachine } from "./confined-machine.ts";
import { monitorCommand } from "./monitor-command.ts";

export interface ConfinedShare {
  readonly tag: string;
  /** Directory of the host. */
  readonly source: string;
  readonly readOnly: boolean;
  /** The files of it that the guest may see. */
  readonly only?: readonly string[];
}

export interface ConfinedSandboxConfig {
  readonly cpu: "kvm" | "software";
  readonly cpus: number;
  readonly memorySizeBytes: number;
  /** Path of a bzImage or an ELF vmlinux. */
  readonly kernel: string;
  readonly modules?: GuestKernel["modules"];
  readonly disks?: readonly { readonly path: string; readonly readOnly: boolean }[];
  readonly shares?: readonly ConfinedShare[];
  /** Open descriptors (host/tap.ts: openTap), which stay the caller's: the monitor has its own. */
  readonly nets?: readonly MonitorNet[];
  /** More files for the first root. */
  readonly files?: readonly InitramfsEntry[];
  readonly commandLine?: string;
  readonly snapshot?: SnapshotConfig;
  readonly onConsole?: (bytes: Uint8Array) => void;
  readonly readyTimeoutMs?: number;
}

/** Boots the guest and waits for its agent. Throws as startSandbox does, and ConfinementError. */
export async function startConfinedSandbox(config: ConfinedSandboxConfig): Promise<Sandbox> {
  const machine = startMonitor(config);
  const listen = () => machine.host.acceptAt(CONTROL_PORT);
  const control = listen();
  try {
    await machine.start(
      config.snapshot?.kind === "restore"
        ? new Uint8Array(0)
        : encodeFirstRoot({
            kernel: { image: new Uint8Array(0), modules: config.modules ?? [] },
            ...(config.files === undefined ? {} : { files: config.files }),
          }),
    );
  } catch (error) {
    control[Symbol.dispose]();
    await machine[Symbol.asyncDispose]();
    throw error;
  }
  return await connectAgent(machine, control, { ...config, listen });
}

/** Bun collects garbage once a second otherwise, also where nothing happens; there is hardly any. */
const MONITOR_ENVIRONMENT = ["BUN_GC_TIMER_DISABLE=1"];

/** The descriptors are open here only until the monitor has them. */
function startMonitor(config: ConfinedSandboxConfig): ConfinedMachine {
  using opened = new DisposableList();
  const open = (path: string, flags: "r" | "r+") => opened.add(Fd.take(openSync(path, flags)));
  const [ours, theirs] = socketPair();
  opened.add(theirs);
  const { snapshot } = config;
  const kernel = snapshot?.kind === "restore" ? undefined : open(config.kernel, "r");
  const disks = (config.disks ?? []).map(({ path, readOnly }) => ({
    fd: open(path, readOnly ? "r" : "r+").number,
    readOnly,
  }));
  const kvm = config.cpu === "kvm" ? opened.add(openKvm()) : undefined;
  const { nets = [] } = config;
  const { mounts, shares } = placeShares(config.shares ?? []);
  const { executable, args, readable, fromSource } = monitorCommand();
  const silent = open("/dev/null", "r+").number;
  const { pid, pidfd } = startConfined({
    executable,
    args: [...args, `${theirs.number}`],
    env: MONITOR_ENVIRONMENT,
    stdio: [silent, silent, process.env["MANYWORLDS_DEBUG"] === undefined ? silent : 2],
    keep: [theirs, kernel, kvm]
      .flatMap((fd) => (fd === undefined ? [] : [fd.number]))
      .concat(
        [...disks, ...nets, ...(snapshot === undefined ? [] : [snapshot])].map(({ fd }) => fd),
      ),
    readable,
    shared: mounts,
  });
  const monitorConfig: MonitorConfig = {
    cpu: config.cpu,
    cpus: config.cpus,
    memorySizeBytes: config.memorySizeBytes,
    commandLine: kernelCommandLine(config),
    ...(kernel === undefined ? {} : { kernelFd: kernel.number }),
    ...(kvm === undefined ? {} : { kvmFd: kvm.number }),
    disks,
    shares,
    nets,
    ...(snapshot === undefined
      ? {}
      : { snapshot: { kind: snapshot.kind, fd: snapshot.fd, key: snapshot.key.toString("hex") } }),
    fromSource,
  };
  return new ConfinedMachine({ pid, pidfd, socket: ours.release() }, monitorConfig, {
    onConsole: config.onConsole,
    onSaved: snapshot?.onSaved,
  });
}

/** Every share gets a place of its own in the monitor's root. */
function placeShares(all: readonly ConfinedShare[]): {
  readonly mounts: readonly SharedDirectory[];
  readonly shares: readonly MonitorShare[];
} {
  const placed = all.map((share, index) => ({ share, target: `/shared/${index}` }));
  return {
    mounts: placed.map(({ share: { source, readOnly }, target }) => ({ source, target, readOnly })),
    shares: placed.map(({ share: { source: _, ...share }, target }) => ({
      ...share,
      path: target,
    })),
  };
}

class DisposableList implements Disposable {
  readonly #all: Disposable[] = [];
  add<T extends Disposable>(one: T): T {
    this.#all.push(one);
    return one;
  }
  [Symbol.dispose](): void {
    for (const one of this.#all.splice(0)) one[Symbol.dispose]();
  }
}
