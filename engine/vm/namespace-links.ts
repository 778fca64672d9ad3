/** What a network namespace holds, by rtnetlink(7): its devices, and what makes them again elsewhere. */
import {
  encodeAttribute,
  encodeU32,
  linkMessage,
  type NetlinkAttribute,
  netlinkFlags,
  netlinkTypes,
  parseAttributes,
  type RouteSocket,
} from "../../linux/index.ts";
import type { DeviceMessage } from "./guest-network.ts";

export interface HostLink {
  readonly index: number;
  readonly name: string;
  readonly mac: Uint8Array;
  readonly mtu: number;
  /** It is up and the end of a cable that a machine can have. */
  readonly carriesEthernet: boolean;
}

const ARPHRD_ETHER = 1;
const [IFF_UP, IFF_LOOPBACK] = [1, 8];
const [IFLA_ADDRESS, IFLA_IFNAME, IFLA_MTU, IFLA_LINKINFO] = [1, 3, 4, 18];
const IFLA_INFO_KIND = 1;
/**
 * Kinds of devices that are a cable's end; a physical one has no kind, and "tun" with Ethernet's frames is
 * the tap of an ordinary user's slirp4netns or pasta.
 */
const cables = new Set(["", "veth", "macvlan", "ipvlan", "vlan", "tun"]);
const [LINK_BYTES, ADDRESS_BYTES, ROUTE_BYTES, NEIGHBOUR_BYTES] = [16, 8, 12, 12];
const ETHERNET_MTU = 1500;

export function listLinks(socket: RouteSocket): readonly HostLink[] {
  const all = socket.request(netlinkTypes.GETLINK, netlinkFlags.DUMP, [linkMessage(0, 0, 0)]);
  return all.map(({ body }) => {
    const fields = view(body);
    const attributes = parseAttributes(body, LINK_BYTES);
    const flags = fields.getUint32(8, true);
    const info = parseAttributes(dataOf(attributes, IFLA_LINKINFO), 0);
    const isCable =
      fields.getUint16(2, true) === ARPHRD_ETHER && cables.has(textOf(info, IFLA_INFO_KIND));
    return {
      index: fields.getInt32(4, true),
      name: textOf(attributes, IFLA_IFNAME),
      mac: dataOf(attributes, IFLA_ADDRESS),
      mtu: u32Of(attributes, IFLA_MTU) ?? ETHERNET_MTU,
      carriesEthernet: isCable && (flags & IFF_UP) !== 0 && (flags & IFF_LOOPBACK) === 0,
    };
  });
}

/** Addresses, routes without a gateway, those with one, neighbours: each needs what comes before. */
export function messagesOf(socket: RouteSocket, index: number): readonly DeviceMessage[] {
  return [
    ...addressesOf(socket, index),
    ...routesOf(socket, index),
    ...neighboursOf(socket, index),
  ];
}

const AF_INET6 = 10;
const [IFA_ADDRESS, IFA_LOCAL, IFA_BROADCAST] = [1, 2, 4];
const [IFA_F_NODAD, IFA_F_PERMANENT] = [0x02, 0x80];
const RT_SCOPE_LINK = 253;

function addressesOf(socket: RouteSocket, index: number): readonly DeviceMessage[] {
  const { GETADDR, NEWADDR } = netlinkTypes;
  return dump(socket, GETADDR, ADDRESS_BYTES).flatMap((body) => {
    const [family = 0, , flags = 0, scope = 0] = body;
    const isOwn = view(body).getUint32(4, true) === index && (flags & IFA_F_PERMANENT) !== 0;
    // Every IPv6 device makes its own link-local address.
    if (!isOwn || (family === AF_INET6 && scope === RT_SCOPE_LINK)) return [];
    const head = body.slice(0, ADDRESS_BYTES);
    // The engine has made sure that nobody else has it.
    head[2] = family === AF_INET6 ? IFA_F_NODAD : 0;
    const kept = keep(body, ADDRESS_BYTES, [IFA_ADDRESS, IFA_LOCAL, IFA_BROADCAST]);
    return [{ type: NEWADDR, body: Buffer.concat([head, ...kept]), indexOffset: 4 }];
  });
}

