/** The host's end of a guest's connections, on the machine's own vsock device. */
import type { Vsock } from "./devices/index.ts";
import type { Connection, HostPorts, PendingConnection } from "./guest/index.ts";

const AF_VSOCK = 40;
const HOST_CID = 2;
/** The agent dials it when the guest has booted. */
export const CONTROL_PORT = 1024;
/** Ports that nobody names are handed out from here. */
export const FIRST_PORT = 0x1_0000;

export function vsockPorts(vsock: Vsock): HostPorts {
  let nextPort = FIRST_PORT;
  return {
    family: AF_VSOCK,
    address: vsockAddress,
    accept: () => acceptOne(vsock, nextPort++),
  };
}

/** Takes the first connection that the guest makes to this port. */
export function acceptOne(vsock: Vsock, port: number): PendingConnection {
  const { promise, resolve } = deferred<Connection>();
  const listening = vsock.listen(port, (connection) => {
    listening[Symbol.dispose]();
    resolve(connection);
  });
  return { port, connection: promise, [Symbol.dispose]: () => listening[Symbol.dispose]() };
}

/** struct sockaddr_vm, linux/vm_sockets.h: family u16, reserved u16, port u32, cid u32, 4 zeros. */
export function vsockAddress(port: number): Uint8Array {
  const bytes = new Uint8Array(16);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, AF_VSOCK, true);
  view.setUint32(4, port, true);
  view.setUint32(8, HOST_CID, true);
  return bytes;
}

function deferred<T>(): { readonly promise: Promise<T>; readonly resolve: (value: T) => void } {
  let resolve: (value: T) => void = () => {};
  const promise = new Promise<T>((settle) => {
    resolve = settle;
  });
  return { promise, resolve };
}
