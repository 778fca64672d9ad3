/** Rows that connect the guest to ports of the host. */
import {
  type Argument,
  type CallRow,
  F_SETFL,
  type Row,
  SOCK_CLOEXEC,
  SOCK_NONBLOCK,
  SOCK_STREAM,
} from "../../linux/index.ts";

const AF_VSOCK = 40;
/** linux/vm_sockets.h; struct timeval. */
const SO_VM_SOCKETS_CONNECT_TIMEOUT = 6;
const CONNECT_SECONDS = 60n;

export interface Call {
  /** sockaddr for connect(2). */
  readonly address: Uint8Array;
  /** Result under which the connection is kept. */
  readonly as: string;
}

export function dial(family: number, { address, as }: Call): readonly Row[] {
  return [...openSocket(family, as, 0), connect(address, as)];
}

/**
 * Several connections: all calls are made before the first answer is waited for, since each answer
 * takes the host's device thread. connect(2): a second call waits for what the first one began.
 */
export function dialAll(family: number, calls: readonly Call[]): readonly Row[] {
  return [
    ...calls.flatMap(({ address, as }): readonly Row[] => [
      ...openSocket(family, as, SOCK_NONBLOCK),
      // EAGAIN: a Unix socket's backlog is full.
      { ...connect(address, as), as: `${as}-called`, ignore: ["EINPROGRESS", "EAGAIN"] },
    ]),
    ...calls.flatMap(({ address, as }): readonly Row[] => [
      { call: "fcntl", args: [{ result: as }, F_SETFL, 0], note: "wait from here on" },
      // A Unix socket is connected at once, and who answered may have taken its name away since.
      { jump: `${as}-connected`, if: [{ result: `${as}-called` }, "==", 0] },
      { ...connect(address, as), ignore: ["EISCONN"] },
      { label: `${as}-connected` },
    ]),
  ];
}

/** A vsock gives up after two seconds unless told otherwise: a busy host's monitor may take longer. */
function openSocket(family: number, as: string, flags: number): readonly Row[] {
  const timeout = new Uint8Array(16);
  new DataView(timeout.buffer).setBigUint64(0, CONNECT_SECONDS, true);
  const option = [AF_VSOCK, SO_VM_SOCKETS_CONNECT_TIMEOUT];
  const socket: Argument = { result: as };
  return [
    { call: "socket", args: [family, SOCK_STREAM | SOCK_CLOEXEC | flags, 0], as },
    {
      call: "setsockopt",
      args: [socket, ...option, timeout, timeout.length],
      // A socket of another family, as in tests, has no such option and no such limit.
      ignore: ["EOPNOTSUPP", "ENOPROTOOPT"],
    },
  ];
}

function connect(address: Uint8Array, as: string): CallRow {
  return {
    call: "connect",
    args: [{ result: as }, address, address.length],
    note: "dial the host",
  };
}