const [RT_TABLE_MAIN, RTPROT_KERNEL, RTN_UNICAST] = [254, 2, 1];
const [RTA_DST, RTA_OIF, RTA_GATEWAY, RTA_PRIORITY, RTA_PREFSRC, RTA_METRICS] = [1, 4, 5, 6, 7, 8];

/** Those that the kernel makes for an address, it makes in the guest as well. */
function routesOf(socket: RouteSocket, index: number): readonly DeviceMessage[] {
  const { GETROUTE, NEWROUTE } = netlinkTypes;
  const messages = dump(socket, GETROUTE, ROUTE_BYTES).flatMap((body) => {
    const [, , , , table, protocol, , type] = body;
    const attributes = parseAttributes(body, ROUTE_BYTES);
    const isOwn = u32Of(attributes, RTA_OIF) === index && table === RT_TABLE_MAIN;
    if (!isOwn || protocol === RTPROT_KERNEL || type !== RTN_UNICAST) return [];
    const head = body.slice(0, ROUTE_BYTES);
    // rtm_flags: whether its gateway answers is the guest's to find out; "onlink" is ours to say.
    view(head).setUint32(8, view(head).getUint32(8, true) & RTNH_F_ONLINK, true);
    const device = encodeAttribute(RTA_OIF, encodeU32(0));
    const kept = keep(body, ROUTE_BYTES, [
      RTA_DST,
      RTA_GATEWAY,
      RTA_PRIORITY,
      RTA_PREFSRC,
      RTA_METRICS,
    ]);
    const hasGateway = attributes.some(({ kind }) => kind === RTA_GATEWAY);
    const own = Buffer.concat([head, device, ...kept]);
    return [{ hasGateway, type: NEWROUTE, body: own, indexOffset: ROUTE_BYTES + 4 }];
  });
  return messages.sort((a, b) => Number(a.hasGateway) - Number(b.hasGateway));
}

const RTNH_F_ONLINK = 4;
const NUD_PERMANENT = 0x80;
const [NDA_DST, NDA_LLADDR] = [1, 2];

/** Some networks have gateways that nobody could find by asking. */
function neighboursOf(socket: RouteSocket, index: number): readonly DeviceMessage[] {
  const { GETNEIGH, NEWNEIGH } = netlinkTypes;
  return dump(socket, GETNEIGH, NEIGHBOUR_BYTES).flatMap((body) => {
    const fields = view(body);
    const isOwn = fields.getInt32(4, true) === index;
    if (!isOwn || (fields.getUint16(8, true) & NUD_PERMANENT) === 0) return [];
    const kept = keep(body, NEIGHBOUR_BYTES, [NDA_DST, NDA_LLADDR]);
    const own = Buffer.concat([body.slice(0, NEIGHBOUR_BYTES), ...kept]);
    return [{ type: NEWNEIGH, body: own, indexOffset: 4 }];
  });
}

function dump(socket: RouteSocket, type: number, headBytes: number): readonly Uint8Array[] {
  const answers = socket.request(type, netlinkFlags.DUMP, [new Uint8Array(headBytes)]);
  return answers.map(({ body }) => body);
}

function keep(body: Uint8Array, offset: number, kinds: readonly number[]): readonly Uint8Array[] {
  return parseAttributes(body, offset)
    .filter(({ kind }) => kinds.includes(kind))
    .map(({ kind, data }) => encodeAttribute(kind, data));
}

function dataOf(attributes: readonly NetlinkAttribute[], kind: number): Uint8Array {
  return attributes.find((attribute) => attribute.kind === kind)?.data ?? new Uint8Array(0);
}

function textOf(attributes: readonly NetlinkAttribute[], kind: number): string {
  return Buffer.from(dataOf(attributes, kind)).toString().replace(/\0.*$/s, "");
}

function u32Of(attributes: readonly NetlinkAttribute[], kind: number): number | undefined {
  const data = dataOf(attributes, kind);
  return data.length === 4 ? view(data).getUint32(0, true) : undefined;
}

function view(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
