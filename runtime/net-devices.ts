/**
 * linux.netDevices: network devices of the host move into the container with their addresses
 * (runtime-spec 1.3 config-linux.md, "Network Devices"), by rtnetlink(7).
 *
 * ```
 * host namespace         RTM_GETADDR, RTM_SETLINK { IFLA_NET_NS_FD, IFLA_IFNAME }
 * container's namespace  RTM_NEWADDR for each address, RTM_SETLINK up
 * ```
 */
import {
  AF_NETLINK,
  AT_FDCWD,
  call,
  errnoName,
  errnoText,
  Fd,
  NETLINK_ROUTE,
  O_CLOEXEC,
  O_RDONLY,
  SOCK_CLOEXEC,
  SOCK_RAW,
} from "../linux/index.ts";
import type { NetDevice } from "../oci/index.ts";
import { LaunchError } from "./errors.ts";

// linux/netlink.h, linux/rtnetlink.h, linux/if_link.h, linux/if_addr.h
const type = { ERROR: 2, DONE: 3, GETLINK: 18, SETLINK: 19, NEWADDR: 20, GETADDR: 22 } as const;
const flag = { REQUEST: 1, ACK: 4, CREATE: 0x400, EXCL: 0x200, DUMP: 0x300 } as const;
const attribute = { IFLA_IFNAME: 3, IFLA_NET_NS_FD: 28, IFA_LABEL: 3, IFA_CACHEINFO: 6 } as const;
const IFF_UP = 1;
const IFA_F_PERMANENT = 0x80;
const RT_SCOPE_UNIVERSE = 0;
const CLONE_NEWNET = 0x4000_0000;
const headerSize = 16;
const linkSize = 16;
const addressSize = 8;
const attributeHeader = 4;
const receiveSize = 64 * 1024;

export function moveNetDevices(
  devices: Readonly<Record<string, NetDevice>> | undefined,
  pid: number,
): void {
  const entries = Object.entries(devices ?? {});
  if (entries.length === 0) return;
  using namespace = Fd.from("openat", AT_FDCWD, `/proc/${pid}/ns/net`, O_RDONLY | O_CLOEXEC);
  using outside = new RouteSocket(openSocket());
  using inside = new RouteSocket(openSocketIn(namespace));
  for (const [name, { name: wanted = name }] of entries)
    try {
      move(outside, inside, namespace, name, wanted || name);
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : String(cause);
      throw new LaunchError(`Cannot move network device "${name}": ${reason}`, 125, { cause });
    }
}

function move(
  outside: RouteSocket,
  inside: RouteSocket,
  namespace: Fd,
  name: string,
  wanted: string,
): void {
  const index = outside.indexOf(name);
  const addresses = outside.addressesOf(index);
  // A device that is up is neither renamed nor moved by every kernel.
  outside.request(type.SETLINK, 0, linkMessage(index, 0, IFF_UP));
  const place = new Uint8Array(new Uint32Array([namespace.number]).buffer);
  outside.request(type.SETLINK, 0, [
    ...linkMessage(index, 0, 0),
    encodeAttribute(attribute.IFLA_NET_NS_FD, place),
    encodeAttribute(attribute.IFLA_IFNAME, Buffer.from(`${wanted}\0`)),
  ]);
  const moved = inside.indexOf(wanted);
  for (const address of addresses)
    inside.request(type.NEWADDR, flag.CREATE | flag.EXCL, [atIndex(address, moved)]);
  inside.request(type.SETLINK, 0, linkMessage(moved, IFF_UP, IFF_UP));
}

