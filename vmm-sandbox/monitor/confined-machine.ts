/** The engine's end of a confined monitor: its machine as a sandbox sees one. */
import { type Fd, syscall } from "../../linux/index.ts";
import { BootError, KernelImageError } from "../boot/index.ts";
import type { HostPorts, PendingConnection } from "../guest/index.ts";
import type { Connection } from "../guest/remote-kernel.ts";
import { type CpuReport, parseCpuReport, type StopReason } from "../machine/index.ts";
import type { SandboxVm, StartedMachine } from "../sandbox.ts";
import { type SaveResult, SnapshotError } from "../snapshot/index.ts";
import { FIRST_PORT, vsockAddress } from "../vsock-ports.ts";
import { Bridge } from "./bridge.ts";
import { type MonitorConfig, parseObject } from "./config.ts";
import { decodeWord, FrameError, frameKinds, MAX_PAYLOAD_BYTES } from "./frames.ts";
import { openSocket } from "./socket.ts";

const AF_VSOCK = 40;
/** Of the guest's console, kept for messages. */
const TAIL_BYTES = 8 * 1024;
const [SIGKILL, SIGSYS] = [9, 31];
const CLD_KILLED = 2;

/** The machine could not be made; `name` is the error's in the monitor. */
export class MonitorError extends Error {
  override readonly name = "MonitorError";
}

export interface MonitorProcess {
  readonly pid: number;
  readonly pidfd: Fd;
  readonly socket: number;
}

export interface MonitorEvents {
  readonly onConsole?: ((bytes: Uint8Array) => void) | undefined;
  readonly onSaved?: ((result: SaveResult) => void) | undefined;
}

interface Settled<T> {
  readonly promise: Promise<T>;
  readonly resolve: (value: T) => void;
  readonly reject: (error: unknown) => void;
}

export class ConfinedMachine implements StartedMachine {
  readonly vm: SandboxVm;
  readonly host: HostPorts & { acceptAt(port: number): PendingConnection };
  readonly ended: Promise<StopReason>;
  readonly #bridge: Bridge;
  readonly #config: MonitorConfig;
  readonly #process: MonitorProcess;
  readonly #running = settle<void>();
  readonly #end = settle<StopReason>();
  readonly #waiting = new Map<number, (connection: Connection) => void>();
  readonly #onConsole: MonitorEvents["onConsole"];
  readonly #onSaved: MonitorEvents["onSaved"];
  #report = settle<string>();
  #counted = settle<CpuReport | undefined>();
  #tail = "";
  #nextPort = FIRST_PORT;
  #isReaped = false;

