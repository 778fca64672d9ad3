/**
 * One vsock stream, host side: two web streams over credit-based flow control.
 *
 * Credit (VIRTIO 1.2 §5.10.6.3): each side says how large its buffer is and how many bytes its
 * reader has consumed in all; the other may have at most `bufAlloc` bytes under way. What the
 * guest sends beyond ours ends the connection.
 */
import { NO_MORE_RECEIVING, NO_MORE_SENDING, operations } from "./vsock-packet.ts";

/** Receive buffer that we grant to each connection. */
export const BUFFER_BYTES = 256 * 1024;

/** The guest ended a connection in the middle, or is gone. */
export class VsockError extends Error {
  override readonly name = "VsockError";
}

/** What a connection asks of the device. */
export interface ConnectionPort {
  /** Sends a packet without data soon. */
  control(connection: VsockConnection, operation: number, flags?: number): void;
  /** There are bytes to send. */
  ready(): void;
  /** Both sides are done: forget it. */
  forget(connection: VsockConnection): void;
}

interface Outgoing {
  readonly bytes: Uint8Array;
  readonly done: () => void;
}

export class VsockConnection {
  readonly hostPort: number;
  readonly guestPort: number;
  readonly readable: ReadableStream<Uint8Array>;
  readonly writable: WritableStream<Uint8Array>;
  readonly #port: ConnectionPort;
  readonly #outgoing: Outgoing[] = [];
  readonly #received: Uint8Array[] = [];
  #receivedBytes = 0;
  /** Totals modulo 2^32, as in the packets. */
  #sent = 0;
  #consumed = 0;
  #announced = 0;
  #peerAlloc = 0;
  #peerConsumed = 0;
  #peerSends = true;
  #peerReceives = true;
  #wake: (() => void) | undefined = undefined;
  #broken: VsockError | undefined = undefined;
  #readController: ReadableStreamDefaultController<Uint8Array> | undefined = undefined;
  #writeController: WritableStreamDefaultController | undefined = undefined;

  constructor(hostPort: number, guestPort: number, port: ConnectionPort) {
    this.hostPort = hostPort;
    this.guestPort = guestPort;
    this.#port = port;
    this.readable = this.#openReadable();
    this.writable = this.#openWritable();
  }

  /** How many bytes the reader consumed: goes into every packet. */
  get fwdCnt(): number {
    this.#announced = this.#consumed;
    return this.#consumed;
  }

  updateCredit(bufAlloc: number, fwdCnt: number): void {
    this.#peerAlloc = bufAlloc;
    this.#peerConsumed = fwdCnt;
    if (this.#outgoing.length > 0) this.#port.ready();
  }

  /** Bytes that may be sent now. */
  sendable(): number {
    const first = this.#outgoing[0];
    if (first === undefined) return 0;
    const underWay = (this.#sent - this.#peerConsumed) >>> 0;
    // A peer that shrinks its buffer or counts nonsense gets nothing more.
    return Math.max(0, Math.min(first.bytes.length, this.#peerAlloc - underWay));
  }

  /** Takes up to `limit` sendable bytes off the queue. */
  take(limit: number): Uint8Array {
    const count = Math.min(limit, this.sendable());
    const first = this.#outgoing[0];
    if (first === undefined || count === 0) return new Uint8Array(0);
    const bytes = first.bytes.subarray(0, count);
    this.#sent = (this.#sent + count) >>> 0;
    if (count < first.bytes.length) {
      this.#outgoing[0] = { ...first, bytes: first.bytes.subarray(count) };
      return bytes;
    }
    this.#outgoing.shift();
    first.done();
    return bytes;
  }

  /** Bytes from the guest. False: more than we granted. */
  receive(bytes: Uint8Array): boolean {
    if (!this.#peerSends) return false;
    this.#receivedBytes += bytes.length;
    if (this.#receivedBytes > BUFFER_BYTES) return false;
    if (bytes.length > 0) this.#received.push(bytes);
    this.#wake?.();
    return true;
  }

  /** The guest's SHUTDOWN. True when it is done with both directions. */
  shutDown(flags: number): boolean {
    if ((flags & NO_MORE_SENDING) !== 0) {
      this.#peerSends = false;
      this.#wake?.();
    }
    if ((flags & NO_MORE_RECEIVING) !== 0) {
      this.#peerReceives = false;
      this.#refuseWriting(new VsockError("Cannot send to the guest: it closed this connection"));
    }
    return !this.#peerSends && !this.#peerReceives;
  }

  /** The connection is gone at once. Bytes that came before an orderly end can still be read. */
  end(error?: VsockError): void {
    if (error !== undefined && this.#peerSends) {
      this.#broken = error;
      this.#received.length = 0;
    }
    this.#peerSends = false;
    this.#peerReceives = false;
    this.#refuseWriting(
      error ?? new VsockError("Cannot send to the guest: it closed this connection"),
    );
    this.#wake?.();
  }

  #openReadable(): ReadableStream<Uint8Array> {
    return new ReadableStream<Uint8Array>(
      {
        start: (controller) => {
          this.#readController = controller;
        },
        pull: () => this.#deliver(),
        cancel: () => {
          this.#received.length = 0;
          if (this.#peerSends) this.#port.control(this, operations.SHUTDOWN, NO_MORE_RECEIVING);
        },
      },
      { highWaterMark: 0 },
    );
  }

  /** Resolves once the reader has got something, or the end. */
  async #deliver(): Promise<void> {
    while (this.#received.length === 0 && this.#peerSends) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
    const bytes = this.#received.shift();
    if (bytes !== undefined) {
      this.#readController?.enqueue(bytes);
      this.#consume(bytes.length);
    } else if (this.#broken !== undefined) this.#readController?.error(this.#broken);
    else this.#readController?.close();
  }

  /** Tells the guest of room when half of the buffer was freed, not for each read. */
  #consume(count: number): void {
    this.#receivedBytes -= count;
    this.#consumed = (this.#consumed + count) >>> 0;
    const unannounced = (this.#consumed - this.#announced) >>> 0;
    if (this.#peerSends && unannounced >= BUFFER_BYTES / 2) {
      this.#port.control(this, operations.CREDIT_UPDATE);
    }
  }

  #openWritable(): WritableStream<Uint8Array> {
    return new WritableStream<Uint8Array>({
      start: (controller) => {
        this.#writeController = controller;
      },
      write: (bytes) => this.#send(bytes),
      close: () => this.#shutSending(),
      abort: () => {
        this.#outgoing.length = 0;
        if (this.#peerReceives) this.#port.control(this, operations.RST);
        this.#port.forget(this);
        this.end();
      },
    });
  }

  #send(bytes: Uint8Array): Promise<void> {
    if (!this.#peerReceives)
      throw new VsockError("Cannot send to the guest: it closed this connection");
    if (bytes.length === 0) return Promise.resolve();
    return new Promise((done) => {
      this.#outgoing.push({ bytes, done });
      this.#port.ready();
    });
  }

  #shutSending(): void {
    if (this.#peerReceives) this.#port.control(this, operations.SHUTDOWN, NO_MORE_SENDING);
  }

  #refuseWriting(error: VsockError): void {
    this.#writeController?.error(error);
    for (const { done } of this.#outgoing.splice(0)) done();
  }
}
