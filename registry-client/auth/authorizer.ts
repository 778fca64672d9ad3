/**
 * Decides what to send as Authorization to one registry.
 *
 * Nothing is sent until the registry asks. Then its challenge is remembered, and tokens are kept
 * per set of scopes until they expire; requests that need the same token wait for one fetch.
 */
import { SpecError } from "../../oci/index.ts";
import type { ExchangeOptions } from "../http/exchange.ts";
import type { HttpClient } from "../http/http-client.ts";
import { Shared } from "../shared.ts";
import { type Challenge, parseChallenges } from "./challenge.ts";
import { basicAuthorization, type Credentials, type FindCredentials } from "./credentials.ts";
import { fetchToken, type Token } from "./token.ts";

export interface AuthorizerOptions {
  readonly client: HttpClient;
  readonly exchange: ExchangeOptions;
  readonly findCredentials: FindCredentials;
  /** docker's name for the registry, see FindCredentials. */
  readonly server: string;
  readonly registry: URL;
  readonly wantsRefreshToken?: boolean;
  readonly onWarning: (message: string) => void;
}

const MAX_KNOWN_TOKENS = 256;
const MAX_CHALLENGE_SCOPES = 32;

export class Authorizer {
  readonly #options: AuthorizerOptions;
  readonly #tokens = new Map<string, Shared<Token>>();
  /** Scopes as we ask for them → as the registry wants them. */
  readonly #widened = new Map<string, readonly string[]>();
  #challenge: Challenge | undefined;

  constructor(options: AuthorizerOptions) {
    this.#options = options;
  }

  /** The header for these scopes, or undefined to ask anonymously. */
  async authorization(scopes: readonly string[], signal: AbortSignal): Promise<string | undefined> {
    if (this.#challenge === undefined) return undefined;
    const credentials = await this.#credentials(signal);
    // A registry token is sent as it is, whatever the registry asks for.
    if (credentials?.kind === "bearer") return `Bearer ${credentials.registryToken}`;
    if (this.#challenge.scheme === "basic") {
      if (credentials?.kind !== "basic") return undefined;
      return basicAuthorization(credentials.username, credentials.password);
    }
    const wanted = this.#widened.get(scopeKey(scopes)) ?? scopes;
    const token = await this.#token(this.#challenge, wanted, credentials, signal);
    return `Bearer ${token.value}`;
  }

  /**
   * Takes in a 401; false when asking again is no use.
   * @param sent the Authorization that was refused
   */
  learn(header: string | undefined, scopes: readonly string[], sent: string | undefined): boolean {
    const challenge = this.#chooseChallenge(header);
    if (challenge === undefined) return false;
    // Basic was refused with these very credentials: the same ones will be again.
    if (challenge.scheme === "basic" && sent?.startsWith("Basic ") === true) return false;
    this.#challenge = challenge;
    const asked = (challenge.parameters.get("scope") ?? "").split(/\s+/).filter(Boolean);
    const wanted = mergeScopes(scopes, asked.slice(0, MAX_CHALLENGE_SCOPES));
    if (this.#widened.size >= MAX_KNOWN_TOKENS) this.#widened.clear();
    this.#widened.set(scopeKey(scopes), wanted);
    // Another request may have fetched a newer token meanwhile; that one is kept.
    const known = this.#tokens.get(scopeKey(wanted));
    if (known?.settled !== undefined && sent === `Bearer ${known.settled.value.value}`) {
      this.#tokens.delete(scopeKey(wanted));
    }
    return true;
  }

  /** The identity token that came with a token, when one was asked for. */
  get refreshToken(): string | undefined {
    for (const { settled } of this.#tokens.values()) {
      if (settled?.value.refreshToken !== undefined) return settled.value.refreshToken;
    }
    return undefined;
  }

  /** Whether the registry asks for a password itself or through a token server. */
  get scheme(): string | undefined {
    return this.#challenge?.scheme;
  }

  #credentials(signal: AbortSignal): Promise<Credentials | undefined> {
    return this.#options.findCredentials(this.#options.server, { signal });
  }

  /** Bearer before Basic, as it sends the password to the token server only. */
  #chooseChallenge(header: string | undefined): Challenge | undefined {
    if (header === undefined) return undefined;
    try {
      const challenges = parseChallenges(header);
      const bearer = challenges.find(
        ({ scheme, parameters }) => scheme === "bearer" && parameters.has("realm"),
      );
      return bearer ?? challenges.find(({ scheme }) => scheme === "basic");
    } catch (error) {
      if (!(error instanceof SpecError)) throw error;
      this.#options.onWarning(error.message);
      return undefined;
    }
  }

  #token(
    challenge: Challenge,
    scopes: readonly string[],
    credentials: Credentials | undefined,
    signal: AbortSignal,
  ): Promise<Token> {
    const key = scopeKey(scopes);
    const known = this.#tokens.get(key);
    const expiresAtMs = known?.settled?.value.expiresAtMs ?? Number.POSITIVE_INFINITY;
    if (known !== undefined && performance.now() < expiresAtMs) return known.get(signal);
    const { client, exchange, registry, server, wantsRefreshToken = false } = this.#options;
    const request = { challenge, scopes, credentials, wantsRefreshToken, registry, server };
    const token = new Shared((own: AbortSignal) =>
      fetchToken(client, { ...request, signal: own }, exchange),
    );
    if (this.#tokens.size >= MAX_KNOWN_TOKENS) this.#tokens.clear();
    this.#tokens.set(key, token);
    return token.get(signal);
  }
}

function scopeKey(scopes: readonly string[]): string {
  return [...scopes].sort().join(" ");
}

/** Joins scopes, and the actions of those for the same resource. */
export function mergeScopes(ours: readonly string[], asked: readonly string[]): readonly string[] {
  const actions = new Map<string, Set<string>>();
  for (const scope of [...ours, ...asked]) {
    const colon = scope.lastIndexOf(":");
    const resource = scope.slice(0, Math.max(0, colon));
    const set = actions.get(resource) ?? new Set<string>();
    for (const action of scope.slice(colon + 1).split(",")) set.add(action);
    actions.set(resource, set);
  }
  return [...actions].map(([resource, set]) =>
    resource === "" ? [...set].join(",") : `${resource}:${[...set].join(",")}`,
  );
}
