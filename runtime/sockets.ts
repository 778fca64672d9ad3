/** Unix sockets of the runtime: pairs, the start socket, and descriptors sent over them. */
import {
  AF_UNIX,
  AT_FDCWD,
  addressOf,
  call,
  encodeUtf8,
  Fd,
  iovec,
  MSG_CMSG_CLOEXEC,
  MSG_NOSIGNAL,
  msghdr,
  O_CLOEXEC,
  O_DIRECTORY,
  O_PATH,
  SCM_RIGHTS,
  SOCK_CLOEXEC,
  SOCK_SEQPACKET,
  SOCK_STREAM,
  SOL_SOCKET,
  sockaddr_un,
  utf8Length,
} from "../linux/index.ts";

const pathOffset = 2;
const pathLimit = 107;
const backlog = 8;

export function socketPair(type = SOCK_SEQPACKET): readonly [ours: Fd, theirs: Fd] {
  const pair = new Int32Array(2);
  call("socketpair", AF_UNIX, type | SOCK_CLOEXEC, 0, new Uint8Array(pair.buffer));
  const [ours = -1, theirs = -1] = pair;
  return [Fd.take(ours), Fd.take(theirs)];
}

export function listenAt(path: string): Fd {
  const socket = Fd.from("socket", AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  withAddress(path, (address, length) => call("bind", socket, address, length));
  call("listen", socket, backlog);
  return socket;
}

export function connectTo(path: string, type: number = SOCK_STREAM): Fd {
  const socket = Fd.from("socket", AF_UNIX, type | SOCK_CLOEXEC, 0);
  try {
    withAddress(path, (address, length) => call("connect", socket, address, length));
  } catch (error) {
    socket.close();
    throw error;
  }
  return socket;
}

/** unix(7): paths of more than 107 bytes go through a descriptor of their directory. */
function withAddress(path: string, use: (address: Uint8Array, length: number) => void): void {
  if (utf8Length(path) <= pathLimit) {
    use(...encodeAddress(path));
    return;
  }
  const slash = path.lastIndexOf("/");
  using directory = Fd.from(
    "openat",
    AT_FDCWD,
    path.slice(0, slash),
    O_PATH | O_DIRECTORY | O_CLOEXEC,
  );
  use(...encodeAddress(`/proc/self/fd/${directory.number}/${path.slice(slash + 1)}`));
}

/** struct sockaddr_un as long as the path in it; undefined when the path is too long for one. */
export function socketAddress(path: string): Uint8Array | undefined {
  if (utf8Length(path) > pathLimit) return undefined;
  const [address, length] = encodeAddress(path);
  return address.subarray(0, length);
}

function encodeAddress(path: string): [address: Uint8Array, length: number] {
  const bytes = encodeUtf8(path);
  const address = sockaddr_un.encode({ sun_family: AF_UNIX, sun_path: bytes });
  return [address, pathOffset + bytes.length + 1];
}

const controlSize = 24;
const controlLength = 20;
const dataLimit = 4096;

/** Sends one descriptor with a text beside it. */
export function sendDescriptor(socket: Fd, descriptor: Fd, text: string): void {
  const data = encodeUtf8(text);
  const control = new Uint8Array(controlSize);
  const fields = new DataView(control.buffer);
  fields.setBigUint64(0, BigInt(controlLength), true);
  fields.setInt32(8, SOL_SOCKET, true);
  fields.setInt32(12, SCM_RIGHTS, true);
  fields.setInt32(16, descriptor.number, true);
  const vector = iovec.encode({ iov_base: addressOf(data), iov_len: data.length });
  const header = msghdr.encode({
    msg_iov: addressOf(vector),
    msg_iovlen: 1,
    msg_control: addressOf(control),
    msg_controllen: control.length,
  });
  call("sendmsg", socket, header, MSG_NOSIGNAL);
}

/** Receives one descriptor (SCM_RIGHTS); throws when the other side went away without one. */
export function receiveDescriptor(socket: Fd): Fd {
  const data = new Uint8Array(dataLimit);
  const control = new Uint8Array(controlSize);
  const vector = iovec.encode({ iov_base: addressOf(data), iov_len: data.length });
  const header = msghdr.encode({
    msg_iov: addressOf(vector),
    msg_iovlen: 1,
    msg_control: addressOf(control),
    msg_controllen: control.length,
  });
  call("recvmsg", socket, header, MSG_CMSG_CLOEXEC);
  const view = new DataView(control.buffer);
  if (view.getUint32(0, true) !== controlLength)
    throw new Error("Expected a descriptor on the socket, got none: the other side has gone");
  return Fd.take(view.getInt32(16, true));
}
