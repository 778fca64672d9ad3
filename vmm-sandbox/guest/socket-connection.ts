/**
 * A Node socket as a pair of web streams. (Node 20's Duplex.toWeb ends the readable side only when
 * the writable one has ended as well, so half-closed connections would never end.)
 */
import type { Socket } from "node:net";
import type { Connection } from "./remote-kernel.ts";

/** The socket must be made with `allowHalfOpen`; it is destroyed when both directions have ended. */
export function connectionOf(socket: Socket): Connection {
  return { readable: readableOf(socket), writable: writableOf(socket) };
}

function readableOf(socket: Socket): ReadableStream<Uint8Array> {
  return new ReadableStream<Uint8Array>({
    start(controller) {
      socket.pause();
      let settled = false;
      const settle = (action: () => void) => {
        if (!settled) action();
        settled = true;
      };
      socket.on("data", (bytes: Uint8Array) => {
        controller.enqueue(bytes);
        if ((controller.desiredSize ?? 0) <= 0) socket.pause();
      });
      socket.once("end", () => settle(() => controller.close()));
      socket.once("error", (error) => settle(() => controller.error(error)));
      socket.once("close", () => settle(() => controller.close()));
    },
    pull: () => void socket.resume(),
    cancel: () => void socket.destroy(),
  });
}

function writableOf(socket: Socket): WritableStream<Uint8Array> {
  return new WritableStream<Uint8Array>({
    start(controller) {
      socket.on("error", (error) => controller.error(error));
    },
    write: (bytes) =>
      new Promise((resolve, reject) => {
        socket.write(bytes, (error) => (error == null ? resolve() : reject(error)));
      }),
    close: () => new Promise((resolve) => void socket.end(resolve)),
    abort: () => void socket.destroy(),
  });
}
