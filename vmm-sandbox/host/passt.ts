/**
 * passt's socket as the other end of a guest's cable: user-mode networking without privileges.
 *
 * ```
 * frame   u32 length, big endian; then the Ethernet frame
 * ```
 * passt(1), option --socket; the framing is that of QEMU's `-netdev stream`.
 */
import { connect, type Socket } from "node:net";
import type { NetBackend } from "../devices/net.ts";

const LENGTH_BYTES = 4;
const MAX_FRAME_BYTES = 65536 + 18;
/** Bytes that passt has not taken yet; frames beyond are dropped. */
const MAX_WAITING_BYTES = 4 * 1024 * 1024;

/** passt said something that is no frame. */
export class PasstError extends Error {
  override readonly name = "PasstError";
}

export class Passt implements NetBackend, Disposable {
  onFrame: ((frame: Uint8Array) => void) | undefined = undefined;
  dropped = 0;
  readonly #socket: Socket;
  #rest: Uint8Array = new Uint8Array(0);
  #paused = false;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.on("data", (bytes: Uint8Array) => this.#take(bytes));
    // The guest then has a cable with nobody at the other end.
    socket.on("error", () => undefined);
  }

  /** Resolves once passt, which must be listening at `path`, has accepted. */
  static connect(path: string): Promise<Passt> {
    return new Promise((resolve, reject) => {
      const socket = connect(path, () => {
        socket.off("error", reject);
        resolve(new Passt(socket));
      });
      socket.once("error", reject);
    });
  }

  /** A socket that is connected to passt already. */
  static over(socket: Socket): Passt {
    return new Passt(socket);
  }

  send(frame: Uint8Array): void {
    if (this.#socket.writableLength > MAX_WAITING_BYTES) {
      this.dropped++;
      return;
    }
    const message = new Uint8Array(LENGTH_BYTES + frame.length);
    new DataView(message.buffer).setUint32(0, frame.length);
    message.set(frame, LENGTH_BYTES);
    this.#socket.write(message);
  }

  pause(): void {
    this.#paused = true;
    this.#socket.pause();
  }

  resume(): void {
    this.#paused = false;
    this.#take(new Uint8Array(0));
    if (!this.#paused) this.#socket.resume();
  }

  [Symbol.dispose](): void {
    this.#socket.destroy();
  }

  /** Whoever takes a frame may pause and resume meanwhile: what is left is always in `#rest`. */
  #take(bytes: Uint8Array): void {
    this.#rest = this.#rest.length === 0 ? bytes : Buffer.concat([this.#rest, bytes]);
    while (this.#rest.length >= LENGTH_BYTES && !this.#paused) {
      const left = this.#rest;
      const length = new DataView(left.buffer, left.byteOffset).getUint32(0);
      if (length > MAX_FRAME_BYTES) {
        this.#socket.destroy(new PasstError(`Cannot take a frame of ${length} bytes from passt`));
        return;
      }
      if (left.length < LENGTH_BYTES + length) break;
      this.#rest = left.subarray(LENGTH_BYTES + length);
      this.onFrame?.(left.slice(LENGTH_BYTES, LENGTH_BYTES + length));
    }
    this.#rest = this.#rest.slice();
  }
}
