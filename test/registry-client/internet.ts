/**
 * A small internet: hosts with true names and TLS, reached through a CONNECT proxy on loopback.
 *
 *   client ─ CONNECT auth.docker.io:443 ─► proxy ─► one TLS server ─ Host header ─► handler
 *
 * So the flows of real registries run with their real host names, and nothing leaves the machine.
 */
import { createServer as createProxy } from "node:http";
import { createServer as createTlsServer } from "node:https";
import { connect, type Socket } from "node:net";
import { makeCertificates } from "./certificates.ts";
import { type Handler, listeningAddress, type SeenRequest, serve } from "./server.ts";

export interface Internet extends AsyncDisposable {
  /** For the client's `proxies`. */
  readonly proxies: { readonly http: string; readonly https: string };
  /** For the client's `ca`. */
  readonly ca: readonly string[];
  readonly requests: readonly SeenRequest[];
  /** What the proxy was asked for: `CONNECT host:443` or `GET http://…`. */
  readonly proxied: readonly string[];
}

export async function startInternet(hosts: Readonly<Record<string, Handler>>): Promise<Internet> {
  using certificates = makeCertificates(Object.keys(hosts).map((host) => `DNS:${host}`));
  const requests: SeenRequest[] = [];
  const proxied: string[] = [];
  const sockets = new Set<Socket>();
  const keep = (socket: Socket): void => {
    sockets.add(socket);
    socket.on("error", () => socket.destroy());
    socket.on("close", () => sockets.delete(socket));
  };
  const byHost: Handler = (request, response) =>
    hosts[request.host.replace(/:443$/, "")]?.(request, response) ?? { status: 421 };

  const site = createTlsServer(
    { cert: certificates.certificate, key: certificates.key },
    (incoming, response) => {
      serve(byHost, requests, incoming, response).catch(() => response.destroy());
    },
  );
  site.on("connection", keep);
  await new Promise<void>((resolve) => site.listen(0, "127.0.0.1", resolve));
  const sitePort = listeningAddress(site.address()).port;

  const proxy = createProxy((incoming, response) => {
    proxied.push(`${incoming.method} ${incoming.url}`);
    serve(byHost, requests, incoming, response).catch(() => response.destroy());
  });
  proxy.on("connection", keep);
  proxy.on("connect", (incoming, client: Socket, head: Buffer) => {
    proxied.push(`CONNECT ${incoming.url}`);
    const upstream = connect(sitePort, "127.0.0.1", () => {
      client.write("HTTP/1.1 200 Connection established\r\n\r\n");
      if (head.length > 0) upstream.write(head);
      client.pipe(upstream).pipe(client);
    });
    keep(upstream);
    client.on("error", () => upstream.destroy());
  });
  await new Promise<void>((resolve) => proxy.listen(0, "127.0.0.1", resolve));
  const address = `http://127.0.0.1:${listeningAddress(proxy.address()).port}`;
  return {
    proxies: { http: address, https: address },
    ca: [certificates.ca],
    requests,
    proxied,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await Promise.all(
        [site, proxy].map((each) => new Promise<void>((resolve) => each.close(() => resolve()))),
      );
    },
  };
}
