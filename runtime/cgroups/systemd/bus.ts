/**
 * A connection to systemd: straight to its private socket, or through a message bus.
 * D-Bus specification 0.42, "Authentication Protocol" and "Message Bus".
 */
import {
  call,
  type Fd,
  MSG_DONTWAIT,
  MSG_NOSIGNAL,
  POLLIN,
  pollfd,
  syscall,
} from "../../../linux/index.ts";
import { connectTo } from "../../sockets.ts";
import {
  decodeMessage,
  encodeMessage,
  fixedSizeBytes,
  type Message,
  messageSize,
} from "./message.ts";
import { ProtocolError, type Value } from "./values.ts";

/** An error that the other side answered with; `errorName` is D-Bus's, for callers to compare. */
export class BusError extends Error {
  override readonly name = "BusError";
  readonly errorName: string;
  constructor(errorName: string, text: string) {
    super(text === "" ? errorName : text);
    this.errorName = errorName;
  }
}

export interface BusAddress {
  readonly path: string;
  /** A message bus wants to be greeted and knows systemd by name; systemd's own socket does not. */
  readonly isBus: boolean;
}

export interface MethodCall {
  readonly path: string;
  readonly interface: string;
  readonly member: string;
  readonly signature?: string;
  readonly body?: readonly Value[];
}

const systemd = "org.freedesktop.systemd1";
const patienceMs = 30_000;
const lineLimit = 1024;
const signalsLimit = 1000;
const readSize = 64 * 1024;
const EINTR = -4;

export class Bus implements Disposable {
  readonly #socket: Fd;
  readonly #destination: string | undefined;
  readonly #signals: Message[] = [];
  #received = new Uint8Array(0);
  #serial = 0;

  private constructor(socket: Fd, isBus: boolean) {
    this.#socket = socket;
    this.#destination = isBus ? systemd : undefined;
  }

  /** Throws SyscallError when nobody listens there. */
  static connect({ path, isBus }: BusAddress): Bus {
    const bus = new Bus(connectTo(path), isBus);
    try {
      bus.#authenticate();
      if (isBus) bus.#greet();
      return bus;
    } catch (error) {
      bus.#socket.close();
      throw error;
    }
  }

  [Symbol.dispose](): void {
    this.#socket.close();
  }

  /** Calls a method of systemd's and returns what it answers; throws BusError. */
  call(method: MethodCall): readonly Value[] {
    return this.#call(method, this.#destination);
  }

  /** The first signal, of those that came or will come, that `isWanted`. */
  awaitSignal(isWanted: (signal: Message) => boolean): Message {
    const until = Date.now() + patienceMs;
    for (;;) {
      const found = this.#signals.find(isWanted);
      if (found !== undefined) return found;
      this.#receive(until);
    }
  }

  /** EXTERNAL without a name: the kernel says who we are, also from a user namespace. */
  #authenticate(): void {
    this.#send(new TextEncoder().encode("\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n"));
    const until = Date.now() + patienceMs;
    for (;;) {
      const line = this.#readLine(until);
      if (line.startsWith("OK ")) return;
      if (!line.startsWith("DATA"))
        throw new ProtocolError(`D-Bus does not let us in: "${line}", expected "OK"`);
    }
  }

  #greet(): void {
    const bus = "org.freedesktop.DBus";
    const own = { path: "/org/freedesktop/DBus", interface: bus };
    this.#call({ ...own, member: "Hello" }, bus);
    const rule = `type='signal',sender='${systemd}',member='JobRemoved'`;
    this.#call({ ...own, member: "AddMatch", signature: "s", body: [rule] }, bus);
    const manager = { path: "/org/freedesktop/systemd1", interface: `${systemd}.Manager` };
    this.#call({ ...manager, member: "Subscribe" }, systemd);
  }

  #call({ signature = "", body = [], ...method }: MethodCall, destination?: string) {
    this.#serial += 1;
    const serial = this.#serial;
    const to = destination === undefined ? {} : { destination };
    this.#send(encodeMessage({ type: "call", serial, ...method, ...to, signature, body }));
    const until = Date.now() + patienceMs;
    for (;;) {
      const message = this.#receive(until);
      if (message.replySerial !== serial) continue;
      if (message.type === "return") return message.body;
      const [text] = message.body;
      if (message.type === "error")
        throw new BusError(message.errorName ?? "", typeof text === "string" ? text : "");
    }
  }

  /** The next message; signals are kept for awaitSignal(). */
  #receive(until: number): Message {
    this.#fill(fixedSizeBytes, until);
    const size = messageSize(this.#received);
    this.#fill(size, until);
    const message = decodeMessage(this.#received.slice(0, size));
    this.#received = this.#received.slice(size);
    if (message.type === "signal" && message.member !== undefined) {
      if (this.#signals.length >= signalsLimit) this.#signals.shift();
      this.#signals.push(message);
    }
    return message;
  }

  #readLine(until: number): string {
    for (;;) {
      const end = this.#received.indexOf("\n".charCodeAt(0));
      if (end >= 0) {
        const line = new TextDecoder().decode(this.#received.subarray(0, end));
        this.#received = this.#received.slice(end + 1);
        return line.trimEnd();
      }
      if (this.#received.length > lineLimit)
        throw new ProtocolError(`D-Bus sent a line of more than ${lineLimit} bytes`);
      this.#fill(this.#received.length + 1, until);
    }
  }

  /** Until at least `size` bytes are there. */
  #fill(size: number, until: number): void {
    while (this.#received.length < size) {
      this.#wait(until);
      const more = new Uint8Array(readSize);
      const count = call("recvfrom", this.#socket, more, more.length, MSG_DONTWAIT, 0, 0);
      if (count === 0) throw new ProtocolError("D-Bus hung up: expected an answer");
      const joined = new Uint8Array(this.#received.length + count);
      joined.set(this.#received);
      joined.set(more.subarray(0, count), this.#received.length);
      this.#received = joined;
    }
  }

  #wait(until: number): void {
    const set = pollfd.encode({ fd: this.#socket.number, events: POLLIN, revents: 0 });
    for (;;) {
      const leftMs = until - Date.now();
      const ready = leftMs <= 0 ? 0 : syscall("poll", set, 1, leftMs);
      if (ready > 0) return;
      if (ready === 0) throw new ProtocolError(`D-Bus did not answer in ${patienceMs} ms`);
      if (ready !== EINTR) call("poll", set, 1, leftMs);
    }
  }

  #send(bytes: Uint8Array): void {
    for (let rest = bytes; rest.length > 0; ) {
      const sent = call("sendto", this.#socket, rest, rest.length, MSG_NOSIGNAL, 0, 0);
      rest = rest.subarray(sent);
    }
  }
}
