/**
 * Connections of the guest over one socket: each side sends as much as the other has granted, so
 * that one that is not read holds nobody else back. The two directions end by themselves, each well
 * or badly, as a socket's do.
 */
import type { Socket } from "node:net";
import type { Connection } from "../guest/remote-kernel.ts";
import {
  decodeWord,
  encodeFrame,
  encodeWord,
  FrameError,
  FrameReader,
  frameKinds,
  MAX_PAYLOAD_BYTES,
  type OnFrame,
} from "./frames.ts";

/** Bytes of a connection that may be under way or wait to be read. */
export const WINDOW_BYTES = 256 * 1024;
/** Connections that were opened and have not ended in both directions. */
const MAX_CONNECTIONS = 4096;

export class Bridge {
  readonly #socket: Socket;
  readonly #connections = new Map<number, BridgedConnection>();
  readonly #onFrame: OnFrame;
  #broken: Error | undefined = undefined;
  /** Settles when the socket is gone, in whichever way. */
  readonly closed: Promise<void>;

  /** `onFrame` gets what concerns no connection; what it throws ends the bridge. */
  constructor(socket: Socket, onFrame: OnFrame) {
    this.#socket = socket;
    this.#onFrame = onFrame;
    const reader = new FrameReader((kind, id, payload) => this.#take(kind, id, payload));
    socket.on("data", (bytes: Buffer) => {
      try {
        reader.push(bytes);
      } catch (error) {
        this.#break(error instanceof Error ? error : new Error(String(error)));
      }
    });
    socket.on("error", (error) => this.#break(error));
    this.closed = new Promise((resolve) => {
      socket.once("close", () => {
        this.#break(new FrameError("The other side is gone"));
        resolve();
      });
    });
  }

  /** Why the bridge broke, if somebody broke the protocol. */
  get failure(): Error | undefined {
    return this.#broken;
  }

  /** What the other side has not taken yet. */
  get waitingBytes(): number {
    return this.#socket.writableLength;
  }

  send(kind: number, id = 0, payload: Uint8Array = new Uint8Array(0)): void {
    if (this.#broken === undefined) this.#socket.write(encodeFrame(kind, id, payload));
  }

  sendJson(kind: number, value: unknown): void {
    this.send(kind, 0, Buffer.from(JSON.stringify(value)));
  }

  /** Both sides name it by the same id. */
  open(id: number): Connection {
    if (this.#connections.has(id) || this.#connections.size >= MAX_CONNECTIONS)
      throw new FrameError(`Cannot open connection ${id}: it is open, or too many are`);
    const connection = new BridgedConnection((kind, payload) => this.send(kind, id, payload));
    connection.done.then(() => this.#connections.delete(id));
    this.#connections.set(id, connection);
    return connection;
  }

  close(): void {
    this.#break(new FrameError("The bridge was closed"));
  }

  #take(kind: number, id: number, payload: Uint8Array): void {
    const { data, end, window, abort, cancel } = frameKinds;
    // What ended here may still be spoken of there.
    const connection = this.#connections.get(id);
    if (kind === data) connection?.receive(payload);
    else if (kind === end) connection?.receiveEnd();
    else if (kind === window) connection?.grant(decodeWord(payload));
    else if (kind === abort) connection?.failReading(new FrameError("The sender gave up"));
    else if (kind === cancel) connection?.failWriting(new FrameError("The reader gave up"));
    else this.#onFrame(kind, id, payload);
  }

  #break(error: Error): void {
    if (this.#broken !== undefined) return;
    this.#broken = error;
    for (const connection of [...this.#connections.values()]) connection.fail(error);
    this.#socket.destroy();
  }
}

type Send = (kind: number, payload?: Uint8Array) => void;

class BridgedConnection implements Connection {
  readonly readable: ReadableStream<Uint8Array>;
  readonly writable: WritableStream<Uint8Array>;
  readonly done: Promise<void>;
  readonly #send: Send;
  #finish: () => void = () => undefined;
  #input: ReadableStreamDefaultController<Uint8Array> | undefined;
  #output: WritableStreamDefaultController | undefined;
  /** What the other side may still send, and what we may. */
  #granted = WINDOW_BYTES;
  #room = WINDOW_BYTES;
  #wake: () => void = () => undefined;
  #readEnded = false;
  #writeEnded = false;

  constructor(send: Send) {
    this.#send = send;
    this.done = new Promise((resolve) => {
      this.#finish = resolve;
    });
    this.readable = new ReadableStream<Uint8Array>(
      {
        start: (controller) => {
          this.#input = controller;
        },
        pull: () => this.#grantMore(),
        cancel: () => {
          send(frameKinds.cancel);
          this.#endReading();
        },
      },
      new ByteLengthQueuingStrategy({ highWaterMark: WINDOW_BYTES }),
    );
    this.writable = new WritableStream<Uint8Array>({
      start: (controller) => {
        this.#output = controller;
      },
      write: (bytes) => this.#write(bytes),
      close: () => {
        send(frameKinds.end);
        this.#endWriting();
      },
      abort: () => {
        send(frameKinds.abort);
        this.#endWriting();
      },
    });
  }

  receive(bytes: Uint8Array): void {
    if (this.#readEnded) return;
    if (bytes.length > this.#granted)
      throw new FrameError(`Got ${bytes.length} bytes where ${this.#granted} were allowed`);
    this.#granted -= bytes.length;
    if (bytes.length > 0) this.#input?.enqueue(bytes);
  }

  receiveEnd(): void {
    if (this.#readEnded) return;
    this.#input?.close();
    this.#endReading();
  }

  grant(bytes: number): void {
    this.#room = Math.min(this.#room + bytes, WINDOW_BYTES);
    this.#wake();
  }

  fail(error: Error): void {
    this.failReading(error);
    this.failWriting(error);
  }

  failReading(error: Error): void {
    if (!this.#readEnded) this.#input?.error(error);
    this.#endReading();
  }

  failWriting(error: Error): void {
    if (!this.#writeEnded) this.#output?.error(error);
    this.#endWriting();
  }

  async #write(bytes: Uint8Array): Promise<void> {
    for (let at = 0; at < bytes.length; ) {
      while (this.#room === 0 && !this.#writeEnded)
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      if (this.#writeEnded) return;
      const length = Math.min(bytes.length - at, this.#room, MAX_PAYLOAD_BYTES);
      this.#room -= length;
      this.#send(frameKinds.data, bytes.subarray(at, at + length));
      at += length;
    }
  }

  /** In quarters of a window, so that grants are rarer than data. */
  #grantMore(): void {
    const room = Math.max(0, this.#input?.desiredSize ?? 0) - this.#granted;
    if (room < WINDOW_BYTES / 4) return;
    this.#granted += room;
    this.#send(frameKinds.window, encodeWord(room));
  }

  #endReading(): void {
    this.#readEnded = true;
    if (this.#writeEnded) this.#finish();
  }

  #endWriting(): void {
    this.#writeEnded = true;
    this.#wake();
    if (this.#readEnded) this.#finish();
  }
}
