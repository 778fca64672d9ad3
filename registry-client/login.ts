/** login and logout: checked with the registry first, kept where docker keeps them. */
import { eraseFromHelper, storeInHelper } from "./auth/credential-helper.ts";
import { type Credentials, serverForDomain } from "./auth/credentials.ts";
import { helperFor, readDockerConfig, writeAuthEntry } from "./auth/docker-config.ts";
import { endpointCandidates } from "./endpoint.ts";
import type { EmitEvent } from "./events.ts";
import { discardBody } from "./http/body.ts";
import { type ClientContext, RegistrySession } from "./session.ts";

export interface LoginOptions {
  readonly signal: AbortSignal;
  readonly username: string;
  readonly password: string;
}

export interface LoginResult {
  /** Where the login is kept now: a file, or a credential helper. */
  readonly storedIn: { readonly file: string } | { readonly helper: string };
}

/** Fails with RegistryError where the registry refuses; nothing is stored then. */
export async function login(
  domain: string,
  options: LoginOptions,
  context: ClientContext,
  configPath: string,
): Promise<LoginResult> {
  const { username, password, signal } = options;
  const given: Credentials = { kind: "basic", username, password };
  const refreshToken = await checkLogin(domain, given, context, signal);
  const server = serverForDomain(domain);
  const helper = helperFor(await readDockerConfig(configPath), server);
  if (helper === undefined) {
    const entry =
      refreshToken === undefined
        ? { auth: encodeAuth(username, password) }
        : { auth: encodeAuth(username, ""), identitytoken: refreshToken };
    await writeAuthEntry(configPath, server, entry);
    return { storedIn: { file: configPath } };
  }
  const kept =
    refreshToken === undefined ? { username, secret: password } : { identityToken: refreshToken };
  await storeInHelper(helper, server, kept, { signal });
  // docker lists in auths which servers the helper has a login for.
  await writeAuthEntry(configPath, server, {});
  return { storedIn: { helper: `docker-credential-${helper}` } };
}

/** Asks `/v2/` with these credentials; returns the identity token that the registry gave, if any. */
async function checkLogin(
  domain: string,
  given: Credentials,
  context: ClientContext,
  signal: AbortSignal,
): Promise<string | undefined> {
  const session = new RegistrySession(endpointCandidates(domain, context.endpoints), {
    ...context,
    findCredentials: () => Promise.resolve(given),
    wantsRefreshToken: true,
  });
  const response = await session.send({
    action: `log in to "${domain}"`,
    method: "GET",
    target: "",
    scopes: [],
    expected: [200],
    signal,
  });
  await discardBody(response.body);
  const authorizer = await session.authorizer(signal);
  if (authorizer.scheme === undefined) {
    const message = `"${domain}" lets anybody in; the login was not checked`;
    context.emit({ type: "warning", message });
  }
  return authorizer.refreshToken;
}

function encodeAuth(username: string, password: string): string {
  return Buffer.from(`${username}:${password}`, "utf8").toString("base64");
}

/** Forgets a login, in the helper and in the file; none there is no error. */
export async function logout(
  domain: string,
  options: { readonly signal: AbortSignal; readonly configPath: string; readonly emit: EmitEvent },
): Promise<void> {
  const { configPath, signal, emit } = options;
  const server = serverForDomain(domain);
  const config = await readDockerConfig(configPath);
  const helper = helperFor(config, server);
  if (helper !== undefined) {
    await eraseFromHelper(helper, server, { signal }).catch((error: unknown) => {
      signal.throwIfAborted();
      emit({ type: "warning", message: error instanceof Error ? error.message : String(error) });
    });
  }
  if (config.auths !== undefined) await writeAuthEntry(configPath, server, undefined);
}
