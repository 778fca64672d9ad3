/**
 * The guest's end of a network: rows that give its devices names, addresses and routes, by
 * rtnetlink(7). Messages are the host's own (namespace-network.ts), with the guest's devices in them.
 */
import {
  AF_NETLINK,
  encodeAttribute,
  encodeNetlink,
  encodeU32,
  errnoName,
  linkMessage,
  NETLINK_ROUTE,
  netlinkFlags,
  netlinkTypes,
  type Program,
  type Row,
  SOCK_CLOEXEC,
  SOCK_RAW,
} from "../../linux/index.ts";
import type { MonitorNet } from "../../vmm-sandbox/index.ts";

/** A message about a device, whose number goes in at `indexOffset` of the body. */
export interface DeviceMessage {
  readonly type: number;
  readonly body: Uint8Array;
  readonly indexOffset: number;
}

export interface GuestInterface {
  /** As the container shall see it. */
  readonly name: string;
  readonly mac: Uint8Array;
  readonly mtu: number;
  /** Addresses, then routes and neighbours, in the order in which they can be made. */
  readonly messages: readonly DeviceMessage[];
}

export interface GuestNetwork {
  /** Descriptors for the monitor, in the order of `interfaces`. */
  readonly devices: readonly MonitorNet[];
  readonly interfaces: readonly GuestInterface[];
  /** Lets frames pass, when the guest has booted; what has none passes them from the beginning. */
  readonly plug?: () => void;
}

const LOOPBACK = 1;
/** A guest's devices are numbered as the monitor lists them, behind its loopback device. */
const FIRST_DEVICE = 2;
const IFF_UP = 1;
const [IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU] = [1, 3, 4];
const ANSWER_BYTES = 4096;
/** struct nlmsgerr follows the header: the error, negative. */
const ERROR_OFFSET = 16;
/** The program ends with the place of a request that was refused, and its errno, as one number. */
const ERRNO_LIMIT = 4096;

export interface GuestNetworkPlan {
  /** For PID 1 of the guest. */
  readonly program: Program;
  /** What a value that the program ended with means; undefined for success. */
  readonly explain: (value: number) => string | undefined;
}

export function planGuestNetwork(interfaces: readonly GuestInterface[]): GuestNetworkPlan {
  const requests = listRequests(interfaces);
  return {
    program: {
      rows: [
        {
          call: "socket",
          args: [AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE],
          as: "netlink",
        },
        ...requests.flatMap(send),
        { call: "close", args: [{ result: "netlink" }] },
        { end: 0 },
      ],
      buffers: { answer: ANSWER_BYTES },
    },
    explain(value) {
      if (value === 0) return undefined;
      const at = Math.floor(value / ERRNO_LIMIT);
      return `${requests[at - 1]?.what}: ${errnoName(at * ERRNO_LIMIT + ERRNO_LIMIT - value)}`;
    },
  };
}

function listRequests(interfaces: readonly GuestInterface[]): readonly Request[] {
  return [
    request(netlinkTypes.SETLINK, "start the loopback device", [
      linkMessage(LOOPBACK, IFF_UP, IFF_UP),
    ]),
    // First names that nobody wants, because one may want what another still has.
    ...interfaces.map((_, at) => rename(at, `manyworlds${at}`)),
    ...interfaces.map(({ name }, at) => rename(at, name)),
    ...interfaces.flatMap(({ name, mac, mtu, messages }, at) => [
      request(netlinkTypes.SETLINK, `give ${name} its MAC address`, [
        linkMessage(FIRST_DEVICE + at, 0, 0),
        encodeAttribute(IFLA_ADDRESS, mac),
      ]),
      request(netlinkTypes.SETLINK, `start ${name}`, [
        linkMessage(FIRST_DEVICE + at, IFF_UP, IFF_UP),
        encodeAttribute(IFLA_MTU, encodeU32(mtu)),
      ]),
      ...messages.map((message) => about(message, name, FIRST_DEVICE + at)),
    ]),
  ];
}

interface Request {
  readonly bytes: Uint8Array;
  readonly what: string;
}

function request(type: number, what: string, parts: readonly Uint8Array[]): Request {
  const { CREATE, REPLACE } = netlinkFlags;
  const isNew = type !== netlinkTypes.SETLINK;
  return { bytes: encodeNetlink(type, isNew ? CREATE | REPLACE : 0, 1, parts), what };
}

function rename(at: number, name: string): Request {
  return request(netlinkTypes.SETLINK, `name the device "${name}"`, [
    linkMessage(FIRST_DEVICE + at, 0, 0),
    encodeAttribute(IFLA_IFNAME, Buffer.from(`${name}\0`)),
  ]);
}

function about({ type, body, indexOffset }: DeviceMessage, name: string, index: number): Request {
  const own = body.slice();
  new DataView(own.buffer).setUint32(indexOffset, index, true);
  const what = type === netlinkTypes.NEWADDR ? "an address" : "a route";
  return request(type, `give ${name} ${what}`, [own]);
}

/** A refusal is an errno in the answer, with which the program ends. */
function send({ bytes, what }: Request, at: number): readonly Row[] {
  const netlink = { result: "netlink" } as const;
  const done = `done${at}`;
  return [
    { call: "sendto", args: [netlink, bytes, bytes.length, 0, 0, 0], note: what },
    { call: "recvfrom", args: [netlink, { buffer: "answer" }, ANSWER_BYTES, 0, 0, 0], note: what },
    {
      jump: done,
      if: [{ load: "answer", offset: ERROR_OFFSET, width: 4 }, "==", 0],
    },
    {
      compute: [{ load: "answer", offset: ERROR_OFFSET, width: 4 }, "+", (at + 2) * ERRNO_LIMIT],
      as: `refused${at}`,
    },
    { end: { result: `refused${at}` } },
    { label: done },
  ];
}
