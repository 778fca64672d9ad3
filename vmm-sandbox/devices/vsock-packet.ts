/**
 * Packets of virtio-vsock. VIRTIO 1.2 §5.10.6.
 *
 * ```
 * src_cid u64  dst_cid u64  src_port u32  dst_port u32  len u32  type u16  op u16
 * flags u32  buf_alloc u32  fwd_cnt u32                                    44 bytes, then the data
 * ```
 */
export const HEADER_BYTES = 44;
export const HOST_CID = 2;
export const STREAM = 1;

export const operations = {
  REQUEST: 1,
  RESPONSE: 2,
  RST: 3,
  SHUTDOWN: 4,
  RW: 5,
  CREDIT_UPDATE: 6,
  CREDIT_REQUEST: 7,
} as const;

/** Flags of SHUTDOWN: the sender of the packet will not receive, or not send, any more. */
export const NO_MORE_RECEIVING = 1;
export const NO_MORE_SENDING = 2;

export interface Packet {
  readonly srcCid: bigint;
  readonly dstCid: bigint;
  readonly srcPort: number;
  readonly dstPort: number;
  readonly length: number;
  readonly type: number;
  readonly operation: number;
  readonly flags: number;
  /** The sender's receive buffer, and how much of what it received is consumed. §5.10.6.3 */
  readonly bufAlloc: number;
  readonly fwdCnt: number;
}

export function decodeHeader(bytes: Uint8Array): Packet {
  const view = new DataView(bytes.buffer, bytes.byteOffset, HEADER_BYTES);
  return {
    srcCid: view.getBigUint64(0, true),
    dstCid: view.getBigUint64(8, true),
    srcPort: view.getUint32(16, true),
    dstPort: view.getUint32(20, true),
    length: view.getUint32(24, true),
    type: view.getUint16(28, true),
    operation: view.getUint16(30, true),
    flags: view.getUint32(32, true),
    bufAlloc: view.getUint32(36, true),
    fwdCnt: view.getUint32(40, true),
  };
}

export function encodeHeader(packet: Packet): Uint8Array {
  const bytes = new Uint8Array(HEADER_BYTES);
  const view = new DataView(bytes.buffer);
  view.setBigUint64(0, packet.srcCid, true);
  view.setBigUint64(8, packet.dstCid, true);
  view.setUint32(16, packet.srcPort, true);
  view.setUint32(20, packet.dstPort, true);
  view.setUint32(24, packet.length, true);
  view.setUint16(28, packet.type, true);
  view.setUint16(30, packet.operation, true);
  view.setUint32(32, packet.flags, true);
  view.setUint32(36, packet.bufAlloc, true);
  view.setUint32(40, packet.fwdCnt, true);
  return bytes;
}
