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
  AT_FDCWD,
  call,
  encodeAttribute,
  encodeUtf8,
  Fd,
  netlinkFlags as flag,
  linkMessage,
  O_CLOEXEC,
  O_RDONLY,
  openRouteSocket,
  parseAttributes,
  RouteSocket,
  netlinkTypes as type,
} from "../linux/index.ts";
import type { NetDevice } from "../oci/index.ts";
import { LaunchError } from "./errors.ts";

// linux/if_link.h, linux/if_addr.h
const attribute = { IFLA_IFNAME: 3, IFLA_NET_NS_FD: 28, IFA_LABEL: 3, IFA_CACHEINFO: 6 } as const;
const IFF_UP = 1;
const IFA_F_PERMANENT = 0x80;
const RT_SCOPE_UNIVERSE = 0;
const CLONE_NEWNET = 0x4000_0000;
const addressSize = 8;

export function moveNetDevices(
  devices: Readonly<Record<string, NetDevice>> | undefined,
  pid: number,
): void {
  const entries = Object.entries(devices ?? {});
  if (entries.length === 0) return;
  using namespace = Fd.from("openat", AT_FDCWD, `/proc/${pid}/ns/net`, O_RDONLY | O_CLOEXEC);
  using outside = new RouteSocket();
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
  const index = indexOf(outside, name);
  const addresses = addressesOf(outside, index);
  // A device that is up is neither renamed nor moved by every kernel.
  outside.request(type.SETLINK, 0, [linkMessage(index, 0, IFF_UP)]);
  const place = new Uint8Array(new Uint32Array([namespace.number]).buffer);
  outside.request(type.SETLINK, 0, [
    linkMessage(index, 0, 0),
    encodeAttribute(attribute.IFLA_NET_NS_FD, place),
    encodeAttribute(attribute.IFLA_IFNAME, encodeUtf8(`${wanted}\0`)),
  ]);
  const moved = indexOf(inside, wanted);
  for (const address of addresses)
    inside.request(type.NEWADDR, flag.CREATE | flag.EXCL, [atIndex(address, moved)]);
  inside.request(type.SETLINK, 0, [linkMessage(moved, IFF_UP, IFF_UP)]);
}

/** A socket belongs to the namespace it was made in, so this thread need only visit it. */
function openSocketIn(namespace: Fd): Fd {
  using own = Fd.from("openat", AT_FDCWD, "/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);
  call("setns", namespace, CLONE_NEWNET);
  try {
    return openRouteSocket();
  } finally {
    call("setns", own, CLONE_NEWNET);
  }
}

function indexOf(socket: RouteSocket, name: string): number {
  const named = encodeAttribute(attribute.IFLA_IFNAME, encodeUtf8(`${name}\0`));
  const [link] = socket.request(type.GETLINK, 0, [linkMessage(0, 0, 0), named]);
  if (link === undefined) throw new Error("the kernel says nothing about it");
  return view(link.body).getInt32(4, true);
}

/** Permanent addresses of global scope, as messages that make them again. */
function addressesOf(socket: RouteSocket, index: number): readonly Uint8Array[] {
  const all = socket.request(type.GETADDR, flag.DUMP, [new Uint8Array(addressSize)]);
  return all
    .map(({ body }) => body)
    .filter((body) => {
      const [, , flags = 0, scope] = body;
      const isOwn = view(body).getUint32(4, true) === index;
      return isOwn && (flags & IFA_F_PERMANENT) !== 0 && scope === RT_SCOPE_UNIVERSE;
    });
}

/** The address message with another device; what only the kernel knows is left out. */
function atIndex(address: Uint8Array, index: number): Uint8Array {
  const head = address.slice(0, addressSize);
  view(head).setUint32(4, index, true);
  // IFA_LABEL names the old device, IFA_CACHEINFO counts lifetimes.
  const kept = parseAttributes(address, addressSize).filter(
    ({ kind }) => kind !== attribute.IFA_LABEL && kind !== attribute.IFA_CACHEINFO,
  );
  return Buffer.concat([head, ...kept.map(({ kind, data }) => encodeAttribute(kind, data))]);
}

function view(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
