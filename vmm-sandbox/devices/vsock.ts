/**
 * virtio-vsock: stream connections between the guest and this process. VIRTIO 1.2 §5.10.
 *
 * The host side is web streams: `listen` for what the guest dials, `connect` to dial the guest.
 * What the guest can make us keep is bounded: connections, bytes per connection (credit), packets
 * that wait for receive buffers; at the last limit its transmit queue is left alone until it
 * offers buffers.
 */
import { gather, scatter } from "./chain-bytes.ts";
import { type Call, HeldCall } from "./held-call.ts";
import { type Driver, deviceTypes, type VirtioDevice } from "./virtio-device.ts";
import type { DescriptorChain, Virtqueue } from "./virtqueue.ts";
import { BUFFER_BYTES, VsockConnection, VsockError } from "./vsock-connection.ts";
import {
  decodeHeader,
  encodeHeader,
  HEADER_BYTES,
  HOST_CID,
  operations,
  type Packet,
  STREAM,
} from "./vsock-packet.ts";

export type VsockListener = (connection: VsockConnection) => void;

const [RECEIVE, TRANSMIT, EVENT] = [0, 1, 2];
/** Linux sends at most this much in a packet. */
const MAX_PACKET_BYTES = 64 * 1024;
const MAX_CONNECTIONS = 1024;
const MAX_WAITING_CONTROL = 512;
const TRANSPORT_RESET = Uint8Array.of(0, 0, 0, 0);
const FIRST_HOST_PORT = 0x4000_0000;

interface Dialling {
  readonly resolve: (connection: VsockConnection) => void;
  readonly reject: (error: VsockError) => void;
}

interface VsockState {
  /** Connections were open: they do not survive. */
  readonly open: boolean;
  readonly held?: Call;
}

type Control = Pick<Packet, "operation" | "flags"> & {
  readonly hostPort: number;
  readonly guestPort: number;
  readonly connection?: VsockConnection;
};

export class Vsock implements VirtioDevice {
  readonly name = "vsock";
  readonly type = deviceTypes.vsock;
  readonly features = 0n;
  readonly queueSizes = [128, 128, 64];
  readonly config = new Uint8Array(8);
  /** Packets that made no sense. */
  refused = 0;
  readonly #guestCid: bigint;
  readonly #listeners = new Map<number, VsockListener>();
  readonly #connections = new Map<string, VsockConnection>();
  readonly #dialling = new Map<string, Dialling>();
  readonly #control: Control[] = [];
  #driver: Driver | undefined = undefined;
  #nextHostPort = FIRST_HOST_PORT;
  #resetPending = false;
  /** A port whose next caller waits for `release`, and that caller when it has come. */
  #held: HeldCall | undefined = undefined;
  #quiet: (() => void) | undefined = undefined;

