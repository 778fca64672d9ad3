/**
 * Messages of rtnetlink(7) that redirect what comes in at one device to another: tc-mirred(8).
 *
 * ```
 * struct tcmsg   family u8, 3 bytes, ifindex i32, handle u32, parent u32, info u32
 * u32 filter     TCA_KIND, TCA_OPTIONS { TCA_U32_SEL, TCA_U32_ACT { 1 { kind, options { parameters } } } }
 * ```
 * linux/pkt_sched.h, linux/pkt_cls.h, linux/tc_act/tc_mirred.h.
 */
import { encodeAttribute, netlinkTypes, type RouteSocket } from "../../linux/index.ts";

const TC_H_INGRESS = 0xffff_fff1;
const INGRESS_HANDLE = 0xffff_0000;
const PRIORITY = 1;
/** ETH_P_ALL in network byte order. */
const EVERY_PROTOCOL = 0x0300;
const [TCA_KIND, TCA_OPTIONS] = [1, 2];
const [TCA_U32_SEL, TCA_U32_ACT] = [5, 7];
const [TCA_ACT_KIND, TCA_ACT_OPTIONS, TCA_MIRRED_PARMS] = [1, 2, 2];
const TC_U32_TERMINAL = 1;
const TC_ACT_STOLEN = 4;
const TCA_EGRESS_REDIR = 1;

export function encodeIngress(index: number): readonly Uint8Array[] {
  return [tcMessage(index, INGRESS_HANDLE, TC_H_INGRESS, 0), text(TCA_KIND, "ingress")];
}

export function deleteIngress(socket: RouteSocket, index: number): void {
  socket.request(netlinkTypes.DELQDISC, 0, encodeIngress(index));
}

/** Every frame that comes in at `from` leaves at `to`, and nobody else sees it. */
export function encodeRedirect(from: number, to: number): readonly Uint8Array[] {
  const info = PRIORITY * 0x1_0000 + EVERY_PROTOCOL;
  return [
    tcMessage(from, 0, INGRESS_HANDLE, info),
    text(TCA_KIND, "u32"),
    nested(TCA_OPTIONS, [
      encodeAttribute(TCA_U32_SEL, matchAll()),
      nested(TCA_U32_ACT, [
        nested(1, [
          text(TCA_ACT_KIND, "mirred"),
          nested(TCA_ACT_OPTIONS, [encodeAttribute(TCA_MIRRED_PARMS, mirred(to))]),
        ]),
      ]),
    ]),
  ];
}

function tcMessage(index: number, handle: number, parent: number, info: number): Uint8Array {
  const bytes = new Uint8Array(20);
  const fields = new DataView(bytes.buffer);
  fields.setInt32(4, index, true);
  fields.setUint32(8, handle, true);
  fields.setUint32(12, parent, true);
  fields.setUint32(16, info, true);
  return bytes;
}

/** struct tc_u32_sel with one key whose mask is zero. */
function matchAll(): Uint8Array {
  const bytes = new Uint8Array(16 + 16);
  bytes[0] = TC_U32_TERMINAL;
  bytes[2] = 1; // nkeys
  return bytes;
}

/** struct tc_mirred: index, capab, action, refcnt, bindcnt, eaction, ifindex. */
function mirred(to: number): Uint8Array {
  return new Uint8Array(Uint32Array.of(0, 0, TC_ACT_STOLEN, 0, 0, TCA_EGRESS_REDIR, to).buffer);
}

function text(kind: number, value: string): Uint8Array {
  return encodeAttribute(kind, Buffer.from(`${value}\0`));
}

function nested(kind: number, parts: readonly Uint8Array[]): Uint8Array {
  return encodeAttribute(kind, Buffer.concat(parts));
}
