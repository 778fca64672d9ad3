/**
 * One request to its final answer: follows redirects by hand and ends what makes no progress.
 *
 * - Authorization is sent to the origin it was made for and nowhere else: a redirect to another
 *   scheme, host or port drops it for good (blobs live on storage hosts with URLs of their own).
 * - A redirect never leads from TLS to plain HTTP, nor to plain HTTP on a host that is neither
 *   loopback nor named insecure.
 */
import { discardBody } from "./body.ts";
import { ConnectionError } from "./connection-error.ts";
import type { HttpBody, HttpClient, HttpRequest, HttpResponse } from "./http-client.ts";
import { IdleWatch } from "./idle-watch.ts";

export interface Exchange extends Omit<HttpRequest, "body"> {
  /** Called anew for each hop that carries the body. */
  readonly body?: () => HttpBody;
}

export interface ExchangeOptions {
  readonly idleTimeoutMs: number;
  /** Whether plain HTTP is allowed to this URL. */
  readonly allowsPlainHttp: (url: URL) => boolean;
  /** Whether any certificate is accepted from this URL. */
  readonly allowsAnyCertificate: (url: URL) => boolean;
}

export interface ExchangeResult extends HttpResponse {
  /** Where the answer came from, after redirects. */
  readonly url: URL;
}

export const MAX_REDIRECTS = 10;
const MAX_LOCATION_LENGTH = 16 * 1024;

/** A redirect that is not followed. */
export class RedirectError extends Error {
  override readonly name = "RedirectError";
  constructor(from: URL, problem: string) {
    super(`Cannot follow a redirect from "${from.host}": ${problem}`);
  }
}

export async function runExchange(
  client: HttpClient,
  exchange: Exchange,
  options: ExchangeOptions,
): Promise<ExchangeResult> {
  let hop: Exchange = exchange;
  for (let redirects = 0; redirects <= MAX_REDIRECTS; redirects++) {
    const response = await sendWatched(client, hop, options);
    if (response.status === 407) {
      await discardBody(response.body);
      throw new ConnectionError(hop.url.host, "proxy");
    }
    const next = nextHop(hop, response, options);
    if (next === undefined) return { ...response, url: hop.url };
    await discardBody(response.body);
    hop = next;
  }
  throw new RedirectError(hop.url, `there were more than ${MAX_REDIRECTS}`);
}

/** RFC 9110 §15.4: which request follows a redirect, or undefined for a final answer. */
function nextHop(
  hop: Exchange,
  response: HttpResponse,
  options: ExchangeOptions,
): Exchange | undefined {
  const keepsMethod = response.status === 307 || response.status === 308;
  const isRead = hop.method === "GET" || hop.method === "HEAD";
  const changesNothing = isRead && [301, 302, 303].includes(response.status);
  if (!keepsMethod && !changesNothing) return undefined;
  const location = response.headers.get("location");
  if (location === undefined) return undefined;
  const url = checkLocation(hop.url, location, options);
  if (url.origin === hop.url.origin) return { ...hop, url };
  const { authorization: _, ...headers } = hop.headers;
  return { ...hop, url, headers };
}

function checkLocation(from: URL, location: string, options: ExchangeOptions): URL {
  if (location.length > MAX_LOCATION_LENGTH || !URL.canParse(location, from.href)) {
    throw new RedirectError(from, "its Location is no URL");
  }
  const url = new URL(location, from);
  if (url.protocol !== "https:" && url.protocol !== "http:") {
    throw new RedirectError(from, `it leads to the scheme "${url.protocol}"`);
  }
  if (url.protocol === "http:" && (from.protocol === "https:" || !options.allowsPlainHttp(url))) {
    throw new RedirectError(from, `it leads to plain HTTP on "${url.host}"`);
  }
  // A user and password in a Location would become an Authorization header.
  url.username = "";
  url.password = "";
  url.hash = "";
  return url;
}

/** Sends, and aborts when neither body moves for `idleTimeoutMs`. */
async function sendWatched(
  client: HttpClient,
  exchange: Exchange,
  options: ExchangeOptions,
): Promise<HttpResponse> {
  const watch = new IdleWatch(exchange.url, options.idleTimeoutMs, exchange.signal);
  let bodyFailure: { readonly error: unknown } | undefined;
  try {
    const { body, ...rest } = exchange;
    const onError = (error: unknown) => {
      bodyFailure = { error };
    };
    const response = await client.send({
      ...rest,
      ...(body === undefined ? {} : { body: watchedBody(body(), watch, onError) }),
      anyCertificate: options.allowsAnyCertificate(exchange.url),
      signal: watch.signal,
    });
    return { ...response, body: watch.watchResponse(response.body) };
  } catch (error) {
    watch.stop();
    // What our own side failed with is no fault of the connection.
    throw bodyFailure === undefined ? error : bodyFailure.error;
  }
}

function watchedBody(
  body: HttpBody,
  watch: IdleWatch,
  onError: (error: unknown) => void,
): HttpBody {
  if (body instanceof Uint8Array) return body;
  const source = watch.watchRequest(body.source);
  const read = () =>
    source.read().catch((error: unknown) => {
      onError(error);
      throw error;
    });
  return { source: { ...source, read }, sizeBytes: body.sizeBytes };
}
