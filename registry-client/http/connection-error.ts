/** What kept a request from being answered, told from the error codes of libuv, Node and Bun. */

export type ConnectionProblem =
  /** Nobody listens there, or no way leads there. */
  | "refused"
  /** The name does not exist. */
  | "unknown-host"
  /** TLS failed: a certificate is not trusted, or the other side speaks no TLS. */
  | "tls"
  /** The proxy on the way refused. */
  | "proxy"
  /** Nothing arrived for too long. */
  | "timeout"
  /** It was there and broke off. */
  | "broken";

export class ConnectionError extends Error {
  override readonly name = "ConnectionError";
  readonly problem: ConnectionProblem;
  /** Host and port. */
  readonly host: string;
  readonly hint: string | undefined;

  constructor(host: string, problem: ConnectionProblem, options?: ErrorOptions) {
    const code = errorCode(options?.cause);
    super(
      `Cannot talk to "${host}": ${sentences[problem]}${code === "" ? "" : ` (${code})`}`,
      options,
    );
    this.host = host;
    this.problem = problem;
    this.hint = hints[problem];
  }
}

const sentences: Readonly<Record<ConnectionProblem, string>> = {
  refused: "it accepts no connection",
  "unknown-host": "its name is unknown",
  tls: "no trusted TLS connection could be made",
  proxy: "the proxy on the way refused",
  timeout: "nothing arrived for too long",
  broken: "the connection broke off",
};

const hints: Readonly<Partial<Record<ConnectionProblem, string>>> = {
  refused: "check the registry's name and port, and HTTP_PROXY or HTTPS_PROXY where there is one",
  "unknown-host": "check the registry's name and this machine's DNS",
  proxy: "check the proxy's address, user and password in HTTP_PROXY and HTTPS_PROXY",
  tls: "give the certificate authority of the registry, or name the registry insecure",
};

const problemsByCode: Readonly<Record<string, ConnectionProblem>> = {
  ECONNREFUSED: "refused",
  EHOSTUNREACH: "refused",
  ENETUNREACH: "refused",
  EADDRNOTAVAIL: "refused",
  ConnectionRefused: "refused",
  FailedToOpenSocket: "refused",
  ENOTFOUND: "unknown-host",
  ETIMEDOUT: "timeout",
  UND_ERR_CONNECT_TIMEOUT: "timeout",
  ERR_PROXY_TUNNEL: "proxy",
  EPROTO: "tls",
  CERT_HAS_EXPIRED: "tls",
  CERT_NOT_YET_VALID: "tls",
  CERT_UNTRUSTED: "tls",
  CERT_REVOKED: "tls",
  CERT_SIGNATURE_FAILURE: "tls",
  DEPTH_ZERO_SELF_SIGNED_CERT: "tls",
  SELF_SIGNED_CERT_IN_CHAIN: "tls",
  UNABLE_TO_GET_ISSUER_CERT: "tls",
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: "tls",
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: "tls",
  HOSTNAME_MISMATCH: "tls",
};

/** Wraps what an adapter's library threw. */
export function toConnectionError(url: URL, cause: unknown): ConnectionError {
  if (cause instanceof ConnectionError) return cause;
  const code = errorCode(cause);
  const isTls = code.startsWith("ERR_TLS_") || code.startsWith("ERR_SSL_");
  const problem = isTls ? "tls" : (problemsByCode[code] ?? proxyProblem(cause) ?? "broken");
  return new ConnectionError(url.host, problem, { cause });
}

/** undici's codes for a refused CONNECT are those of much else; only its words tell. */
function proxyProblem(cause: unknown): "proxy" | undefined {
  const isProxy =
    cause instanceof Error && /^Proxy (?:response|Authentication)/.test(cause.message);
  return isProxy ? "proxy" : undefined;
}

const MAX_CAUSES = 8;

/** The first error code along the chain of causes; "" when there is none. */
function errorCode(error: unknown): string {
  for (let depth = 0, each = error; depth < MAX_CAUSES && each instanceof Error; depth++) {
    if ("code" in each && typeof each.code === "string") return each.code;
    // Node tries IPv6 and IPv4 and reports both failures in one AggregateError.
    each = each instanceof AggregateError ? each.errors[0] : each.cause;
  }
  return "";
}
