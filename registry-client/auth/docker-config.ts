/**
 * `~/.docker/config.json`: where docker, podman and others keep registry logins.
 *
 *   { "auths": { "ghcr.io": { "auth": base64("user:password") } },
 *     "credsStore": "secretservice",               // one helper for all servers
 *     "credHelpers": { "x.dkr.ecr.…": "ecr-login" } // a helper for one server
 *   }
 *
 * Docker CLI documentation, "docker login", and docker/cli "config/configfile". Entries we do not
 * know are kept when the file is written.
 */
import { constants } from "node:fs";
import { mkdir, open, readFile, realpath, rename, rm } from "node:fs/promises";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import { json, SpecError } from "../../oci/index.ts";
import type { Credentials } from "./credentials.ts";

export interface AuthEntry {
  /** Base64 of `user:password`. */
  readonly auth?: string;
  readonly username?: string;
  readonly password?: string;
  readonly identitytoken?: string;
  readonly registrytoken?: string;
}

export interface DockerConfig {
  readonly auths?: Readonly<Record<string, AuthEntry>>;
  readonly credsStore?: string;
  readonly credHelpers?: Readonly<Record<string, string>>;
}

const MAX_ENTRIES = 10_000;
const limits = { maxBytes: 4 * 1024 * 1024, maxDepth: 32 };
const { object, optional, record, string } = json;

const configReader = object<DockerConfig>({
  auths: optional(
    record(
      object<AuthEntry>({
        auth: optional(string),
        username: optional(string),
        password: optional(string),
        identitytoken: optional(string),
        registrytoken: optional(string),
      }),
      MAX_ENTRIES,
    ),
  ),
  credsStore: optional(string),
  credHelpers: optional(record(string, MAX_ENTRIES)),
});

/** `$DOCKER_CONFIG/config.json`, else the one in the home directory. */
export function dockerConfigPath(
  env: Readonly<Record<string, string | undefined>> = process.env,
): string {
  const directory = env["DOCKER_CONFIG"] || join(env["HOME"] || homedir(), ".docker");
  return join(directory, "config.json");
}

/** Reads the file; a missing one is an empty configuration. */
export async function readDockerConfig(path: string): Promise<DockerConfig> {
  const text = await readOrNothing(path);
  return json.readJson(text, `"${path}"`, configReader, limits);
}

async function readOrNothing(path: string): Promise<Uint8Array | string> {
  try {
    const bytes = await readFile(path);
    return bytes.length === 0 ? "{}" : bytes;
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return "{}";
    throw error;
  }
}

/** The helper in charge of a server, if any. */
export function helperFor(config: DockerConfig, server: string): string | undefined {
  const own = lookUp(config.credHelpers ?? {}, server);
  const name = own ?? config.credsStore;
  return name === undefined || name === "" ? undefined : name;
}

/** Credentials kept in the file itself. */
export function storedCredentials(config: DockerConfig, server: string): Credentials | undefined {
  const entry = lookUp(config.auths ?? {}, server);
  return entry === undefined ? undefined : entryCredentials(entry, server);
}

function entryCredentials(entry: AuthEntry, server: string): Credentials | undefined {
  const [username, password] = entry.auth
    ? decodeAuth(entry.auth, server)
    : [entry.username, entry.password];
  if (entry.identitytoken) {
    const named = username ? { username } : {};
    return { kind: "identity", identityToken: entry.identitytoken, ...named };
  }
  if (entry.registrytoken) return { kind: "bearer", registryToken: entry.registrytoken };
  if (!username && !password) return undefined;
  return { kind: "basic", username: username ?? "", password: password ?? "" };
}

function decodeAuth(auth: string, server: string): readonly [string, string] {
  const text = Buffer.from(auth, "base64").toString("utf8");
  const colon = text.indexOf(":");
  if (colon < 0) {
    throw new SpecError({
      document: "docker's config.json",
      path: `auths["${server}"].auth`,
      problem: `is not base64 of "user:password"`,
    });
  }
  // docker strips NULs that old versions padded with.
  return [text.slice(0, colon), text.slice(colon + 1).replace(/\0+$/, "")];
}

/** Finds a server's entry: by its exact name, else by host name alone (old entries are URLs). */
function lookUp<T>(entries: Readonly<Record<string, T>>, server: string): T | undefined {
  if (Object.hasOwn(entries, server)) return entries[server];
  const host = hostOf(server);
  for (const [name, entry] of Object.entries(entries)) {
    if (hostOf(name) === host) return entry;
  }
  return undefined;
}

/** `https://index.docker.io/v1/` → `index.docker.io`. */
function hostOf(server: string): string {
  return (server.replace(/^https?:\/\//, "").split("/", 1)[0] ?? "").toLowerCase();
}

/** Replaces or removes a server's entry in the file; everything else in it stays. */
export async function writeAuthEntry(
  path: string,
  server: string,
  entry: AuthEntry | undefined,
): Promise<void> {
  const text = await readOrNothing(path);
  // Checked as a whole first: a file that we misread must not be overwritten.
  json.readJson(text, `"${path}"`, configReader, limits);
  const anything: json.Reader<unknown> = (value) => value;
  const config = json.readJson(text, `"${path}"`, json.record(anything, MAX_ENTRIES), limits);
  const auths = json.readValue(
    config["auths"] ?? {},
    `"${path}"`,
    json.record(anything, MAX_ENTRIES),
  );
  const kept = Object.entries(auths).filter(([name]) => hostOf(name) !== hostOf(server));
  const next = Object.fromEntries(entry === undefined ? kept : [...kept, [server, entry]]);
  await replaceFile(path, `${JSON.stringify({ ...config, auths: next }, null, "\t")}\n`);
}

/** Atomic, readable by the owner alone; a symbolic link stays and its target is replaced. */
async function replaceFile(path: string, text: string): Promise<void> {
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  const target = await realpath(path).catch(() => path);
  const temporary = `${target}.${process.pid}.${Date.now().toString(36)}.tmp`;
  const { O_WRONLY, O_CREAT, O_EXCL } = constants;
  const file = await open(temporary, O_WRONLY | O_CREAT | O_EXCL, 0o600);
  try {
    await file.writeFile(text);
    await file.sync();
    await file.close();
    await rename(temporary, target);
  } catch (error) {
    await file.close().catch(() => {});
    await rm(temporary, { force: true }).catch(() => {});
    throw error;
  }
}
