/**
 * Talks to one registry: finds its address, authorises, retries, and turns refusals into errors.
 * Everything above says only which path, which scopes and which statuses it expects.
 */
import { Authorizer } from "./auth/authorizer.ts";
import type { FindCredentials } from "./auth/credentials.ts";
import {
  allowsPlainHttp,
  type Endpoint,
  type EndpointOptions,
  isNamedInsecure,
} from "./endpoint.ts";
import type { EmitEvent } from "./events.ts";
import { discardBody } from "./http/body.ts";
import { ConnectionError, type ConnectionProblem } from "./http/connection-error.ts";
import {
  type Exchange,
  type ExchangeOptions,
  type ExchangeResult,
  runExchange,
} from "./http/exchange.ts";
import type { HttpBody, HttpClient, HttpRequest } from "./http/http-client.ts";
import { isLoopback } from "./http/loopback.ts";
import { registryError, senselessAnswer } from "./registry-error.ts";
import { type RetryPolicy, withRetry } from "./retry.ts";
import { Shared } from "./shared.ts";

/** What all sessions of a client share. */
export interface ClientContext {
  readonly client: () => Promise<HttpClient>;
  readonly findCredentials: FindCredentials;
  readonly endpoints: EndpointOptions;
  readonly retry: RetryPolicy;
  readonly idleTimeoutMs: number;
  readonly emit: EmitEvent;
  readonly wantsRefreshToken?: boolean;
}

export interface RegistryRequest {
  /** For errors: `fetch the manifest of "busybox:latest"`. */
  readonly action: string;
  readonly method: HttpRequest["method"];
  /** Relative to `/v2/`, or a URL that the registry gave (a Location). */
  readonly target: string | URL;
  readonly scopes: readonly string[];
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: () => HttpBody;
  /** Statuses that are an answer; all others throw. */
  readonly expected: readonly number[];
  /** false: one attempt only, the caller decides what follows. */
  readonly retries?: boolean;
  /** The body cannot be had a second time: a 401 is returned after learning from it. */
  readonly isBodySpent?: boolean;
  readonly signal: AbortSignal;
}

interface Connection {
  readonly endpoint: Endpoint;
  readonly authorizer: Authorizer;
  readonly client: HttpClient;
}

/** What a server of the other scheme, or of the other default port, makes of a request. */
const otherSchemeProblems: ReadonlySet<ConnectionProblem> = new Set([
  "tls",
  "broken",
  "refused",
  // Only one scheme may have a proxy, which then knows the name.
  "unknown-host",
]);

const SKIP_MIRROR_MS = 60_000;
const USER_AGENT = "manyworlds";

export class RegistrySession {
  readonly #candidates: readonly Endpoint[];
  readonly #context: ClientContext;
  readonly #exchange: ExchangeOptions;
  readonly #query: Readonly<Record<string, string>>;
  #skippedUntilMs = 0;
  readonly #connection = new Shared((signal: AbortSignal) => this.#openConnection(signal));

