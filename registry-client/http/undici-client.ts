/**
 * HTTP through undici 7, for Node.
 *
 * Bodies come through the dispatch handler, not through undici.request: that spares a Node
 * stream, and the handler pauses the socket itself when the reader falls behind.
 */
import { Agent, type Dispatcher, ProxyAgent } from "undici";
import { type ByteSource, toStream } from "./byte-source.ts";
import { certificateReader, type TlsSettings } from "./certificates.ts";
import type { HttpClient, HttpClientOptions, HttpRequest, HttpResponse } from "./http-client.ts";

const CONNECT_TIMEOUT_MS = 30_000;
/** Bytes that may wait for the reader before the socket is paused. */
const BUFFERED_BYTES = 1024 * 1024;

export function openUndiciClient(options: HttpClientOptions): HttpClient {
  const dispatchers = new Map<string, Dispatcher>();
  const settingsOf = certificateReader(options.certificates);
  const dispatcherFor = (request: HttpRequest): Dispatcher => {
    const proxy = options.proxyFor(request.url);
    const isTls = request.url.protocol === "https:";
    const anyCertificate = request.anyCertificate === true;
    const tls = isTls ? settingsOf(request.url.host) : undefined;
    const key = [proxy?.href, isTls, anyCertificate, tls?.scope].join(" ");
    const known = dispatchers.get(key);
    if (known !== undefined) return known;
    const made = openDispatcher(proxy, isTls, anyCertificate, tls);
    dispatchers.set(key, made);
    return made;
  };
  return {
    send: (request) => send(dispatcherFor(request), request),
    async [Symbol.asyncDispose]() {
      await Promise.all([...dispatchers.values()].map((each) => each.destroy()));
    },
  };
}

function openDispatcher(
  proxy: URL | undefined,
  isTls: boolean,
  anyCertificate: boolean,
  tls: TlsSettings | undefined,
): Dispatcher {
  const connect = {
    timeout: CONNECT_TIMEOUT_MS,
    rejectUnauthorized: !anyCertificate,
    ...(tls?.ca === undefined ? {} : { ca: [...tls.ca] }),
    ...(tls?.cert === undefined || tls.key === undefined ? {} : { cert: tls.cert, key: tls.key }),
  };
  // Times without progress are watched above, alike for both adapters.
  const timeouts = { headersTimeout: 0, bodyTimeout: 0 } as const;
  if (proxy === undefined) return new Agent({ ...timeouts, connect });
  return new ProxyAgent({
    ...timeouts,
    uri: proxy.href,
    // Proxies often allow CONNECT to port 443 only; plain HTTP is forwarded instead.
    proxyTunnel: isTls,
    requestTls: connect,
  });
}

function send(dispatcher: Dispatcher, request: HttpRequest): Promise<HttpResponse> {
  const { promise, resolve, reject } = withResolvers<HttpResponse>();
  const handler = new ResponseHandler(request, resolve, reject);
  dispatcher.dispatch(
    {
      origin: request.url.origin,
      path: `${request.url.pathname}${request.url.search}`,
      method: request.method,
      headers: { ...request.headers },
      body: requestBody(request),
    },
    handler,
  );
  return promise;
}

type DispatchBody = NonNullable<Dispatcher.DispatchOptions["body"]> | null;

function requestBody({ body }: HttpRequest): DispatchBody {
  if (body === undefined || body instanceof Uint8Array) return body ?? null;
  // SAFE: undici takes any async iterable of bytes, though its types name only Node's streams.
  return toStream(body.source) as unknown as DispatchBody;
}

/** Receives the events of one exchange; is the source of the response's body as well. */
class ResponseHandler implements Dispatcher.DispatchHandler {
  readonly #request: HttpRequest;
  readonly #resolve: (response: HttpResponse) => void;
  readonly #reject: (reason: unknown) => void;
  readonly #chunks: Uint8Array[] = [];
  #bufferedBytes = 0;
  #exchange: Dispatcher.DispatchController | undefined;
  #end: { readonly error?: unknown } | undefined;
  /** Wakes the reader that waits for a chunk or the end. */
  #wake: () => void = () => {};
  readonly #onAbort = () => this.#exchange?.abort(asError(this.#request.signal.reason));

  constructor(
    request: HttpRequest,
    resolve: (response: HttpResponse) => void,
    reject: (reason: unknown) => void,
  ) {
    this.#request = request;
    this.#resolve = resolve;
    this.#reject = reject;
  }

  onRequestStart(exchange: Dispatcher.DispatchController): void {
    this.#exchange = exchange;
    if (this.#request.signal.aborted) this.#onAbort();
    else this.#request.signal.addEventListener("abort", this.#onAbort, { once: true });
  }

  onResponseStart(
    _exchange: Dispatcher.DispatchController,
    status: number,
    headers: Readonly<Record<string, string | string[] | undefined>>,
  ): void {
    if (status < 200) return;
    this.#resolve({ status, headers: joinHeaders(headers), body: this.#source() });
  }

  onResponseData(exchange: Dispatcher.DispatchController, chunk: Uint8Array): void {
    this.#chunks.push(chunk);
    this.#bufferedBytes += chunk.length;
    if (this.#bufferedBytes > BUFFERED_BYTES) exchange.pause();
    this.#wake();
  }

  onResponseEnd(): void {
    this.#finish({});
  }

  onResponseError(_exchange: Dispatcher.DispatchController, error: Error): void {
    this.#reject(error);
    this.#finish({ error });
  }

  #finish(end: { readonly error?: unknown }): void {
    this.#request.signal.removeEventListener("abort", this.#onAbort);
    this.#end ??= end;
    this.#wake();
  }

  #source(): ByteSource {
    return {
      read: () => this.#read(),
      cancel: () => {
        if (this.#end === undefined) this.#exchange?.abort(new Error("The body was cancelled"));
        this.#chunks.length = 0;
        return Promise.resolve();
      },
    };
  }

  async #read(): Promise<Uint8Array | undefined> {
    while (this.#chunks.length === 0 && this.#end === undefined) {
      this.#exchange?.resume();
      await new Promise<void>((wake) => {
        this.#wake = wake;
      });
    }
    const chunk = this.#chunks.shift();
    if (chunk === undefined) {
      if (this.#end !== undefined && "error" in this.#end) throw this.#end.error;
      return undefined;
    }
    this.#bufferedBytes -= chunk.length;
    if (this.#bufferedBytes <= BUFFERED_BYTES / 2) this.#exchange?.resume();
    return chunk;
  }
}

function asError(reason: unknown): Error {
  return reason instanceof Error ? reason : new Error("The request was aborted");
}

function joinHeaders(
  headers: Readonly<Record<string, string | string[] | undefined>>,
): ReadonlyMap<string, string> {
  const joined = new Map<string, string>();
  for (const [name, value] of Object.entries(headers)) {
    if (value !== undefined)
      joined.set(name.toLowerCase(), Array.isArray(value) ? value.join(", ") : value);
  }
  return joined;
}

/** Promise.withResolvers, which Node 20 lacks. */
function withResolvers<T>(): {
  readonly promise: Promise<T>;
  readonly resolve: (value: T) => void;
  readonly reject: (reason: unknown) => void;
} {
  let resolve: (value: T) => void = () => {};
  let reject: (reason: unknown) => void = () => {};
  const promise = new Promise<T>((onValue, onReason) => {
    resolve = onValue;
    reject = onReason;
  });
  return { promise, resolve, reject };
}