  constructor(
    monitor: MonitorProcess,
    config: MonitorConfig,
    { onConsole, onSaved }: MonitorEvents = {},
  ) {
    this.#process = monitor;
    this.#config = config;
    this.#onConsole = onConsole;
    this.#onSaved = onSaved;
    this.#bridge = new Bridge(openSocket(monitor.socket), (kind, id, payload) =>
      this.#take(kind, id, payload),
    );
    this.ended = this.#end.promise;
    this.#bridge.closed.then(() => this.#lose());
    this.#running.promise.catch(() => undefined); // reported by start
    this.#report.promise.catch(() => undefined); // reported to whoever asks
    this.#counted.promise.catch(() => undefined); // as above
    this.vm = this.#describe();
    this.host = {
      family: AF_VSOCK,
      address: vsockAddress,
      accept: () => this.#accept(this.#nextPort++),
      acceptAt: (port) => this.#accept(port),
    };
  }

  /** Resolves when the guest runs. Throws what making the machine threw in the monitor. */
  async start(initrd: Uint8Array): Promise<void> {
    for (let at = 0; at < initrd.length; at += MAX_PAYLOAD_BYTES)
      this.#bridge.send(frameKinds.initrd, 0, initrd.subarray(at, at + MAX_PAYLOAD_BYTES));
    this.#bridge.sendJson(frameKinds.start, this.#config);
    await this.#running.promise;
  }

  /** Hanging up ends the monitor; one that does not end is killed. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#bridge.close();
    await this.#bridge.closed;
    this.#reap();
  }

  #describe(): SandboxVm {
    const tail = () => this.#tail;
    return {
      machine: { stop: () => this.#bridge.send(frameKinds.stop) },
      get consoleTail() {
        return tail();
      },
      describeCrash: () => {
        this.#bridge.send(frameKinds.describe);
        return this.#report.promise;
      },
      stats: () => {
        this.#bridge.send(frameKinds.stats);
        return this.#counted.promise;
      },
    };
  }

  #accept(port: number): PendingConnection {
    this.#bridge.send(frameKinds.listen, port);
    const connection = new Promise<Connection>((resolve) => this.#waiting.set(port, resolve));
    return {
      port,
      connection,
      [Symbol.dispose]: () => {
        if (this.#waiting.delete(port)) this.#bridge.send(frameKinds.unlisten, port);
      },
    };
  }

  /** The monitor may have been taken over by its guest: nothing it says is believed unseen. */
  #take(kind: number, id: number, payload: Uint8Array): void {
    switch (kind) {
      case frameKinds.running:
        this.#running.resolve();
        return;
      case frameKinds.failed:
        this.#running.reject(readFailure(payload));
        return;
      case frameKinds.accepted: {
        const port = decodeWord(payload);
        const connection = this.#bridge.open(id);
        const claim = this.#waiting.get(port);
        this.#waiting.delete(port);
        // Nobody waits for it any more.
        if (claim === undefined) connection.readable.cancel().catch(() => undefined);
        else claim(connection);
        return;
      }
      case frameKinds.console:
        this.#tail = (this.#tail + Buffer.from(payload).toString("latin1")).slice(-TAIL_BYTES);
        this.#onConsole?.(payload);
        return;
      case frameKinds.ended:
        this.#end.resolve(readReason(payload));
        return;
      case frameKinds.saved:
        this.#onSaved?.(readSaveResult(payload));
        return;
      case frameKinds.report:
        this.#report.resolve(Buffer.from(payload).toString());
        return;
      case frameKinds.counted:
        this.#counted.resolve(readCounted(payload));
        this.#counted = settle();
        this.#counted.promise.catch(() => undefined); // of interest only when somebody asks
        return;
      default:
        throw new FrameError(`Expected a frame of a monitor, got kind ${kind}`);
    }
  }

  /** The monitor is gone: as the engine wished, or by itself. */
  #lose(): void {
    const why = this.#reap();
    this.#running.reject(new MonitorError(`The machine's monitor ended early: ${why}`));
    this.#report.reject(new MonitorError(`The machine's monitor cannot be asked: ${why}`));
    this.#counted.reject(new MonitorError(`The machine's monitor cannot be asked: ${why}`));
    this.#end.resolve({ kind: "crash", why: `its monitor ended: ${why}` });
  }

  /** Waits for the process, which has lost its socket; says how it ended. */
  #reap(): string {
    if (this.#isReaped) return "it was told to";
    this.#isReaped = true;
    const { pid, pidfd } = this.#process;
    const status = new Uint8Array(128);
    // It has nothing left to do but to give memory back; waiting for that is not worth a start.
    syscall("pidfd_send_signal", pidfd, SIGKILL, 0, 0);
    const P_PIDFD = 3;
    const WEXITED = 4;
    syscall("waitid", P_PIDFD, pidfd.number, status, WEXITED, 0);
    pidfd.close();
    const view = new DataView(status.buffer); // siginfo_t: si_code at 8, si_status at 24
    const [code, value] = [view.getInt32(8, true), view.getInt32(24, true)];
    if (code < CLD_KILLED) return `process ${pid} ended with ${value}`;
    if (value === SIGSYS) return "it made a system call that no monitor makes";
    const protocol = this.#bridge.failure?.message ?? "";
    return value === SIGKILL ? protocol : `process ${pid} was ended by signal ${value}`;
  }
}

/** The errors that callers know by their class keep it. */
function readFailure(payload: Uint8Array): Error {
  const { name, message, hint } = parseObject(payload);
  const text = typeof message === "string" ? message : "The machine could not be made";
  if (name === "KernelImageError") return new KernelImageError(text);
  if (name === "SnapshotError") return new SnapshotError(text);
  if (name === "BootError") return new BootError(text, typeof hint === "string" ? hint : undefined);
  return new MonitorError(text);
}

function readCounted(payload: Uint8Array): CpuReport | undefined {
  const value: unknown = JSON.parse(Buffer.from(payload).toString());
  return value === null ? undefined : parseCpuReport(value);
}

function readSaveResult(payload: Uint8Array): SaveResult {
  const { sizeBytes, failure } = parseObject(payload);
  if (typeof sizeBytes === "number" && Number.isSafeInteger(sizeBytes)) return { sizeBytes };
  return { failure: typeof failure === "string" ? failure : "its monitor does not say why" };
}

function readReason(payload: Uint8Array): StopReason {
  const { kind, why } = parseObject(payload);
  if (kind === "power-off" || kind === "reset" || kind === "stopped") return { kind };
  if (kind === "crash" && typeof why === "string") return { kind, why };
  throw new FrameError(`Expected a reason to stop, got ${JSON.stringify(kind)}`);
}

function settle<T>(): Settled<T> {
  let resolve: (value: T) => void = () => undefined;
  let reject: (error: unknown) => void = () => undefined;
  const promise = new Promise<T>((onValue, onError) => {
    resolve = onValue;
    reject = onError;
  });
  return { promise, resolve, reject };
}
