/** What proves to a registry who is asking, and where it comes from. */

export type Credentials =
  | { readonly kind: "basic"; readonly username: string; readonly password: string }
  /** An OAuth2 refresh token, exchanged for bearer tokens (docker: "identity token"). */
  | { readonly kind: "identity"; readonly identityToken: string; readonly username?: string }
  /** A bearer token to be sent as it is (docker: "registry token"). */
  | { readonly kind: "bearer"; readonly registryToken: string };

/**
 * Finds credentials for a server, named as docker names it in config.json: `host[:port]`, and
 * `https://index.docker.io/v1/` for Docker Hub. undefined means anonymous.
 */
export type FindCredentials = (
  server: string,
  options: { readonly signal: AbortSignal },
) => Promise<Credentials | undefined>;

/** docker's name for Docker Hub in config.json and towards credential helpers. */
export const DOCKER_HUB_SERVER = "https://index.docker.io/v1/";

/** Under which name docker keeps the credentials for a reference's domain. */
export function serverForDomain(domain: string): string {
  return domain === "docker.io" ? DOCKER_HUB_SERVER : domain;
}

/** RFC 7617: the value of an Authorization header. */
export function basicAuthorization(username: string, password: string): string {
  return `Basic ${Buffer.from(`${username}:${password}`, "utf8").toString("base64")}`;
}
