/** HTTP through the engine's own fetch; written for Bun, whose fetch knows proxies and TLS. */
import { emptySource, fromStream, toStream } from "./byte-source.ts";
import { certificateReader, type TlsSettings } from "./certificates.ts";
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
  readonly tls?: Partial<TlsSettings> & { readonly rejectUnauthorized?: boolean };
}

export function openFetchClient(options: HttpClientOptions): HttpClient {
  // One object per host: Bun keeps connections apart whose settings differ.
  const settingsOf = certificateReader(options.certificates);
  return {
    send: (request) => send(request, options.proxyFor(request.url), settingsOf),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}

async function send(
  request: HttpRequest,
  proxy: URL | undefined,
  settingsOf: (host: string) => TlsSettings,
): Promise<HttpResponse> {
  const init: BunRequestInit = {
    method: request.method,
    headers: request.headers,
    redirect: "manual",
    signal: request.signal,
    decompress: false,
    proxy: proxy === undefined ? false : proxy.href,
    ...tlsOptions(request, settingsOf),
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
  settingsOf: (host: string) => TlsSettings,
): Pick<BunRequestInit, "tls"> {
  if (request.url.protocol !== "https:") return {};
  const { ca, cert, key } = settingsOf(request.url.host);
  return {
    tls: {
      rejectUnauthorized: request.anyCertificate !== true,
      ...(ca === undefined ? {} : { ca }),
      ...(cert === undefined || key === undefined ? {} : { cert, key }),
    },
  };
}

function bodyOptions(body: HttpBody | undefined): Partial<BunRequestInit> {
  if (body === undefined) return {};
  // SAFE: bytes here never live in a SharedArrayBuffer, the only kind fetch refuses.
  if (body instanceof Uint8Array) return { body: body as Uint8Array<ArrayBuffer> };
  return { body: toStream(body.source), duplex: "half" };
}
