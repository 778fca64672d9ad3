/** HTTP through the engine's own fetch; written for Bun, whose fetch knows proxies and TLS. */
import { emptySource, fromStream, toStream } from "./byte-source.ts";
import { trustedCertificates } from "./certificates.ts";
import type {
  HttpBody,
  HttpClient,
  HttpClientOptions,
  HttpRequest,
  HttpResponse,
} from "./http-client.ts";

/** What Bun adds to RequestInit. https://bun.com/docs/api/fetch */
interface BunRequestInit extends RequestInit {
  /** false: also ignore HTTP_PROXY, which Bun would use even for loopback. */
  readonly proxy: string | false;
  readonly decompress: false;
  readonly duplex?: "half";
  readonly tls?: { readonly ca?: readonly string[]; readonly rejectUnauthorized?: boolean };
}

export function openFetchClient(options: HttpClientOptions): HttpClient {
  // One array for all requests: Bun keeps connections apart whose settings differ.
  const ca = lazily(() => trustedCertificates(options.ca));
  return {
    send: (request) => send(request, options.proxyFor(request.url), ca),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}

async function send(
  request: HttpRequest,
  proxy: URL | undefined,
  ca: () => readonly string[] | undefined,
): Promise<HttpResponse> {
  const init: BunRequestInit = {
    method: request.method,
    headers: request.headers,
    redirect: "manual",
    signal: request.signal,
    decompress: false,
    proxy: proxy === undefined ? false : proxy.href,
    ...tlsOptions(request, ca),
    ...bodyOptions(request.body),
  };
  const response = await fetch(request.url, init);
  return {
    status: response.status,
    headers: new Map(response.headers),
    body: response.body === null ? emptySource : fromStream(response.body),
  };
}

function tlsOptions(
  request: HttpRequest,
  ca: () => readonly string[] | undefined,
): Pick<BunRequestInit, "tls"> {
  if (request.url.protocol !== "https:") return {};
  if (request.anyCertificate === true) return { tls: { rejectUnauthorized: false } };
  const certificates = ca();
  return certificates === undefined ? {} : { tls: { ca: certificates } };
}

function bodyOptions(body: HttpBody | undefined): Partial<BunRequestInit> {
  if (body === undefined) return {};
  // SAFE: bytes here never live in a SharedArrayBuffer, the only kind fetch refuses.
  if (body instanceof Uint8Array) return { body: body as Uint8Array<ArrayBuffer> };
  return { body: toStream(body.source), duplex: "half" };
}

function lazily<T>(make: () => T): () => T {
  let made: { readonly value: T } | undefined;
  return () => {
    made ??= { value: make() };
    return made.value;
  };
}
