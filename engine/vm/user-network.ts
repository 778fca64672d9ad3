/**
 * A network for a machine that needs no privilege: passt(1) turns the guest's frames into sockets of
 * the user who starts it, and nothing outside can begin a connection.
 *
 * ```
 * guest's eth0 ═ monitor ═ socket pair ═ passt ─ sockets of the host
 * ```
 */
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import {
  call,
  encodeAttribute,
  encodeU32,
  type Fd,
  netlinkTypes,
  SO_SNDBUF,
  SOCK_STREAM,
  SOL_SOCKET,
  syscall,
} from "../../linux/index.ts";
import { socketPair } from "../../runtime/index.ts";
import { ContainerError } from "../errors.ts";
import type { DeviceMessage, GuestNetwork } from "./guest-network.ts";

export type UserNetwork = GuestNetwork & Disposable;

/** What QEMU's user network has always used; nobody outside of the machine sees them. */
export const userAddresses = { guest: "10.0.2.15", gateway: "10.0.2.2", dns: "10.0.2.3" } as const;
const PREFIX_BITS = 24;
const GUEST_MAC = [0x02, 0x6d, 0x77, 0, 0, 0x15];
/** passt's own; what crosses is the same in larger pieces. */
const MTU = 65_520;
const PASST = "passt";
const SOCKET = 3;
const PLACES = ["/usr/bin/passt", "/usr/local/bin/passt", "/bin/passt"];

/** Throws ContainerError. To be disposed when the monitor runs; passt ends when the machine does. */
export function openUserNetwork(): UserNetwork {
  if (!PLACES.some((path) => existsSync(path)))
    throw new ContainerError("Cannot use --network passt: there is no passt in /usr/bin", {
      hint: "install the package passt, or use --network none",
    });
  const [ours, theirs] = socketPair(SOCK_STREAM);
  const windowBytes = Math.floor(enlargeBuffer(theirs) / 2);
  const stdio = ["ignore", "ignore", "ignore", theirs.number] as const;
  let child: ChildProcess;
  try {
    // In a session of its own: what a terminal sends to us is not for it.
    child = spawn(PASST, passtFlags, { stdio: [...stdio], detached: true });
  } finally {
    theirs.close();
  }
  child.on("error", () => undefined); // the guest then has a cable with nobody at the other end
  child.unref();
  return {
    devices: [{ kind: "passt", fd: ours.number, mac: GUEST_MAC, mtu: MTU }],
    interfaces: [
      {
        name: "eth0",
        mac: Uint8Array.from(GUEST_MAC),
        mtu: MTU,
        messages: [address(), route(windowBytes)],
      },
    ],
    // Then the monitor has the only end, if it has one, and passt ends when that is closed.
    [Symbol.dispose]: () => ours.close(),
  };
}

/** socket(7): SO_SNDBUF beyond net.core.wmem_max, for root. */
const SO_SNDBUFFORCE = 32;
const WANTED_BUFFER_BYTES = 4 * 1024 * 1024;

/**
 * passt sends all that the guest's TCP window has room for at once; what the socket does not take
 * then is sent again after two seconds. @returns how many bytes fit
 */
function enlargeBuffer(socket: Fd): number {
  const value = new Uint8Array(Int32Array.of(WANTED_BUFFER_BYTES).buffer);
  if (syscall("setsockopt", socket, SOL_SOCKET, SO_SNDBUFFORCE, value, value.length) < 0) {
    call("setsockopt", socket, SOL_SOCKET, SO_SNDBUF, value, value.length);
  }
  const length = new Uint8Array(Int32Array.of(value.length).buffer);
  call("getsockopt", socket, SOL_SOCKET, SO_SNDBUF, value, length);
  return new DataView(value.buffer).getInt32(0, true);
}

const passtFlags: readonly string[] = [
  "--foreground",
  "--quiet",
  "--ipv4-only",
  ...["--fd", String(SOCKET)],
  ...["--address", userAddresses.guest, "--netmask", String(PREFIX_BITS)],
  ...["--gateway", userAddresses.gateway, "--dns-forward", userAddresses.dns],
  ...["--mtu", String(MTU)],
  // The gateway would be the host's loopback address, where services trust whoever reaches them.
  "--no-map-gw",
  ...["--tcp-ports", "none", "--udp-ports", "none"],
];

const AF_INET = 2;
const [IFA_ADDRESS, IFA_LOCAL] = [1, 2];
const [RTA_OIF, RTA_GATEWAY, RTA_METRICS] = [4, 5, 8];
const RTAX_WINDOW = 3;
const [RT_TABLE_MAIN, RTPROT_STATIC, RTN_UNICAST] = [254, 4, 1];

/** struct ifaddrmsg: family, prefix, flags, scope, u32 index. */
function address(): DeviceMessage {
  const head = Uint8Array.of(AF_INET, PREFIX_BITS, 0, 0, 0, 0, 0, 0);
  const own = bytesOf(userAddresses.guest);
  const body = [head, encodeAttribute(IFA_LOCAL, own), encodeAttribute(IFA_ADDRESS, own)];
  return { type: netlinkTypes.NEWADDR, body: Buffer.concat(body), indexOffset: 4 };
}

/** struct rtmsg: family, lengths of destination and source, tos, table, protocol, scope, type, flags. */
function route(windowBytes: number): DeviceMessage {
  const kind = [RT_TABLE_MAIN, RTPROT_STATIC, 0, RTN_UNICAST];
  const head = Uint8Array.of(AF_INET, 0, 0, 0, ...kind, 0, 0, 0, 0);
  const device = encodeAttribute(RTA_OIF, encodeU32(0));
  const gateway = encodeAttribute(RTA_GATEWAY, bytesOf(userAddresses.gateway));
  const window = encodeAttribute(RTAX_WINDOW, encodeU32(windowBytes));
  const body = Buffer.concat([head, device, gateway, encodeAttribute(RTA_METRICS, window)]);
  return { type: netlinkTypes.NEWROUTE, body, indexOffset: head.length + 4 };
}

function bytesOf(text: string): Uint8Array {
  return Uint8Array.from(text.split(".").map(Number));
}
