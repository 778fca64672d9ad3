/**
 * What passes between a machine's monitor and those who ask it for something, over a unix socket.
 *
 * ```
 * frame    u8 kind   u32 length, little endian   payload
 * client   request (JSON, first), input, inputEnd, resize (JSON), signal (JSON)
 * monitor  started, output, errors, exited (JSON), failed (JSON)
 * ```
 */
export const frameKinds = {
  request: 1,
  input: 2,
  inputEnd: 3,
  resize: 4,
  signal: 5,
  started: 16,
  output: 17,
  errors: 18,
  exited: 19,
  failed: 20,
} as const;

export interface ExecRequest {
  readonly kind: "exec";
  readonly args: readonly string[];
  /** Added to the container's own. */
  readonly env: readonly string[];
  readonly cwd?: string;
  /** "user[:group]", looked up in the image. */
  readonly user?: string;
  readonly tty: boolean;
  readonly interactive: boolean;
  readonly size?: { readonly width: number; readonly height: number };
}

/** Kills the container's first process, or with it the machine. */
export interface KillRequest {
  readonly kind: "kill";
  readonly signal: number;
}

export type MonitorRequest = ExecRequest | KillRequest;

export interface Failure {
  readonly message: string;
  readonly causes: readonly string[];
  readonly status: number;
}

const HEADER_BYTES = 5;
/** Whoever sends more has no business here. */
export const MAX_FRAME_BYTES = 1024 * 1024;

export function encodeFrame(kind: number, payload: Uint8Array = new Uint8Array(0)): Uint8Array {
  const frame = new Uint8Array(HEADER_BYTES + payload.length);
  frame[0] = kind;
  new DataView(frame.buffer).setUint32(1, payload.length, true);
  frame.set(payload, HEADER_BYTES);
  return frame;
}

export function encodeJsonFrame(kind: number, value: unknown): Uint8Array {
  return encodeFrame(kind, Buffer.from(JSON.stringify(value)));
}

/** Takes a stream of bytes apart into frames. @throws RangeError for one that is too large */
export class FrameReader {
  readonly #onFrame: (kind: number, payload: Buffer) => void;
  #rest: Buffer = Buffer.alloc(0);

  constructor(onFrame: (kind: number, payload: Buffer) => void) {
    this.#onFrame = onFrame;
  }

  push(bytes: Uint8Array): void {
    this.#rest = this.#rest.length === 0 ? Buffer.from(bytes) : Buffer.concat([this.#rest, bytes]);
    let at = 0;
    while (this.#rest.length - at >= HEADER_BYTES) {
      const length = this.#rest.readUInt32LE(at + 1);
      if (length > MAX_FRAME_BYTES)
        throw new RangeError(`Expected a frame of at most ${MAX_FRAME_BYTES} bytes, got ${length}`);
      const end = at + HEADER_BYTES + length;
      if (this.#rest.length < end) break;
      this.#onFrame(this.#rest[at] ?? 0, this.#rest.subarray(at + HEADER_BYTES, end));
      at = end;
    }
    this.#rest = this.#rest.subarray(at);
  }
}