  /** CIDs 0 to 2 are taken (§5.10.4). */
  constructor(guestCid = 3) {
    if (!Number.isInteger(guestCid) || guestCid < 3 || guestCid >= 2 ** 32 - 1) {
      throw new RangeError(`Cannot give the guest CID ${guestCid}: expected 3 to 4294967294`);
    }
    this.#guestCid = BigInt(guestCid);
    new DataView(this.config.buffer).setBigUint64(0, this.#guestCid, true);
  }

  /** Takes the connections that the guest makes to this port. */
  listen(port: number, listener: VsockListener): Disposable {
    if (this.#listeners.has(port))
      throw new RangeError(`Cannot listen on vsock port ${port}: it is taken`);
    this.#listeners.set(port, listener);
    return { [Symbol.dispose]: () => void this.#listeners.delete(port) };
  }

  /**
   * Leaves a call to this port unanswered until `release`: the next one, or one after `others`.
   * Resolves when it has come.
   */
  hold(port: number, others = 0): Promise<void> {
    return new Promise((come) => {
      this.#held = new HeldCall(port, others, come);
    });
  }

  /** Resolves when no connection is left and nothing waits to be said. */
  whenQuiet(): Promise<void> {
    if (!this.hasConnections) return Promise.resolve();
    return new Promise((resolve) => {
      this.#quiet = resolve;
    });
  }

  get hasConnections(): boolean {
    return this.#connections.size + this.#dialling.size + this.#control.length > 0;
  }

  /** Answers the call that was held, also one that was saved with the machine. */
  release(): void {
    const call = this.#held?.call;
    this.#held = undefined;
    if (call !== undefined) this.#driver?.guard(() => this.#accept(call));
  }

  /** Rejects with VsockError when nobody listens there. */
  connect(guestPort: number): Promise<VsockConnection> {
    const hostPort = this.#nextHostPort++;
    return new Promise((resolve, reject) => {
      this.#dialling.set(key(hostPort, guestPort), { resolve, reject });
      this.#post({ operation: operations.REQUEST, flags: 0, hostPort, guestPort });
    });
  }

  activate(driver: Driver): void {
    this.#driver = driver;
  }

  reset(): void {
    this.#driver = undefined;
    this.#control.length = 0;
    this.#endAll("The guest reset its vsock device");
  }

  notify(queue: number): void {
    if (queue === TRANSMIT) this.#transmit();
    else if (queue === RECEIVE) {
      this.#flush();
      // There may be room for answers again.
      this.#transmit();
    } else if (queue === EVENT && this.#resetPending) this.#sendEvent();
  }

  /** Connections do not survive; the guest is told by an event when it goes on. §5.10.6.7 */
  save(): VsockState {
    const call = this.#held?.call;
    const open = this.hasConnections;
    return { open, ...(call === undefined ? {} : { held: call }) };
  }

  restore(state: unknown): void {
    // SAFE: `save` made it.
    const { open, held: call } = state as VsockState;
    this.#resetPending = open;
    if (call !== undefined) this.#held = HeldCall.of(call);
  }

  /** Everything the guest sent: one packet a chain. */
  #transmit(): void {
    this.#driver?.queues[TRANSMIT]?.poll((chain) => {
      if (this.#control.length >= MAX_WAITING_CONTROL) return false;
      this.#receive(chain);
      this.#driver?.queues[TRANSMIT]?.push(chain, 0);
      return true;
    });
    this.#flush();
  }

  #receive(chain: DescriptorChain): void {
    const memory = this.#driver?.memory;
    if (memory === undefined || chain.readableBytes < HEADER_BYTES) {
      this.refused++;
      return;
    }
    const packet = decodeHeader(gather(memory, chain.readable, HEADER_BYTES));
    const foreign = packet.srcCid !== this.#guestCid || packet.dstCid !== BigInt(HOST_CID);
    const room = Math.min(MAX_PACKET_BYTES, chain.readableBytes - HEADER_BYTES);
    if (foreign || packet.type !== STREAM || packet.length > room) {
      this.refused++;
      if (!foreign && packet.operation !== operations.RST) this.#refuse(packet);
      return;
    }
    const data = gather(memory, chain.readable, packet.length, HEADER_BYTES);
    this.#dispatch(packet, data);
  }

  #dispatch(packet: Packet, data: Uint8Array): void {
    const id = key(packet.dstPort, packet.srcPort);
    if (packet.operation === operations.REQUEST) {
      if (this.#held?.take(packet) !== true) this.#accept(packet);
      return;
    }
    if (this.#dialling.has(id)) {
      this.#dialled(id, packet);
      return;
    }
    const connection = this.#connections.get(id);
    if (connection === undefined) {
      if (packet.operation !== operations.RST) this.#refuse(packet);
      return;
    }
    connection.updateCredit(packet.bufAlloc, packet.fwdCnt);
    this.#obey(connection, packet, data);
  }

  #obey(connection: VsockConnection, packet: Packet, data: Uint8Array): void {
    switch (packet.operation) {
      case operations.RW:
        if (!connection.receive(data))
          this.#abort(connection, "The guest sent more than it was granted");
        break;
      case operations.CREDIT_UPDATE:
        break;
      case operations.CREDIT_REQUEST:
        this.control(connection, operations.CREDIT_UPDATE);
        break;
      case operations.SHUTDOWN:
        if (connection.shutDown(packet.flags)) {
          this.#refuse(packet); // §5.10.6.5: a clean end is confirmed by RST
          this.forget(connection);
          connection.end();
        }
        break;
      case operations.RST:
        this.forget(connection);
        connection.end(new VsockError("The guest reset the connection"));
        break;
      default:
        this.#abort(connection, `The guest sent operation ${packet.operation}`);
    }
  }

