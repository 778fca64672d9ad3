/** Rows that connect the guest to a port of the host. */
import { type Row, SOCK_CLOEXEC, SOCK_STREAM } from "../../linux/index.ts";

const AF_VSOCK = 40;
/** linux/vm_sockets.h; struct timeval. */
const SO_VM_SOCKETS_CONNECT_TIMEOUT = 6;
const CONNECT_SECONDS = 60n;

/**
 * A connection, kept as result `as`. A vsock gives up after two seconds unless told otherwise: on a
 * busy host the monitor's turn may come later.
 */
export function dial(family: number, address: Uint8Array, as: string): readonly Row[] {
  const timeout = new Uint8Array(16);
  new DataView(timeout.buffer).setBigUint64(0, CONNECT_SECONDS, true);
  const socket = { result: as };
  return [
    { call: "socket", args: [family, SOCK_STREAM | SOCK_CLOEXEC, 0], as },
    {
      call: "setsockopt",
      args: [socket, AF_VSOCK, SO_VM_SOCKETS_CONNECT_TIMEOUT, timeout, timeout.length],
      // A socket of another family, as in tests, has no such option and no such limit.
      ignore: ["EOPNOTSUPP", "ENOPROTOOPT"],
    },
    { call: "connect", args: [socket, address, address.length], note: "dial the host" },
  ];
}
