/**
 * A guest's kernel, driven from the host: programs run by the agent (agent-program.ts) instead of
 * in this process.
 */
import {
  type EncodedProgram,
  encodeProgram,
  type Program,
  type ProgramOutcome,
  readOutcome,
} from "../../linux/index.ts";
import { ByteQueue } from "./byte-queue.ts";
import { ARENA_ADDRESS, ARENA_BYTES, message, messageKinds } from "./protocol.ts";

/** Both directions of a stream connection. */
export interface Connection {
  readonly readable: ReadableStream<Uint8Array>;
  readonly writable: WritableStream<Uint8Array>;
}

/** The guest said something that its agent never says, or is gone. */
export class GuestError extends Error {
  override readonly name = "GuestError";
}

export interface RemoteProcess {
  /** As the guest's PID 1 sees it. */
  readonly pid: number;
  /** Status as wait(2) has it. */
  readonly exited: Promise<number>;
}

interface Message {
  readonly kind: number;
  readonly value: number;
  readonly status: number;
  readonly block: Uint8Array;
}

/** Exits that came before anybody asked for them; processes that nobody asks for are forgotten. */
const maxUnclaimedExits = 1024;

export class RemoteKernel {
  readonly #writer: WritableStreamDefaultWriter<Uint8Array>;
  readonly #bytes: ByteQueue;
  /** The request under way: the guest answers before it takes another. */
  #turn: Promise<unknown> = Promise.resolve();
  #answer: ((message: Message) => void) | undefined;
  #fail: ((error: Error) => void) | undefined;
  readonly #exits = new Map<number, number>();
  readonly #waiting = new Map<number, (status: number) => void>();
  #gone: GuestError | undefined;
  /** Settles when the connection ends. */
  readonly closed: Promise<void>;

  private constructor(connection: Connection) {
    this.#writer = connection.writable.getWriter();
    this.#bytes = new ByteQueue(connection.readable);
    this.closed = this.#listen();
  }

  /** Waits for the agent's first word. */
  static async open(connection: Connection): Promise<RemoteKernel> {
    const kernel = new RemoteKernel(connection);
    const { kind } = await kernel.#nextAnswer();
    if (kind !== messageKinds.ready)
      throw new GuestError(`Expected the agent's "ready", got message kind ${kind}`);
    return kernel;
  }

  /** Runs a program in PID 1 of the guest; it must not wait for anything slow. */
  async run(program: Program): Promise<ProgramOutcome> {
    const encoded = encodeProgram(program);
    const { kind, value, block } = await this.#request(messageKinds.run, encoded);
    if (kind !== messageKinds.done || block.length !== encoded.sizeBytes)
      throw new GuestError(`Expected the program's block back, got message kind ${kind}`);
    return readOutcome(program, encoded, block, value);
  }

  /** Forks in the guest and runs the program there; its value is the exit code. */
  async spawn(program: Program): Promise<RemoteProcess> {
    const { kind, value: pid } = await this.#request(messageKinds.spawn, encodeProgram(program));
    if (kind !== messageKinds.spawned)
      throw new GuestError(`Expected the new process, got message kind ${kind}`);
    if (pid < 0) throw new GuestError(`Cannot fork in the guest: errno ${-pid}`);
    return { pid, exited: this.exitOf(pid) };
  }

  /** Status with which a process that PID 1 reaps ends, or ended. */
  exitOf(pid: number): Promise<number> {
    const known = this.#exits.get(pid);
    if (known !== undefined) {
      this.#exits.delete(pid);
      return Promise.resolve(known);
    }
    if (this.#gone !== undefined) return Promise.reject(this.#gone);
    return new Promise((resolve, reject) => {
      this.#waiting.set(pid, resolve);
      this.closed.then(() => reject(this.#gone), reject);
    });
  }

  /** Ends the connection; the agent then dials the same port again, and is another RemoteKernel's. */
  async redial(): Promise<void> {
    await this.#turn;
    await this.#writer.write(message.encode({ kind: messageKinds.redial }));
    await this.closed;
    await this.#writer.close().catch(() => undefined); // the agent has hung up
  }

  /** Ends the connection; the agent then ends its machine. */
  async close(): Promise<void> {
    await this.#writer.close().catch(() => undefined); // it may be gone already
    await this.closed;
  }

  #request(kind: number, encoded: EncodedProgram): Promise<Message> {
    const result = this.#turn.then(() => this.#send(kind, encoded));
    this.#turn = result.catch(() => undefined);
    return result;
  }

  async #send(kind: number, encoded: EncodedProgram): Promise<Message> {
    if (this.#gone !== undefined) throw this.#gone;
    if (encoded.sizeBytes > ARENA_BYTES)
      throw new RangeError(`A guest's program takes at most ${ARENA_BYTES} bytes`);
    const block = new Uint8Array(message.sizeBytes + encoded.sizeBytes);
    const { storedBytes: size, sizeBytes } = encoded;
    block.set(message.encode({ kind, size, value: BigInt(sizeBytes) }));
    encoded.write(block.subarray(message.sizeBytes), ARENA_ADDRESS);
    const bytes = block.subarray(0, message.sizeBytes + size);
    const answer = this.#nextAnswer();
    answer.catch(() => undefined); // reported below, also when writing fails first
    // A guest that is gone is noticed by the reading side, which says so.
    await this.#writer.write(bytes).catch(() => undefined);
    return answer;
  }

  #nextAnswer(): Promise<Message> {
    return new Promise((resolve, reject) => {
      this.#answer = resolve;
      this.#fail = reject;
    });
  }

  async #listen(): Promise<void> {
    try {
      for (;;) this.#take(await this.#receive());
    } catch (error) {
      this.#gone =
        error instanceof GuestError
          ? error
          : new GuestError("The connection to the guest's agent broke", { cause: error });
      this.#fail?.(this.#gone);
    }
  }

  async #receive(): Promise<Message> {
    const header = message.decode(await this.#bytes.take(message.sizeBytes));
    if (header.size > ARENA_BYTES)
      throw new GuestError(`The guest announced ${header.size} bytes, at most ${ARENA_BYTES} fit`);
    const block = await this.#bytes.take(header.size);
    const { kind } = header;
    return { kind, value: Number(header.value), status: Number(header.status), block };
  }

  #take(received: Message): void {
    if (received.kind !== messageKinds.exited) {
      if (this.#answer === undefined)
        throw new GuestError(`The guest sent message kind ${received.kind} without being asked`);
      this.#answer(received);
      this.#answer = undefined;
      return;
    }
    const { value: pid, status } = received;
    const claim = this.#waiting.get(pid);
    this.#waiting.delete(pid);
    if (claim !== undefined) claim(status);
    else this.#remember(pid, status);
  }

  #remember(pid: number, status: number): void {
    this.#exits.set(pid, status);
    const [oldest] = this.#exits.keys();
    if (this.#exits.size > maxUnclaimedExits && oldest !== undefined) this.#exits.delete(oldest);
  }
}
