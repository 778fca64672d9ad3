/** Two ends of a stream, as descriptors: one for us, one for a thread or a process. */
import { AF_UNIX, call, Fd, SOCK_CLOEXEC, SOCK_STREAM } from "../../linux/index.ts";

/** socketpair(2) */
export function socketPair(): readonly [Fd, Fd] {
  const pair = new Int32Array(2);
  call("socketpair", AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, new Uint8Array(pair.buffer));
  const [ours = -1, theirs = -1] = pair;
  return [Fd.take(ours), Fd.take(theirs)];
}
