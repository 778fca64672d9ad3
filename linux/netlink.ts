/**
 * rtnetlink(7): links, addresses, routes and traffic control, as messages over a socket.
 *
 * ```
 * message    u32 length   u16 type   u16 flags   u32 sequence   u32 port   body
 * body       a struct of the type's own, then attributes: u16 length, u16 type, data, padding to 4
 * ```
 * Sources: linux/netlink.h, rtnetlink.h, if_link.h, if_addr.h, pkt_sched.h, neighbour.h.
 */
import { AF_NETLINK, NETLINK_ROUTE, SOCK_CLOEXEC, SOCK_RAW } from "./constants.ts";
import { errnoName, errnoText } from "./errno.ts";
import { Fd } from "./fd.ts";
import { call } from "./kernel.ts";

// biome-ignore format: table
export const netlinkTypes = {
  ERROR: 2, DONE: 3, NEWLINK: 16, DELLINK: 17, GETLINK: 18, SETLINK: 19, NEWADDR: 20, GETADDR: 22,
  NEWROUTE: 24, GETROUTE: 26, NEWNEIGH: 28, GETNEIGH: 30, NEWQDISC: 36, DELQDISC: 37, GETQDISC: 38,
  NEWTFILTER: 44,
} as const;

// biome-ignore format: table
export const netlinkFlags = {
  REQUEST: 1, ACK: 4, REPLACE: 0x100, EXCL: 0x200, DUMP: 0x300, CREATE: 0x400,
} as const;

const headerBytes = 16;
const attributeHeaderBytes = 4;
const receiveBytes = 64 * 1024;
/** Answers to one request: a namespace with more links, addresses or routes is none we serve. */
const maxMessages = 4096;

export interface NetlinkMessage {
  readonly type: number;
  readonly body: Uint8Array;
}

/** A request as the kernel takes it. */
export function encodeNetlink(
  type: number,
  flags: number,
  sequence: number,
  parts: readonly Uint8Array[],
): Uint8Array {
  const body = concat(parts);
  const message = new Uint8Array(headerBytes + body.length);
  const header = view(message);
  header.setUint32(0, message.length, true);
  header.setUint16(4, type, true);
  header.setUint16(6, flags | netlinkFlags.REQUEST | netlinkFlags.ACK, true);
  header.setUint32(8, sequence, true);
  message.set(body, headerBytes);
  return message;
}

/** A conversation with the kernel about the network namespace that it was opened in. */
export class RouteSocket implements Disposable {
  readonly #socket: Fd;
  #sequence = 0;

  constructor(socket: Fd = openRouteSocket()) {
    this.#socket = socket;
  }

  [Symbol.dispose](): void {
    this.#socket.close();
  }

  /** Sends a request and returns the answers before the acknowledgement; throws what it says. */
  request(type: number, flags: number, parts: readonly Uint8Array[]): readonly NetlinkMessage[] {
    const message = encodeNetlink(type, flags, ++this.#sequence, parts);
    call("sendto", this.#socket, message, message.length, 0, 0, 0);
    const answers: NetlinkMessage[] = [];
    const buffer = new Uint8Array(receiveBytes);
    for (;;) {
      const size = call("recvfrom", this.#socket, buffer, buffer.length, 0, 0, 0);
      for (const answer of parseNetlink(buffer.subarray(0, size))) {
        if (answer.type === netlinkTypes.DONE) return answers;
        if (answer.type !== netlinkTypes.ERROR) answers.push(answer);
        else {
          const errno = -view(answer.body).getInt32(0, true);
          if (errno === 0) return answers;
          throw new NetlinkError(errno);
        }
      }
      if (answers.length > maxMessages)
        throw new RangeError(`Expected at most ${maxMessages} answers of the kernel's network`);
    }
  }
}

/** What the kernel says to a request. */
export class NetlinkError extends Error {
  override readonly name = "NetlinkError";
  readonly errno: number;
  constructor(errno: number) {
    super(errnoText(errnoName(errno)).toLowerCase());
    this.errno = errno;
  }
}

export function openRouteSocket(): Fd {
  return Fd.from("socket", AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
}

/** Each aligned to 4 bytes; a length that does not fit ends the parsing. */
export function parseNetlink(bytes: Uint8Array): readonly NetlinkMessage[] {
  const messages: NetlinkMessage[] = [];
  for (let at = 0; at + headerBytes <= bytes.length; ) {
    const header = view(bytes.subarray(at));
    const length = header.getUint32(0, true);
    if (length < headerBytes || at + length > bytes.length) break;
    const body = bytes.slice(at + headerBytes, at + length);
    messages.push({ type: header.getUint16(4, true), body });
    at += align(length);
  }
  return messages;
}

export interface NetlinkAttribute {
  readonly kind: number;
  readonly data: Uint8Array;
}

/** Attributes from `offset` on. */
export function parseAttributes(body: Uint8Array, offset: number): readonly NetlinkAttribute[] {
  const attributes: NetlinkAttribute[] = [];
  for (let at = offset; at + attributeHeaderBytes <= body.length; ) {
    const header = view(body.subarray(at));
    const length = header.getUint16(0, true);
    if (length < attributeHeaderBytes || at + length > body.length) break;
    // NLA_F_NESTED and NLA_F_NET_BYTEORDER are no part of the type.
    const kind = header.getUint16(2, true) & 0x3fff;
    attributes.push({ kind, data: body.slice(at + attributeHeaderBytes, at + length) });
    at += align(length);
  }
  return attributes;
}

export function encodeAttribute(kind: number, data: Uint8Array): Uint8Array {
  const length = attributeHeaderBytes + data.length;
  const bytes = new Uint8Array(align(length));
  view(bytes).setUint16(0, length, true);
  view(bytes).setUint16(2, kind, true);
  bytes.set(data, attributeHeaderBytes);
  return bytes;
}

/** struct ifinfomsg. */
export function linkMessage(index: number, flags: number, change: number): Uint8Array {
  const bytes = new Uint8Array(16);
  const fields = view(bytes);
  fields.setInt32(4, index, true);
  fields.setUint32(8, flags, true);
  fields.setUint32(12, change, true);
  return bytes;
}

export function encodeU32(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  view(bytes).setUint32(0, value, true);
  return bytes;
}

function align(length: number): number {
  return Math.ceil(length / 4) * 4;
}

function concat(parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

function view(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
