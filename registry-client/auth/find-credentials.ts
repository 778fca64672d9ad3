/** Looks credentials up where docker does: the server's helper, else config.json itself. */
import { SpecError } from "../../oci/index.ts";
import type { EmitEvent } from "../events.ts";
import { Shared } from "../shared.ts";
import { CredentialHelperError, getFromHelper } from "./credential-helper.ts";
import type { Credentials, FindCredentials } from "./credentials.ts";
import { helperFor, readDockerConfig, storedCredentials } from "./docker-config.ts";

/**
 * A helper or file that fails means anonymous, with a warning: public images must not need it.
 * Answers are kept, as helpers are slow.
 */
export function dockerCredentials(configPath: string, emit: EmitEvent): FindCredentials {
  const known = new Map<string, Shared<Credentials | undefined>>();
  return (server, { signal }) => {
    const before = known.get(server);
    if (before !== undefined) return before.get(signal);
    const search = new Shared((own: AbortSignal) => findOnce(configPath, server, emit, own));
    known.set(server, search);
    return search.get(signal);
  };
}

async function findOnce(
  configPath: string,
  server: string,
  emit: EmitEvent,
  signal: AbortSignal,
): Promise<Credentials | undefined> {
  const goOnAnonymously = (problem: string): undefined => {
    emit({ type: "warning", message: `${problem}; going on without logging in to "${server}"` });
  };
  try {
    const config = await readDockerConfig(configPath);
    const helper = helperFor(config, server);
    if (helper === undefined) return storedCredentials(config, server);
    const found = await askHelper(helper, server, goOnAnonymously, signal);
    return found ?? storedCredentials(config, server);
  } catch (error) {
    signal.throwIfAborted();
    const isUnreadable = error instanceof Error && "code" in error;
    if (!(error instanceof SpecError) && !isUnreadable) throw error;
    return goOnAnonymously(error.message);
  }
}

async function askHelper(
  helper: string,
  server: string,
  goOnAnonymously: (problem: string) => undefined,
  signal: AbortSignal,
): Promise<Credentials | undefined> {
  try {
    return await getFromHelper(helper, server, { signal });
  } catch (error) {
    if (!(error instanceof CredentialHelperError)) throw error;
    return goOnAnonymously(error.message);
  }
}
