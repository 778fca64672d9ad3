/**
 * A confined monitor: one machine, its devices, and a bridge to the engine that started it. It knows
 * no image, no container and no agent; the engine speaks with those through the guest's connections.
 */
import { Fd } from "../../linux/index.ts";
import { BootError } from "../boot/index.ts";
import { sealMonitor } from "../confine/index.ts";
import { Net, VirtioFs, Vsock, type VsockConnection } from "../devices/index.ts";
import { mapWholeFile } from "../host/file-mapping.ts";
import { Passt } from "../host/passt.ts";
import { Tap } from "../host/tap.ts";
import { KvmBackend, kvmRequests } from "../kvm/index.ts";
import type { CpuBackend, CpuReport } from "../machine/index.ts";
import {
  loadSnapshot,
  restoreMachine,
  runWithSnapshot,
  type SavedCode,
  type SnapshotUse,
} from "../snapshot/index.ts";
import { Vm, type VmParts } from "../vm.ts";
import { CONTROL_PORT } from "../vsock-ports.ts";
import { Bridge } from "./bridge.ts";
import type { MonitorConfig, MonitorNet } from "./config.ts";
import { encodeWord, frameKinds } from "./frames.ts";
import { openSocket } from "./socket.ts";

/** A first root is smaller; the engine is trusted, but a mistake should say so. */
const MAX_INITRD_BYTES = 512 * 2 ** 20;
/** Console output that the engine has not taken yet; more is dropped, as a slow terminal would. */
const MAX_CONSOLE_BYTES = 2 ** 20;

/** Runs until the engine hangs up. */
export async function runMonitor(fd: number): Promise<void> {
  const monitor = new Monitor(fd);
  await monitor.closed;
  await monitor.end();
}

class Monitor {
  readonly closed: Promise<void>;
  readonly #bridge: Bridge;
  readonly #vsock = new Vsock();
  readonly #listeners = new Map<number, Disposable>();
  readonly #initrd: Uint8Array[] = [];
  #vm: Vm | undefined = undefined;
  #ended: Promise<unknown> = Promise.resolve();
  #nextId = 1;

  constructor(fd: number) {
    const socket = openSocket(fd);
    this.#bridge = new Bridge(socket, (kind, id, payload) => this.#take(kind, id, payload));
    this.closed = this.#bridge.closed;
  }

  async end(): Promise<void> {
    this.#vm?.machine.stop({ kind: "stopped" });
    await this.#ended;
    await this.#vm?.[Symbol.asyncDispose]();
  }

