/**
 * What passes between whoever keeps a machine and those who ask it for something, over a unix
 * socket.
 *
 * ```
 * frame    u8 kind   u32 length, little endian   payload
 * client   request (JSON, first), input, inputEnd, resize (JSON), signal (JSON)
 * keeper   started, output, errors, exited (JSON), failed (JSON)
 * ```
 */
import { encodeUtf8 } from "../../linux/index.ts";
import type { Process } from "../../oci/index.ts";

// biome-ignore format: table
export const frameKinds = {
  request: 1, input: 2, inputEnd: 3, resize: 4, signal: 5,
  started: 16, output: 17, errors: 18, exited: 19, failed: 20,
} as const;

/** As `manyworlds exec` asks. */
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

/** As an OCI `exec` asks: nothing is taken from the container's own process. */
export interface ProcessRequest {
  readonly kind: "process";
  readonly process: Process;
}

/** Signals the container's first process; SIGKILL ends the machine with it. */
export interface KillRequest {
  readonly kind: "kill";
  readonly signal: number;
}

/** Other limits inside of the guest: bytes and processes, -1 for none. */
export interface LimitRequest {
  readonly kind: "limit";
  readonly memory?: number;
  readonly pids?: number;
}

export type MachineRequest = ExecRequest | ProcessRequest | KillRequest | LimitRequest;

export interface Failure {
  readonly message: string;
  readonly causes: readonly string[];
  readonly status: number;
}

export const FRAME_HEADER_BYTES = 5;
/** Whoever sends more has no business here. */
export const MAX_FRAME_BYTES = 1024 * 1024;

export function encodeFrame(kind: number, payload: Uint8Array = new Uint8Array(0)): Uint8Array {
  const frame = new Uint8Array(FRAME_HEADER_BYTES + payload.length);
  frame[0] = kind;
  new DataView(frame.buffer).setUint32(1, payload.length, true);
  frame.set(payload, FRAME_HEADER_BYTES);
  return frame;
}

export function encodeJsonFrame(kind: number, value: unknown): Uint8Array {
  return encodeFrame(kind, encodeUtf8(JSON.stringify(value)));
}
