/**
 * Gives a machine the network of the namespace that we are in, as its engine has set it up: every
 * frame that comes in at a device goes to a tap, and the other way round, so that the namespace's own
 * stack sees none of them; the guest gets the device's MAC address, addresses and routes.
 *
 * ```
 * veth peer ── eth0 ─ ingress ─ redirect ─► tap ═ monitor ═ guest's eth0
 *                ◄─ redirect ─ ingress ─────┘
 * ```
 * The model is tc-mirred(8) with tc-u32(8), which every distribution's kernel has.
 */
import {
  encodeAttribute,
  encodeU32,
  linkMessage,
  NetlinkError,
  netlinkFlags,
  netlinkTypes,
  RouteSocket,
} from "../../linux/index.ts";
import { type MonitorNet, type OpenTap, openTap } from "../../vmm-sandbox/index.ts";
import { ContainerError } from "../errors.ts";
import type { GuestInterface, GuestNetwork } from "./guest-network.ts";
import { type HostLink, listLinks, messagesOf } from "./namespace-links.ts";
import { deleteIngress, encodeIngress, encodeRedirect } from "./traffic-control.ts";

export type NamespaceNetwork = GuestNetwork & Disposable & { readonly plug: () => void };

/** Taps of ours; what an engine makes has other names. */
const TAP_PREFIX = "manyworlds";
/**
 * What a guest's device has until it is told its address: the same for all machines, so that they can
 * start from one snapshot.
 */
const DEVICE_MAC = [0x02, 0x6d, 0x77, 0, 0];
const IFF_UP = 1;
const IFLA_MTU = 4;
const ENOENT = 2;
const EINVAL = 22;
const EEXIST = 17;

/**
 * Opens a tap for each device; no frame passes until they are plugged in, so that a machine that is saved
 * while it boots has seen none. Throws ContainerError. What it makes goes when it is disposed, and at the
 * latest with its namespace.
 */
export function connectNamespace(): NamespaceNetwork {
  const socket = new RouteSocket();
  const taps: OpenTap[] = [];
  const redirected: HostLink[] = [];
  let connected: readonly HostLink[] = [];
  const plug = (): void => {
    connected.forEach((link, at) => {
      const tap = taps[at];
      if (tap === undefined) return;
      redirected.push(link);
      explaining(() => redirect(socket, link, tap));
    });
  };
  const disconnect = (): void => {
    for (const { index } of redirected.splice(0)) ignoring(() => deleteIngress(socket, index));
    for (const { fd } of taps.splice(0)) fd.close();
    socket[Symbol.dispose]();
  };
  try {
    const links = listLinks(socket);
    checkAlone(links);
    connected = links.filter(({ carriesEthernet }) => carriesEthernet);
    const devices: MonitorNet[] = [];
    const interfaces: GuestInterface[] = [];
    for (const link of connected) {
      const tap = openTap({ name: `${TAP_PREFIX}%d` });
      taps.push(tap);
      const mac = [...DEVICE_MAC, devices.length];
      devices.push({ kind: "tap", fd: tap.fd.number, mac, mtu: link.mtu });
      interfaces.push({
        name: link.name,
        mac: link.mac,
        mtu: link.mtu,
        messages: messagesOf(socket, link.index),
      });
    }
    return { devices, interfaces, plug, [Symbol.dispose]: disconnect };
  } catch (error) {
    disconnect();
    throw explained(error);
  }
}

function explaining(action: () => void): void {
  try {
    action();
  } catch (error) {
    throw explained(error);
  }
}

function explained(cause: unknown): ContainerError {
  if (cause instanceof ContainerError) return cause;
  return new ContainerError("Cannot connect the machine to its network namespace", {
    cause,
    hint: "it takes /dev/net/tun and a kernel with tc's ingress, u32 and mirred",
  });
}

/** Two machines with one address each would get half of the frames. */
function checkAlone(links: readonly HostLink[]): void {
  const other = links.find(({ name }) => name.startsWith(TAP_PREFIX));
  if (other === undefined) return;
  throw new ContainerError(
    "Cannot share a network namespace between machines: another one is connected to it",
    { hint: "give each container in a virtual machine a network of its own" },
  );
}

function redirect(socket: RouteSocket, link: HostLink, tap: OpenTap): void {
  const { SETLINK, NEWQDISC, NEWTFILTER } = netlinkTypes;
  const { CREATE, EXCL } = netlinkFlags;
  const ours = listLinks(socket).find(({ name }) => name === tap.name);
  if (ours === undefined) throw new Error(`The kernel does not show the device "${tap.name}"`);
  socket.request(SETLINK, 0, [
    linkMessage(ours.index, IFF_UP, IFF_UP),
    encodeAttribute(IFLA_MTU, encodeU32(link.mtu)),
  ]);
  for (const [from, to] of [
    [link.index, ours.index],
    [ours.index, link.index],
  ] as const) {
    try {
      socket.request(NEWQDISC, CREATE | EXCL, encodeIngress(from));
    } catch (error) {
      if (!(error instanceof NetlinkError) || error.errno !== EEXIST) throw error;
      // A machine that was killed in this namespace has left it: its tap is gone.
      deleteIngress(socket, from);
      socket.request(NEWQDISC, CREATE | EXCL, encodeIngress(from));
    }
    socket.request(NEWTFILTER, CREATE | EXCL, encodeRedirect(from, to));
  }
}

/** The device may be gone, with all that was on it. */
function ignoring(action: () => void): void {
  try {
    action();
  } catch (error) {
    const isGone = error instanceof NetlinkError && [ENOENT, EINVAL, 19].includes(error.errno);
    if (!isGone) throw error;
  }
}
