/** The monitor's door: others run processes in its container, or end it. */
import { chmodSync, mkdirSync, rmSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { dirname } from "node:path";
import type { Process } from "../../oci/index.ts";
import {
  type ExecRequest,
  encodeFrame,
  encodeJsonFrame,
  type Failure,
  frameKinds,
  type LimitRequest,
  type MachineRequest,
  type ProcessRequest,
} from "../../runtime/index.ts";
import type { GuestProcess } from "../../vmm-sandbox/index.ts";
import type { VmContainer } from "./container.ts";
import { shellStatus } from "./first-process.ts";
import { FrameReader } from "./monitor-frames.ts";

const OWNER_ONLY = 0o700;
const SIGKILL = 9;

/** What others may ask of a machine. */
export interface MachineDoor {
  exec(request: ExecRequest | ProcessRequest): Promise<GuestProcess>;
  kill(signal: number): Promise<void>;
  limit(request: LimitRequest): Promise<void>;
}

/** The door of a container that the engine made. */
export function serveMonitor(container: VmContainer): Disposable {
  return serveMachine(container.record.machine?.socket ?? "", {
    kill: (signal) => container.kill(signal),
    exec: (request) =>
      request.kind === "exec"
        ? container.exec(toProcess(request), request.user)
        : container.exec({ ...request.process, args: request.process.args ?? [] }),
    limit: () => Promise.reject(new RangeError("Cannot change the limits of this container")),
  });
}

export function serveMachine(path: string, door: MachineDoor): Disposable {
  mkdirSync(dirname(path), { recursive: true, mode: OWNER_ONLY });
  rmSync(path, { force: true });
  const clients = new Set<Socket>();
  const server: Server = createServer({ allowHalfOpen: true }, (socket) => {
    clients.add(socket);
    socket.once("close", () => clients.delete(socket));
    socket.on("error", () => socket.destroy()); // it is the client's loss
    new Client(door, socket);
  });
  // A path too long for a socket is no reason to end a container that runs.
  server.on("error", () => undefined);
  server.listen(path, () => chmodSync(path, 0o600));
  server.unref();
  return {
    [Symbol.dispose]() {
      server.close();
      for (const client of clients) client.destroy();
      rmSync(path, { force: true });
    },
  };
}

class Client {
  readonly #door: MachineDoor;
  readonly #socket: Socket;
  #guest: GuestProcess | undefined;
  #isGone = false;
  #hasEnded = false;
  /** Input comes before the process is there to take it. */
  #input: Promise<WritableStreamDefaultWriter<Uint8Array> | undefined>;
  #openInput: (writer: WritableStreamDefaultWriter<Uint8Array> | undefined) => void = () =>
    undefined;

  constructor(door: MachineDoor, socket: Socket) {
    this.#door = door;
    this.#socket = socket;
    this.#input = new Promise((resolve) => {
      this.#openInput = resolve;
    });
    const frames = new FrameReader((kind, payload) => this.#take(kind, payload));
    socket.on("data", (bytes: Buffer) => {
      try {
        frames.push(bytes);
      } catch (error) {
        this.#fail(error);
      }
    });
    // A client has a frame for the end of its input: this is its own.
    for (const event of ["end", "close"]) socket.once(event, () => this.#abandon());
  }

  /** Whoever stood for the process was killed: so is the process. */
  #abandon(): void {
    this.#isGone = true;
    this.#endInput();
    if (!this.#hasEnded) this.#guest?.kill(SIGKILL).catch(() => undefined); // it has ended
  }

  #take(kind: number, payload: Buffer): void {
    const json = () => JSON.parse(payload.toString()) as unknown;
    switch (kind) {
      case frameKinds.request:
        // SAFE: only our own user may connect; fields that are missing fail in the guest
        this.#serve(json() as MachineRequest).catch((error: unknown) => this.#fail(error));
        return;
      case frameKinds.input:
        this.#write(Uint8Array.from(payload));
        return;
      case frameKinds.inputEnd:
        this.#endInput();
        return;
      case frameKinds.resize: {
        const { width, height } = json() as { width: number; height: number };
        this.#guest?.resize(width, height).catch(() => undefined); // it has ended
        return;
      }
      case frameKinds.signal:
        this.#guest?.kill((json() as { signal: number }).signal).catch(() => undefined);
        return;
      default:
        throw new RangeError(`Expected a frame that a client sends, got kind ${kind}`);
    }
  }

  async #serve(request: MachineRequest): Promise<void> {
    if (request.kind === "kill" || request.kind === "limit") {
      if (request.kind === "kill") await this.#door.kill(request.signal);
      else await this.#door.limit(request);
      this.#socket.end(encodeJsonFrame(frameKinds.exited, { status: 0 }));
      return;
    }
    const guest = await this.#door.exec(request);
    this.#guest = guest;
    if (this.#isGone) this.#abandon();
    this.#openInput(guest.stdin.getWriter());
    if (request.kind === "exec" && !request.interactive && !request.tty) this.#endInput();
    this.#socket.write(encodeFrame(frameKinds.started));
    const outputs = [this.#pump(guest.stdout, frameKinds.output)];
    if (guest.stderr !== undefined) outputs.push(this.#pump(guest.stderr, frameKinds.errors));
    const [status] = await Promise.all([guest.exited, ...outputs]);
    this.#hasEnded = true;
    this.#socket.end(encodeJsonFrame(frameKinds.exited, { status: shellStatus(status) }));
  }

  /** One after the other; the client is held back while the process does not read. */
  #write(bytes: Uint8Array): void {
    this.#socket.pause();
    const ignore = (): void => undefined; // it reads no more, or has ended
    this.#input = this.#input.then(async (writer) => {
      await writer?.write(bytes).catch(ignore);
      this.#socket.resume();
      return writer;
    });
  }

  #endInput(): void {
    this.#input = this.#input.then(async (writer) => {
      await writer?.close().catch(() => undefined); // it may have ended
      return undefined;
    });
  }

  async #pump(from: ReadableStream<Uint8Array>, kind: number): Promise<void> {
    for await (const bytes of from) {
      if (this.#socket.destroyed) continue; // the process must not wait for a client that left
      if (this.#socket.write(encodeFrame(kind, bytes))) continue;
      await new Promise<void>((resolve) => {
        this.#socket.once("drain", resolve);
        this.#socket.once("close", resolve);
      });
    }
  }

  #fail(error: unknown): void {
    this.#openInput(undefined);
    this.#socket.end(encodeJsonFrame(frameKinds.failed, describeFailure(error)));
  }
}

function toProcess(request: ExecRequest): Partial<Process> & { readonly args: readonly string[] } {
  const { args, env, cwd, tty, size } = request;
  return {
    args,
    terminal: tty,
    ...(env.length > 0 && { env }),
    ...(cwd !== undefined && { cwd }),
    ...(size !== undefined && { consoleSize: size }),
  };
}

export function describeFailure(error: unknown): Failure {
  const causes: string[] = [];
  let cause = error instanceof Error ? error.cause : undefined;
  for (; cause instanceof Error && causes.length < 10; cause = cause.cause)
    causes.push(cause.message);
  const status = error instanceof Error && "status" in error ? Number(error.status) : 125;
  return { message: error instanceof Error ? error.message : String(error), causes, status };
}
