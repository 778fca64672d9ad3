/**
 * Asks the process that keeps a machine for something, over the socket in its state directory; the
 * frames are in frames.ts. Blocking, and without JavaScript's streams, as all verbs are.
 */
import { call, type Fd, hasErrno, SOCK_STREAM, SOL_SOCKET, syscall } from "../../linux/index.ts";
import { LaunchError, StatusError } from "../errors.ts";
import { connectTo } from "../sockets.ts";
import type { Container } from "../state.ts";
import {
  encodeJsonFrame,
  type Failure,
  FRAME_HEADER_BYTES,
  frameKinds,
  MAX_FRAME_BYTES,
  type MachineRequest,
} from "./frames.ts";

/** In the container's state directory. */
export const MACHINE_SOCKET = "machine.sock";
const EINTR = -4;
const SO_RCVTIMEO = 20;

/**
 * Sends a request and waits for its first answer: nothing, or LaunchError with what the machine's
 * keeper says. The connection stays with the request.
 */
export function askMachine(
  { directory }: Pick<Container, "directory">,
  request: MachineRequest,
  patienceSeconds = 0,
): Fd {
  const socket = dial(directory);
  try {
    if (patienceSeconds > 0) waitAtMost(socket, patienceSeconds);
    const frame = encodeJsonFrame(frameKinds.request, request);
    for (let sent = 0; sent < frame.length; )
      sent += call("write", socket, frame.subarray(sent), frame.length - sent);
    const { kind, payload } = readFrame(socket);
    if (kind === frameKinds.failed) throw failureOf(payload);
    if (kind !== frameKinds.started && kind !== frameKinds.exited)
      throw new LaunchError(`Expected an answer of the machine's keeper, got frame kind ${kind}`);
    return socket;
  } catch (error) {
    socket.close();
    throw error;
  }
}

function dial(directory: string): Fd {
  try {
    return connectTo(`${directory}/${MACHINE_SOCKET}`, SOCK_STREAM);
  } catch (cause) {
    if (hasErrno(cause, "ENOENT") || hasErrno(cause, "ECONNREFUSED"))
      throw new StatusError("container not running", { cause });
    throw cause;
  }
}

/** socket(7), SO_RCVTIMEO: struct timeval. */
function waitAtMost(socket: Fd, seconds: number): void {
  const time = new Uint8Array(16);
  new DataView(time.buffer).setBigInt64(0, BigInt(seconds), true);
  call("setsockopt", socket, SOL_SOCKET, SO_RCVTIMEO, time, time.length);
}

function readFrame(socket: Fd): { readonly kind: number; readonly payload: Uint8Array } {
  const header = readExactly(socket, FRAME_HEADER_BYTES);
  const length = new DataView(header.buffer).getUint32(1, true);
  if (length > MAX_FRAME_BYTES)
    throw new LaunchError(`Expected a frame of at most ${MAX_FRAME_BYTES} bytes, got ${length}`);
  return { kind: header[0] ?? 0, payload: readExactly(socket, length) };
}

function readExactly(socket: Fd, sizeBytes: number): Uint8Array {
  const bytes = new Uint8Array(sizeBytes);
  for (let at = 0; at < sizeBytes; ) {
    const count = syscall("read", socket, bytes.subarray(at), sizeBytes - at);
    if (count === EINTR) continue;
    if (count <= 0)
      throw new StatusError("container not running: its machine has ended, or does not answer");
    at += count;
  }
  return bytes;
}

/** The innermost cause says what engines look for. */
function failureOf(payload: Uint8Array): LaunchError {
  // SAFE: written by the keeper, which is this program.
  const { message, causes, status } = JSON.parse(new TextDecoder().decode(payload)) as Failure;
  const exitCode = status === 126 || status === 127 ? status : 125;
  return new LaunchError([message, ...causes].join(": "), exitCode);
}