  #take(kind: number, id: number, payload: Uint8Array): void {
    switch (kind) {
      case frameKinds.initrd:
        this.#initrd.push(payload);
        return;
      case frameKinds.start:
        // SAFE: the engine, which started us, wrote it.
        this.#run(JSON.parse(Buffer.from(payload).toString()) as MonitorConfig).catch((error) =>
          this.#fail(error),
        );
        return;
      case frameKinds.listen:
        this.#listen(id);
        return;
      case frameKinds.unlisten:
        this.#listeners.get(id)?.[Symbol.dispose]();
        return;
      case frameKinds.stop:
        this.#vm?.machine.stop({ kind: "stopped" });
        return;
      case frameKinds.describe:
        this.#describe().then((text) => this.#bridge.send(frameKinds.report, 0, Buffer.from(text)));
        return;
      case frameKinds.stats:
        this.#stats().then((report) => this.#bridge.sendJson(frameKinds.counted, report));
        return;
    }
  }

  async #run(config: MonitorConfig): Promise<void> {
    const shares = config.shares.map(({ tag, ...share }) => new VirtioFs(tag, share));
    using snapshot = openSnapshot(config);
    const { memorySizeBytes } = config;
    const saved =
      snapshot?.kind === "restore" ? loadSnapshot(snapshot, memorySizeBytes) : undefined;
    const parts: VmParts = {
      backend: await openBackend(config, saved?.code),
      disks: config.disks.map(({ fd, readOnly }) => ({ path: fd, readOnly })),
      disksLater: snapshot !== undefined,
      devices: [this.#vsock, ...shares, ...config.nets.map(openNet)],
      onConsole: (bytes) => this.#console(bytes),
    };
    const vm =
      saved !== undefined ? await restoreMachine(parts, saved) : await this.#boot(config, parts);
    this.#vm = vm;
    sealMonitor({
      files: config.fromSource || shares.length > 0,
      ioctls: config.cpu === "kvm" ? kvmRequests : [],
    });
    this.#bridge.send(frameKinds.running);
    const running = runWithSnapshot(vm, this.#vsock, {
      use: snapshot,
      port: CONTROL_PORT,
      onSaved: (result) => {
        // Nobody can change it once the guest runs a user's programs.
        snapshot?.[Symbol.dispose]();
        this.#bridge.sendJson(frameKinds.saved, result);
      },
    });
    this.#ended = running;
    this.#bridge.sendJson(frameKinds.ended, await running);
  }

  async #boot({ kernelFd, commandLine }: MonitorConfig, parts: VmParts): Promise<Vm> {
    if (kernelFd === undefined) throw new BootError("There is no kernel to boot");
    using kernel = mapWholeFile(kernelFd);
    return await Vm.create({
      ...parts,
      kernel: kernel.bytes,
      initrd: joinInitrd(this.#initrd.splice(0)),
      commandLine,
    });
  }

  #fail(error: unknown): void {
    const { name, message, hint } = error as Partial<Error & { hint: string }>;
    this.#bridge.sendJson(frameKinds.failed, { name, message: message ?? String(error), hint });
  }

  #listen(port: number): void {
    const listening = this.#vsock.listen(port, (connection) => {
      listening[Symbol.dispose]();
      this.#accept(port, connection);
    });
    const dispose = () => {
      listening[Symbol.dispose]();
      this.#listeners.delete(port);
    };
    this.#listeners.set(port, { [Symbol.dispose]: dispose });
  }

  #accept(port: number, connection: VsockConnection): void {
    const id = this.#nextId++;
    this.#listeners.delete(port);
    this.#bridge.send(frameKinds.accepted, id, encodeWord(port));
    const bridged = this.#bridge.open(id);
    // What ends on one side ends on the other, in each direction by itself.
    connection.readable.pipeTo(bridged.writable).catch(() => undefined);
    bridged.readable.pipeTo(connection.writable).catch(() => undefined);
  }

  #console(bytes: Uint8Array): void {
    if (this.#bridge.waitingBytes < MAX_CONSOLE_BYTES)
      this.#bridge.send(frameKinds.console, 0, bytes);
  }

  async #describe(): Promise<string> {
    try {
      return (await this.#vm?.describeCrash()) ?? "There is no machine";
    } catch (error) {
      return `The crash cannot be described: ${error}`;
    }
  }

  async #stats(): Promise<CpuReport | null> {
    try {
      return (await this.#vm?.stats()) ?? null;
    } catch {
      return null; // the vCPU's thread is gone
    }
  }
}

/** The file stays open while it is read or written, and is closed before the guest goes on. */
function openSnapshot({ snapshot }: MonitorConfig): (SnapshotUse & Disposable) | undefined {
  if (snapshot === undefined) return undefined;
  const { kind, key } = snapshot;
  const file = Fd.take(snapshot.fd);
  const fd = file.number;
  return { kind, fd, file, key: Buffer.from(key, "hex"), [Symbol.dispose]: () => file.close() };
}

async function openBackend(
  { cpu, cpus, memorySizeBytes, kvmFd }: MonitorConfig,
  code: SavedCode | undefined,
): Promise<CpuBackend> {
  if (cpu === "kvm")
    return new KvmBackend({
      memorySizeBytes,
      cpus,
      ...(kvmFd === undefined ? {} : { path: kvmFd }),
    });
  // Half of our code, and none of a machine's on KVM.
  const { SoftwareBackend } = await import("../translator/index.ts");
  return new SoftwareBackend({ memorySizeBytes, code });
}

function openNet({ kind, fd, mac, mtu }: MonitorNet): Net {
  const backend =
    kind === "tap" ? new Tap({ fd: Fd.take(fd), name: "tap" }) : Passt.over(openSocket(fd));
  return new Net(backend, { mac: Uint8Array.from(mac), ...(mtu !== undefined && { mtu }) });
}

function joinInitrd(parts: readonly Uint8Array[]): Uint8Array {
  const size = parts.reduce((sum, { length }) => sum + length, 0);
  if (size > MAX_INITRD_BYTES)
    throw new RangeError(
      `Cannot boot with a first root of ${size} bytes: expected ${MAX_INITRD_BYTES} at most`,
    );
  return Buffer.concat(parts);
}
