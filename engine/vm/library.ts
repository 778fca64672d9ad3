/** A container in a virtual machine, for programs: the library's `run` with `isolation: "vm"`. */
import { constants } from "node:os";
import { killOnAbort, numberOfSignal } from "../kill-on-abort.ts";
import type { RunningContainer, RunningMachine, RunRequest } from "../library.ts";
import type { VmContainer } from "./container.ts";
import { serveMonitor } from "./monitor-socket.ts";
import { startVmContainer } from "./start.ts";

export async function runInMachine(request: RunRequest): Promise<RunningContainer> {
  const { signal } = request;
  signal?.throwIfAborted();
  const container = await startVmContainer({
    ...request,
    container: request,
    remove: request.keep !== true,
  });
  return new RunningInMachine(container, request);
}

class RunningInMachine implements RunningContainer {
  readonly stdin: WritableStream<Uint8Array> | undefined;
  readonly stdout: ReadableStream<Uint8Array>;
  readonly stderr: ReadableStream<Uint8Array>;
  readonly vm: RunningMachine;
  readonly #container: VmContainer;
  readonly #end: Promise<number>;

  constructor(container: VmContainer, request: RunRequest) {
    this.#container = container;
    container.keepsStats = true;
    const { cpu = "software", reason = "" } = container.record.machine ?? {};
    this.vm = { cpu, reason, stats: () => container.stats() };
    const { stdin, stdout, stderr } = container.process;
    if (request.interactive === true) this.stdin = stdin;
    else stdin.close().catch(() => undefined); // it may have ended already
    const outputs = [tap(stdout), tap(stderr ?? empty())] as const;
    const inherits = request.output === "inherit";
    this.stdout = inherits ? empty() : outputs[0].stream;
    this.stderr = inherits ? empty() : outputs[1].stream;
    if (inherits) {
      copy(outputs[0].stream, process.stdout);
      copy(outputs[1].stream, process.stderr);
    }
    const server = serveMonitor(container);
    this.#end = this.#awaitEnd(
      outputs.map(({ ended }) => ended),
      server,
    );
    this.#end.catch(() => undefined); // whoever waits hears of it
    killOnAbort(request.signal, () => this.kill("SIGKILL"), this.#end);
  }

  get id(): string {
    return this.#container.record.id;
  }

  get name(): string {
    return this.#container.record.name;
  }

  wait(): Promise<number> {
    return this.#end;
  }

  kill(signal: NodeJS.Signals = "SIGTERM"): void {
    const number = numberOfSignal(signal);
    this.#container.kill(number).catch(() => undefined); // it has ended
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#container.kill(constants.signals.SIGKILL);
    await this.#end.catch(() => undefined); // disposing of what failed is no failure
  }

  /** The machine ends when its process has and what it wrote is here, or nobody can read it. */
  async #awaitEnd(outputs: readonly Promise<void>[], server: Disposable): Promise<number> {
    try {
      await this.#container.status;
      await Promise.race([Promise.all(outputs), this.#container.machine.sandbox.ended]);
    } finally {
      server[Symbol.dispose]();
      await this.#container.finish();
    }
    return await this.#container.status;
  }
}

/** What a machine's end may leave unread is little: at most this much is kept for the reader. */
const KEPT_BYTES = 4 * 1024 * 1024;

/** Reads on behalf of the consumer, so that the process can end before anybody reads. */
function tap(from: ReadableStream<Uint8Array>): {
  readonly stream: ReadableStream<Uint8Array>;
  readonly ended: Promise<void>;
} {
  let settle: () => void = () => undefined;
  const ended = new Promise<void>((resolve) => {
    settle = resolve;
  });
  const stream = from.pipeThrough(
    new TransformStream<Uint8Array, Uint8Array>(
      { flush: () => settle() },
      new ByteLengthQueuingStrategy({ highWaterMark: KEPT_BYTES }),
      new ByteLengthQueuingStrategy({ highWaterMark: KEPT_BYTES }),
    ),
  );
  return { stream, ended };
}

function empty(): ReadableStream<Uint8Array> {
  return new ReadableStream({ start: (controller) => controller.close() });
}

async function copy(from: ReadableStream<Uint8Array>, to: NodeJS.WriteStream): Promise<void> {
  for await (const bytes of from) to.write(bytes);
}