  #accept(packet: Call): void {
    const listener = this.#listeners.get(packet.dstPort);
    const id = key(packet.dstPort, packet.srcPort);
    const full = this.#connections.size >= MAX_CONNECTIONS;
    if (listener === undefined || full || this.#connections.has(id)) {
      this.#refuse(packet);
      return;
    }
    const connection = this.#open(packet.dstPort, packet.srcPort);
    connection.updateCredit(packet.bufAlloc, packet.fwdCnt);
    this.control(connection, operations.RESPONSE);
    listener(connection);
  }

  #dialled(id: string, packet: Packet): void {
    const dialling = this.#dialling.get(id);
    this.#dialling.delete(id);
    if (packet.operation !== operations.RESPONSE) {
      if (packet.operation !== operations.RST) this.#refuse(packet);
      dialling?.reject(
        new VsockError(
          `Cannot connect to port ${packet.srcPort} of the guest: nobody listens there`,
        ),
      );
      return;
    }
    const connection = this.#open(packet.dstPort, packet.srcPort);
    connection.updateCredit(packet.bufAlloc, packet.fwdCnt);
    dialling?.resolve(connection);
  }

  #open(hostPort: number, guestPort: number): VsockConnection {
    const connection = new VsockConnection(hostPort, guestPort, this);
    this.#connections.set(key(hostPort, guestPort), connection);
    return connection;
  }

  /** ConnectionPort. */
  control(connection: VsockConnection, operation: number, flags = 0): void {
    const { hostPort, guestPort } = connection;
    this.#post({ operation, flags, hostPort, guestPort, connection });
  }

  /** ConnectionPort. */
  ready(): void {
    this.#driver?.guard(() => this.#flush());
  }

  /** ConnectionPort. */
  forget(connection: VsockConnection): void {
    this.#connections.delete(key(connection.hostPort, connection.guestPort));
  }

  #abort(connection: VsockConnection, why: string): void {
    this.control(connection, operations.RST);
    this.forget(connection);
    connection.end(new VsockError(why));
  }

  #refuse(packet: Pick<Packet, "dstPort" | "srcPort">): void {
    this.#post({
      operation: operations.RST,
      flags: 0,
      hostPort: packet.dstPort,
      guestPort: packet.srcPort,
    });
  }

  #post(control: Control): void {
    this.#control.push(control);
    this.ready();
  }

  /** Fills the guest's receive buffers: answers first, then a packet of each connection in turn. */
  #flush(): void {
    const driver = this.#driver;
    const queue = driver?.queues[RECEIVE];
    if (driver === undefined || queue === undefined) return;
    // A shutdown must not overtake data of its connection.
    for (;;) {
      const control = this.#control[0];
      if (control !== undefined && !this.#waitsForData(control)) {
        if (!this.#send(driver, queue, control, undefined)) break;
        this.#control.shift();
        continue;
      }
      const sender = this.#nextSender();
      if (sender === undefined || !this.#send(driver, queue, rw(sender), sender)) break;
      // To the end of the line.
      const id = key(sender.hostPort, sender.guestPort);
      if (this.#connections.delete(id)) this.#connections.set(id, sender);
    }
    queue.signal();
    if (!this.hasConnections) this.#quiet?.();
  }

  /** The connection that has waited longest of those that may send. */
  #nextSender(): VsockConnection | undefined {
    for (const connection of this.#connections.values()) {
      if (connection.sendable() > 0) return connection;
    }
    return undefined;
  }

  #waitsForData(control: Control): boolean {
    return control.operation === operations.SHUTDOWN && (control.connection?.sendable() ?? 0) > 0;
  }

  /** False when the guest offers no buffer. */
  #send(
    driver: Driver,
    queue: Virtqueue,
    control: Control,
    sender: VsockConnection | undefined,
  ): boolean {
    const chain = queue.pop();
    if (chain === undefined) return false;
    const room = Math.min(MAX_PACKET_BYTES, chain.writableBytes - HEADER_BYTES);
    if (room < 0) {
      queue.push(chain, 0);
      return true;
    }
    const data = sender?.take(room) ?? new Uint8Array(0);
    const header = encodeHeader({
      srcCid: BigInt(HOST_CID),
      dstCid: this.#guestCid,
      srcPort: control.hostPort,
      dstPort: control.guestPort,
      length: data.length,
      type: STREAM,
      operation: control.operation,
      flags: control.flags,
      bufAlloc: BUFFER_BYTES,
      fwdCnt: control.connection?.fwdCnt ?? 0,
    });
    scatter(driver.memory, chain.writable, header);
    scatter(driver.memory, chain.writable, data, HEADER_BYTES);
    queue.push(chain, HEADER_BYTES + data.length);
    return true;
  }

  #sendEvent(): void {
    const queue = this.#driver?.queues[EVENT];
    const chain = queue?.pop();
    if (this.#driver === undefined || queue === undefined || chain === undefined) return;
    this.#resetPending = false;
    queue.push(chain, scatter(this.#driver.memory, chain.writable, TRANSPORT_RESET));
    queue.signal();
  }

  #endAll(why: string): void {
    for (const connection of this.#connections.values()) connection.end(new VsockError(why));
    for (const { reject } of this.#dialling.values()) reject(new VsockError(why));
    this.#connections.clear();
    this.#dialling.clear();
  }
}

function rw(connection: VsockConnection): Control {
  const { hostPort, guestPort } = connection;
  return { operation: operations.RW, flags: 0, hostPort, guestPort, connection };
}

function key(hostPort: number, guestPort: number): string {
  return `${hostPort}:${guestPort}`;
}
