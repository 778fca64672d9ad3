/** HTTP servers on loopback that behave as a test says, and remember what they were asked. */
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo, Socket } from "node:net";

export interface SeenRequest {
  readonly method: string;
  /** Host header. */
  readonly host: string;
  /** Path and query. */
  readonly url: string;
  readonly path: string;
  readonly query: URLSearchParams;
  readonly headers: IncomingMessage["headers"];
  readonly body: Buffer;
}

export interface Answer {
  readonly status?: number;
  readonly headers?: Readonly<Record<string, string | string[]>>;
  readonly body?: string | Uint8Array;
}

/** Returns an answer, or writes one itself and returns undefined. */
export type Handler = (
  request: SeenRequest,
  response: ServerResponse,
) => Answer | undefined | Promise<Answer | undefined>;

export interface TestServer extends AsyncDisposable {
  readonly port: number;
  /** `127.0.0.1:PORT` */
  readonly domain: string;
  readonly origin: string;
  readonly requests: readonly SeenRequest[];
}

export async function startServer(handler: Handler, host = "127.0.0.1"): Promise<TestServer> {
  const requests: SeenRequest[] = [];
  const sockets = new Set<Socket>();
  const server = createServer((incoming, response) => {
    serve(handler, requests, incoming, response).catch(() => response.destroy());
  });
  server.on("connection", (socket) => {
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
  });
  await new Promise<void>((resolve) => server.listen(0, host, resolve));
  const { port } = listeningAddress(server.address());
  return {
    port,
    domain: `${host}:${port}`,
    origin: `http://${host}:${port}`,
    requests,
    async [Symbol.asyncDispose]() {
      for (const socket of sockets) socket.destroy();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}

export function listeningAddress(address: AddressInfo | string | null): AddressInfo {
  if (typeof address === "object" && address !== null) return address;
  throw new Error("The server does not listen on a port");
}

/** Reads a request whole, asks the handler, and sends its answer. */
export async function serve(
  handler: Handler,
  requests: SeenRequest[],
  incoming: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const chunks: Buffer[] = [];
  for await (const chunk of incoming) chunks.push(Buffer.from(chunk));
  const url = new URL(incoming.url ?? "/", "http://any");
  const request: SeenRequest = {
    method: incoming.method ?? "",
    host: incoming.headers.host ?? "",
    url: incoming.url ?? "",
    path: url.pathname,
    query: url.searchParams,
    headers: incoming.headers,
    body: Buffer.concat(chunks),
  };
  requests.push(request);
  const answer = await handler(request, response);
  if (answer === undefined) return;
  const { status = 200, headers = {}, body = "" } = answer;
  const bytes = typeof body === "string" ? Buffer.from(body) : body;
  response.writeHead(status, { "content-length": String(bytes.length), ...headers });
  response.end(request.method === "HEAD" ? undefined : bytes);
}
