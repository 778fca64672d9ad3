/** The inherited end of a socket pair as a stream: each engine has its own way to it. */
import { connect, Socket } from "node:net";

export function openSocket(fd: number): Socket {
  if (!("Bun" in globalThis)) return new Socket({ fd, readable: true, writable: true });
  // SAFE: Bun's `connect` takes a descriptor that is connected already; its `Socket` does not.
  return connect({ fd } as unknown as { path: string });
}
