/**
 * The receiving end of a console socket, and of a seccomp agent's: a Unix stream socket that takes
 * one message with descriptors (SCM_RIGHTS), which node's own sockets cannot.
 */
import { closeSync, readSync, writeSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import {
  call,
  cmsghdr,
  Fd,
  iovec,
  mapMemory,
  msghdr,
  sockaddr_un,
  syscall,
} from "../../linux/index.ts";

export interface Message {
  readonly text: string;
  readonly fds: readonly number[];
  /** Closes the descriptors. */
  readonly close: () => void;
}

const AF_UNIX = 1;
const SOCK_STREAM_NONBLOCK = 1 | 0o4000 | 0o2000000;
const maxMessageBytes = 64 * 1024;
const controlBytes = 256;
const EAGAIN = -11;

export interface Listener {
  readonly receive: (timeoutMs?: number) => Promise<Message>;
  readonly close: () => void;
}

export function listen(path: string): Listener {
  const socket = Fd.from("socket", AF_UNIX, SOCK_STREAM_NONBLOCK, 0);
  const sun_path = new Uint8Array(108);
  sun_path.set(Buffer.from(path));
  call("bind", socket, sockaddr_un.encode({ sun_family: AF_UNIX, sun_path }), 110);
  call("listen", socket, 4);
  return {
    receive: (timeoutMs = 10_000) => receive(socket, timeoutMs),
    close: () => socket.close(),
  };
}

async function receive(socket: Fd, timeoutMs: number): Promise<Message> {
  const connection = Fd.take(
    await retry("nobody connected", timeoutMs, () => syscall("accept4", socket, 0, 0, 0o4000)),
  );
  try {
    return await retryMessage(connection, timeoutMs);
  } finally {
    connection.close();
  }
}

async function retryMessage(connection: Fd, timeoutMs: number): Promise<Message> {
  using memory = mapMemory(maxMessageBytes + controlBytes + iovec.sizeBytes + msghdr.sizeBytes);
  const control = maxMessageBytes;
  const vector = control + controlBytes;
  const header = vector + iovec.sizeBytes;
  const at = (offset: number) => memory.address + offset;
  memory.bytes.set(iovec.encode({ iov_base: at(0), iov_len: maxMessageBytes }), vector);
  const message = {
    msg_iov: at(vector),
    msg_iovlen: 1,
    msg_control: at(control),
    msg_controllen: controlBytes,
  };
  memory.bytes.set(msghdr.encode(message), header);
  const received = await retry("no message came", timeoutMs, () =>
    syscall("recvmsg", connection, at(header), 0),
  );
  const text = Buffer.from(memory.bytes.slice(0, received)).toString();
  const { msg_controllen } = msghdr.decode(memory.bytes, header);
  const fds = msg_controllen === 0n ? [] : readDescriptors(memory.bytes, control);
  return { text, fds, close: () => fds.forEach(closeSync) };
}

function readDescriptors(bytes: Uint8Array, offset: number): readonly number[] {
  const { cmsg_len } = cmsghdr.decode(bytes, offset);
  const view = new DataView(bytes.buffer, bytes.byteOffset + offset);
  const fds: number[] = [];
  for (let at = cmsghdr.sizeBytes; at + 4 <= Number(cmsg_len); at += 4)
    fds.push(view.getInt32(at, true));
  return fds;
}

async function retry(what: string, timeoutMs: number, attempt: () => number): Promise<number> {
  for (let waitedMs = 0; waitedMs < timeoutMs; waitedMs += 5) {
    const result = attempt();
    if (result >= 0) return result;
    if (result !== EAGAIN) throw new Error(`Cannot receive a message: errno ${-result}`);
    await sleep(5);
  }
  throw new Error(`Waited ${timeoutMs} ms: ${what}`);
}

/** Reads what a terminal's program prints until `isEnough`; the master's end reads EIO at the end. */
export async function readTerminal(
  master: number,
  isEnough: (text: string) => boolean,
  timeoutMs = 5_000,
): Promise<string> {
  call("fcntl", master, 4, 0o4000); // F_SETFL O_NONBLOCK
  const buffer = Buffer.alloc(4096);
  let text = "";
  for (let waitedMs = 0; waitedMs < timeoutMs && !isEnough(text); ) {
    try {
      text += buffer.toString("utf8", 0, readSync(master, buffer));
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      if (code === "EIO") return text;
      if (code !== "EAGAIN") throw error;
      await sleep(10);
      waitedMs += 10;
    }
  }
  return text;
}

export function writeTerminal(master: number, text: string): void {
  writeSync(master, text);
}