function openSocket(): Fd {
  return Fd.from("socket", AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
}

/** A socket belongs to the namespace it was made in, so this thread need only visit it. */
function openSocketIn(namespace: Fd): Fd {
  using own = Fd.from("openat", AT_FDCWD, "/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
  call("setns", namespace, CLONE_NEWNET);
  try {
    return openSocket();
  } finally {
    call("setns", own, CLONE_NEWNET);
  }
}

interface Message {
  readonly type: number;
  readonly body: Uint8Array;
}

class RouteSocket implements Disposable {
  readonly #socket: Fd;
  #sequence = 0;

  constructor(socket: Fd) {
    this.#socket = socket;
  }

  [Symbol.dispose](): void {
    this.#socket.close();
  }

  indexOf(name: string): number {
    const named = encodeAttribute(attribute.IFLA_IFNAME, Buffer.from(`${name}\0`));
    const [link] = this.request(type.GETLINK, 0, [...linkMessage(0, 0, 0), named]);
    if (link === undefined) throw new Error("the kernel says nothing about it");
    return view(link.body).getInt32(4, true);
  }

  /** Permanent addresses of global scope, as messages that make them again. */
  addressesOf(index: number): readonly Uint8Array[] {
    const all = this.request(type.GETADDR, flag.DUMP, [new Uint8Array(addressSize)]);
    return all
      .map(({ body }) => body)
      .filter((body) => {
        const [, , flags = 0, scope] = body;
        const isOwn = view(body).getUint32(4, true) === index;
        return isOwn && (flags & IFA_F_PERMANENT) !== 0 && scope === RT_SCOPE_UNIVERSE;
      });
  }

  /** Sends a request and returns the answers before the acknowledgement; throws what it says. */
  request(kind: number, flags: number, parts: readonly Uint8Array[]): readonly Message[] {
    const body = Buffer.concat(parts);
    const message = new Uint8Array(headerSize + body.length);
    const header = view(message);
    header.setUint32(0, message.length, true);
    header.setUint16(4, kind, true);
    header.setUint16(6, flags | flag.REQUEST | flag.ACK, true);
    header.setUint32(8, ++this.#sequence, true);
    message.set(body, headerSize);
    call("sendto", this.#socket, message, message.length, 0, 0, 0);
    const answers: Message[] = [];
    const buffer = new Uint8Array(receiveSize);
    for (;;) {
      const size = call("recvfrom", this.#socket, buffer, buffer.length, 0, 0, 0);
      for (const answer of parseMessages(buffer.subarray(0, size))) {
        if (answer.type === type.DONE) return answers;
        if (answer.type !== type.ERROR) answers.push(answer);
        else {
          const errno = -view(answer.body).getInt32(0, true);
          if (errno === 0) return answers;
          throw new Error(errnoText(errnoName(errno)).toLowerCase());
        }
      }
    }
  }
}

/** Each aligned to 4 bytes; a length that does not fit ends the parsing. */
function parseMessages(bytes: Uint8Array): readonly Message[] {
  const messages: Message[] = [];
  for (let at = 0; at + headerSize <= bytes.length; ) {
    const header = view(bytes.subarray(at));
    const length = header.getUint32(0, true);
    if (length < headerSize || at + length > bytes.length) break;
    const body = bytes.slice(at + headerSize, at + length);
    messages.push({ type: header.getUint16(4, true), body });
    at += Math.ceil(length / 4) * 4;
  }
  return messages;
}

/** struct ifinfomsg. */
function linkMessage(index: number, flags: number, change: number): readonly Uint8Array[] {
  const bytes = new Uint8Array(linkSize);
  const fields = view(bytes);
  fields.setInt32(4, index, true);
  fields.setUint32(8, flags, true);
  fields.setUint32(12, change, true);
  return [bytes];
}

/** The address message with another device; what only the kernel knows is left out. */
function atIndex(address: Uint8Array, index: number): Uint8Array {
  const head = address.slice(0, addressSize);
  view(head).setUint32(4, index, true);
  const kept: Uint8Array[] = [head];
  for (let at = addressSize; at + attributeHeader <= address.length; ) {
    const length = view(address.subarray(at)).getUint16(0, true);
    if (length < attributeHeader) break;
    const kind = view(address.subarray(at)).getUint16(2, true);
    // IFA_LABEL names the old device, IFA_CACHEINFO counts lifetimes.
    const isKernels = kind === attribute.IFA_LABEL || kind === attribute.IFA_CACHEINFO;
    if (!isKernels) kept.push(padded(address.slice(at, at + length)));
    at += Math.ceil(length / 4) * 4;
  }
  return Buffer.concat(kept);
}

function encodeAttribute(kind: number, data: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(attributeHeader + data.length);
  view(bytes).setUint16(0, bytes.length, true);
  view(bytes).setUint16(2, kind, true);
  bytes.set(data, attributeHeader);
  return padded(bytes);
}

function padded(bytes: Uint8Array): Uint8Array {
  const whole = new Uint8Array(Math.ceil(bytes.length / 4) * 4);
  whole.set(bytes);
  return whole;
}

function view(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
