/** A line to a server that breaks every connection after some bytes, seeded, in one direction. */
import { connect, createServer, type Socket } from "node:net";
import { randomNumbers } from "../oci/fuzz.ts";
import { listeningAddress } from "./server.ts";

export interface FlakyLine extends AsyncDisposable {
  /** Where to connect instead of the server. */
  readonly domain: string;
  readonly breaks: number;
}

export interface FlakyOptions {
  /** A connection breaks after as many bytes, or up to twice as many. */
  readonly bytes: number;
  readonly direction: "up" | "down";
  readonly seed: number;
  /** After so many breaks it holds. */
  readonly maxBreaks: number;
}

export async function startFlakyLine(domain: string, options: FlakyOptions): Promise<FlakyLine> {
  const [host = "", port = ""] = domain.split(":");
  const random = randomNumbers(options.seed);
  const sockets = new Set<Socket>();
  let breaks = 0;
  const server = createServer((client) => {
    const upstream = connect(Number(port), host);
    const both = [client, upstream];
    let left = options.bytes + random(options.bytes);
    for (const socket of both) {
      sockets.add(socket);
      socket.on("error", () => {});
      socket.on("close", () => {
        sockets.delete(socket);
        for (const each of both) each.destroy();
      });
    }
    const carry = (from: Socket, to: Socket, isCounted: boolean) =>
      from.on("data", (chunk: Buffer) => {
        if (isCounted) left -= chunk.length;
        if (left >= 0 || breaks >= options.maxBreaks) {
          if (!to.write(chunk)) from.pause();
          return;
        }
        breaks++;
        for (const each of both) each.destroy();
      });
    carry(client, upstream, options.direction === "up");
    carry(upstream, client, options.direction === "down");
    client.on("drain", () => upstream.resume());
    upstream.on("drain", () => client.resume());
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return {
    domain: `127.0.0.1:${listeningAddress(server.address()).port}`,
    get breaks() {
      return breaks;
    },
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}
