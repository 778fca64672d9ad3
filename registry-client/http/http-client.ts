/**
 * The one thing asked of an HTTP library: send one request, return status, headers and a stream.
 *
 * No redirects, no decompression, no credentials, no retries: those are decided above, in one
 * place for both adapters. Node uses undici, Bun its own fetch (undici is a stub there).
 */
import type { ByteSource } from "./byte-source.ts";
import type { CertificateOptions } from "./certificates.ts";
import { toConnectionError } from "./connection-error.ts";

export interface HttpRequest {
  readonly method: "GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE";
  readonly url: URL;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: HttpBody;
  /** Accept any certificate; only for registries that the user named insecure. */
  readonly anyCertificate?: boolean;
  readonly signal: AbortSignal;
}

/** A request's body: its length is always known and sent as Content-Length. */
export type HttpBody = Uint8Array | { readonly source: ByteSource; readonly sizeBytes: number };

export interface HttpResponse {
  readonly status: number;
  /** By lower-case name; repeated headers are joined with ", ". */
  readonly headers: ReadonlyMap<string, string>;
  /** Must be read or cancelled, else the connection is lost to others. */
  readonly body: ByteSource;
}

export interface HttpClient extends AsyncDisposable {
  /** @throws ConnectionError, or the signal's reason */
  send(request: HttpRequest): Promise<HttpResponse>;
}

export interface HttpClientOptions {
  readonly certificates: CertificateOptions;
  /** The proxy for a URL, or undefined to connect directly. */
  readonly proxyFor: (url: URL) => URL | undefined;
}

/** Opens the adapter that suits this JavaScript engine; loads it only now, as undici is large. */
export async function openHttpClient(options: HttpClientOptions): Promise<HttpClient> {
  if (process.versions["bun"] !== undefined) {
    const { openFetchClient } = await import("./fetch-client.ts");
    return withConnectionErrors(openFetchClient(options));
  }
  const { openUndiciClient } = await import("./undici-client.ts");
  return withConnectionErrors(openUndiciClient(options));
}

/** Adapters throw what their library throws; here it becomes the signal's reason or our error. */
function withConnectionErrors(adapter: HttpClient): HttpClient {
  return {
    send: async (request) => {
      const fail = (error: unknown): never => {
        request.signal.throwIfAborted();
        throw toConnectionError(request.url, error);
      };
      request.signal.throwIfAborted();
      const response = await adapter.send(request).catch(fail);
      const { read, cancel } = response.body;
      return { ...response, body: { read: () => read().catch(fail), cancel } };
    },
    [Symbol.asyncDispose]: () => adapter[Symbol.asyncDispose](),
  };
}