  /** @param query added to every request, as mirrors want it */
  constructor(
    candidates: readonly Endpoint[],
    context: ClientContext,
    query: Readonly<Record<string, string>> = {},
  ) {
    this.#candidates = candidates;
    this.#context = context;
    this.#query = query;
    this.#exchange = {
      idleTimeoutMs: context.idleTimeoutMs,
      allowsPlainHttp: (url) => allowsPlainHttp(url, context.endpoints),
      allowsAnyCertificate: (url) => isNamedInsecure(url, context.endpoints),
    };
  }

  /** Host and port, for messages. */
  get host(): string {
    return this.#candidates[0]?.base.host ?? "";
  }

  /** docker's name for it in config.json. */
  get server(): string {
    return this.#candidates[0]?.server ?? "";
  }

  /** Whether the registry is on this machine, as far as its name tells. */
  get isLoopback(): boolean {
    return isLoopback(this.#candidates[0]?.base.hostname ?? "");
  }

  get context(): ClientContext {
    return this.#context;
  }

  /** A mirror that failed is left alone for a while. */
  get isSkipped(): boolean {
    return performance.now() < this.#skippedUntilMs;
  }

  skip(): void {
    this.#skippedUntilMs = performance.now() + SKIP_MIRROR_MS;
  }

  /** Sends with authorization and retries; answers only with an expected status. */
  async send(request: RegistryRequest): Promise<ExchangeResult> {
    const attempt = async () => {
      const connection = await this.#connection.get(request.signal);
      const response = await this.#authorized(connection, request);
      if (request.expected.includes(response.status)) return response;
      throw await registryError(request.action, response, connection.endpoint.server);
    };
    if (request.retries === false) return attempt();
    const { retry: policy, emit } = this.#context;
    return withRetry(attempt, { policy, action: request.action, emit, signal: request.signal });
  }

  /** Sends to any URL without authorization: storage hosts, foreign layers. One attempt. */
  async sendElsewhere(
    url: URL,
    headers: Readonly<Record<string, string>>,
    signal: AbortSignal,
  ): Promise<ExchangeResult> {
    const client = await this.#context.client();
    return this.#exchangeOnce(client, {
      method: "GET",
      url,
      headers: baseHeaders(headers),
      signal,
    });
  }

  /** How the registry asked for authorization, after a first request. */
  async authorizer(signal: AbortSignal): Promise<Authorizer> {
    return (await this.#connection.get(signal)).authorizer;
  }

  async #authorized(connection: Connection, request: RegistryRequest): Promise<ExchangeResult> {
    const { authorizer, client, endpoint } = connection;
    const url = this.#resolve(endpoint, request.target);
    // A Location may lead elsewhere; our credentials do not.
    const isOwn = url.origin === endpoint.base.origin;
    const ask = (authorization: string | undefined) =>
      this.#exchangeOnce(client, {
        method: request.method,
        url,
        headers: {
          ...baseHeaders(request.headers ?? {}),
          ...(authorization === undefined ? {} : { authorization }),
        },
        ...(request.body === undefined ? {} : { body: request.body }),
        signal: request.signal,
      });
    const authorize = () => authorizer.authorization(request.scopes, request.signal);
    const first = isOwn ? await authorize() : undefined;
    const response = await ask(first);
    // A challenge counts only from the registry itself, not from where a redirect led.
    const isChallenge = response.status === 401 && isOwn && response.url.origin === url.origin;
    if (!isChallenge) return response;
    const challenge = response.headers.get("www-authenticate");
    if (!authorizer.learn(challenge, request.scopes, first)) return response;
    if (request.isBodySpent === true) return response;
    const second = await authorize();
    if (second === undefined || second === first) return response;
    await discardBody(response.body);
    return ask(second);
  }

  #resolve(endpoint: Endpoint, target: string | URL): URL {
    const url = typeof target === "string" ? new URL(target, endpoint.base) : new URL(target);
    for (const [name, value] of Object.entries(this.#query)) url.searchParams.set(name, value);
    return url;
  }

  /** Resolves a Location against the request it answered; refuses what no request may go to. */
  locate(response: ExchangeResult, action: string): URL {
    const location = response.headers.get("location");
    const fail = (detail: string) => senselessAnswer(action, response, detail);
    if (location === undefined || !URL.canParse(location, response.url.href)) {
      throw fail("its Location header is missing or no URL");
    }
    const url = new URL(location, response.url);
    // Registries behind a TLS proxy often write http: in a Location of their own host.
    const isOwnHost = url.host === response.url.host;
    if (isOwnHost && url.protocol === "http:") url.protocol = response.url.protocol;
    const isSafe =
      url.protocol === "https:" ||
      (url.protocol === "http:" &&
        response.url.protocol === "http:" &&
        this.#exchange.allowsPlainHttp(url));
    if (!isSafe) throw fail(`its Location leads to "${url.protocol}//${url.host}"`);
    url.username = "";
    url.password = "";
    return url;
  }

  async #exchangeOnce(client: HttpClient, exchange: Exchange): Promise<ExchangeResult> {
    const response = await runExchange(client, exchange, this.#exchange);
    const { origin, pathname } = response.url;
    this.#context.emit({
      type: "answer",
      method: exchange.method,
      url: `${origin}${pathname}`,
      status: response.status,
    });
    return response;
  }

  async #openConnection(signal: AbortSignal): Promise<Connection> {
    const client = await this.#context.client();
    const endpoint = await this.#findEndpoint(client, signal);
    const { findCredentials, emit, wantsRefreshToken } = this.#context;
    const authorizer = new Authorizer({
      client,
      exchange: this.#exchange,
      findCredentials,
      server: endpoint.server,
      registry: endpoint.base,
      ...(wantsRefreshToken === undefined ? {} : { wantsRefreshToken }),
      onWarning: (message) => emit({ type: "warning", message }),
    });
    return { endpoint, authorizer, client };
  }

  /** With one candidate there is nothing to find out; else the first that speaks HTTP is it. */
  async #findEndpoint(client: HttpClient, signal: AbortSignal): Promise<Endpoint> {
    const [first, ...others] = this.#candidates;
    if (first === undefined) throw new Error("A session needs an endpoint");
    if (others.length === 0) return first;
    let failure: unknown;
    for (const endpoint of this.#candidates) {
      try {
        const exchange: Exchange = {
          method: "GET",
          url: endpoint.base,
          headers: baseHeaders({}),
          signal,
        };
        const response = await this.#exchangeOnce(client, exchange);
        await discardBody(response.body);
        // Servers that speak TLS answer plain HTTP with 400.
        if (endpoint.base.protocol === "https:" || response.status !== 400) return endpoint;
      } catch (error) {
        signal.throwIfAborted();
        const isOtherScheme =
          error instanceof ConnectionError && otherSchemeProblems.has(error.problem);
        // An untrusted certificate says more than that plain HTTP was not understood.
        if (failure === undefined || (isOtherScheme && error.problem === "tls")) failure = error;
        if (!isOtherScheme) throw error;
      }
    }
    if (failure !== undefined) throw failure;
    return first;
  }
}

function baseHeaders(headers: Readonly<Record<string, string>>): Record<string, string> {
  // Digests are over bytes as stored: no transfer compression.
  return { "user-agent": USER_AGENT, "accept-encoding": "identity", accept: "*/*", ...headers };
}
