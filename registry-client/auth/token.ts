/**
 * Bearer tokens: what a registry's challenge asks for, fetched from its token server.
 *
 *   registry ── 401 WWW-Authenticate: Bearer realm="https://auth…",service="…",scope="…" ──► us
 *   us ── GET  realm?service=…&scope=…   (Basic user:password, or nothing)          ──► token server
 *   us ── POST realm  grant_type=refresh_token&refresh_token=…                      ──► token server
 *   token server ── {"token" or "access_token", "expires_in", "refresh_token"}      ──► us
 *
 * Distribution documentation, "Token Authentication Specification" and "OAuth2 Token
 * Authentication"; https://distribution.github.io/distribution/spec/auth/
 */
import { json, quoteText, SpecError } from "../../oci/index.ts";
import { readBody } from "../http/body.ts";
import { type Exchange, type ExchangeOptions, runExchange } from "../http/exchange.ts";
import type { HttpClient } from "../http/http-client.ts";
import { registryError } from "../registry-error.ts";
import type { Challenge } from "./challenge.ts";
import { basicAuthorization, type Credentials } from "./credentials.ts";

export interface Token {
  readonly value: string;
  /** On the clock of performance.now(). */
  readonly expiresAtMs: number;
  /** Identity token for next time; only when asked for. */
  readonly refreshToken?: string;
}

export interface TokenRequest {
  readonly challenge: Challenge;
  /** `repository:library/busybox:pull` and such. */
  readonly scopes: readonly string[];
  readonly credentials: Credentials | undefined;
  /** Also ask for an identity token, for a login that lasts. */
  readonly wantsRefreshToken: boolean;
  /** docker's name for the registry. */
  readonly server: string;
  /** Where the challenge came from. */
  readonly registry: URL;
  readonly signal: AbortSignal;
}

const CLIENT_ID = "manyworlds";
export const MAX_TOKEN_ANSWER_BYTES = 256 * 1024;
export const MAX_TOKEN_LENGTH = 64 * 1024;
/** "Token Authentication Specification": at least 60 seconds, which is also what none means. */
const DEFAULT_LIFETIME_S = 60;
const MAX_LIFETIME_S = 24 * 3600;
/** A token that expires on its way is no use: it is renewed after this part of its life. */
const USED_LIFETIME = 0.8;

interface TokenAnswer {
  readonly token?: string;
  readonly access_token?: string;
  readonly expires_in?: number;
  readonly refresh_token?: string;
}
const { object, optional, string } = json;
const lifetime: json.Reader<number> = (value) =>
  typeof value === "number" ? value : DEFAULT_LIFETIME_S;
const answerReader = object<TokenAnswer>({
  token: optional(string),
  access_token: optional(string),
  expires_in: optional(lifetime),
  refresh_token: optional(string),
});

export async function fetchToken(
  client: HttpClient,
  request: TokenRequest,
  options: ExchangeOptions,
): Promise<Token> {
  const startMs = performance.now();
  const response = await runExchange(client, tokenExchange(request, options), options);
  const action = `get a token for "${request.registry.host}"`;
  if (response.status !== 200) throw await registryError(action, response, request.server);
  const bytes = await readBody(
    response.body,
    `the token of "${response.url.host}"`,
    MAX_TOKEN_ANSWER_BYTES,
  );
  return readToken(bytes, response.url.host, startMs);
}

function tokenExchange(request: TokenRequest, options: ExchangeOptions): Exchange {
  const url = realmUrl(request, options);
  const service = request.challenge.parameters.get("service");
  const { credentials, signal } = request;
  const headers = { accept: "application/json", "accept-encoding": "identity" };
  if (credentials?.kind === "identity") {
    const form = new URLSearchParams({
      grant_type: "refresh_token",
      client_id: CLIENT_ID,
      refresh_token: credentials.identityToken,
      ...(service === undefined ? {} : { service }),
      ...(request.scopes.length === 0 ? {} : { scope: request.scopes.join(" ") }),
    });
    const bytes = new TextEncoder().encode(form.toString());
    const type = { "content-type": "application/x-www-form-urlencoded" };
    return { method: "POST", url, headers: { ...headers, ...type }, body: () => bytes, signal };
  }
  if (service !== undefined) url.searchParams.set("service", service);
  for (const scope of request.scopes) url.searchParams.append("scope", scope);
  if (credentials?.kind !== "basic") return { method: "GET", url, headers, signal };
  if (request.wantsRefreshToken) {
    url.searchParams.set("offline_token", "true");
    url.searchParams.set("client_id", CLIENT_ID);
  }
  url.searchParams.set("account", credentials.username);
  const authorization = basicAuthorization(credentials.username, credentials.password);
  return { method: "GET", url, headers: { ...headers, authorization }, signal };
}

/** The token server gets the password, so its address must be as safe as the registry's. */
function realmUrl({ challenge, registry }: TokenRequest, options: ExchangeOptions): URL {
  const realm = challenge.parameters.get("realm") ?? "";
  const fail = (problem: string) =>
    new SpecError({
      document: `the challenge of "${registry.host}"`,
      path: "realm",
      problem: `is ${quoteText(realm)}, ${problem}`,
    });
  if (!URL.canParse(realm)) throw fail("expected the URL of a token server");
  const url = new URL(realm);
  const isPlain = url.protocol === "http:";
  if (!isPlain && url.protocol !== "https:") throw fail("expected an https: URL");
  if (isPlain && (registry.protocol === "https:" || !options.allowsPlainHttp(url))) {
    throw fail("expected an https: URL, as credentials are sent there");
  }
  url.username = "";
  url.password = "";
  url.hash = "";
  return url;
}

function readToken(bytes: Uint8Array, host: string, startMs: number): Token {
  const document = `the token of "${host}"`;
  const limits = { maxBytes: MAX_TOKEN_ANSWER_BYTES, maxDepth: 16 };
  const answer = json.readJson(bytes, document, answerReader, limits);
  const value = answer.token || answer.access_token || "";
  // Anything else could not stand in a header.
  if (!/^[\x21-\x7e]+$/.test(value) || value.length > MAX_TOKEN_LENGTH) {
    throw new SpecError({
      document,
      path: "token",
      problem: `is missing or unusable, expected at most ${MAX_TOKEN_LENGTH} printable characters`,
    });
  }
  const seconds = Math.min(MAX_LIFETIME_S, Math.max(0, answer.expires_in ?? DEFAULT_LIFETIME_S));
  return {
    value,
    expiresAtMs: startMs + seconds * 1000 * USED_LIFETIME,
    ...(answer.refresh_token ? { refreshToken: answer.refresh_token } : {}),
  };
}
