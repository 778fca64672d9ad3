/** Debian's docker-registry on a free port of loopback, for tests and benches. */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";

export interface DockerRegistry extends AsyncDisposable {
  /** `127.0.0.1:PORT`, as a reference's domain. */
  readonly domain: string;
  readonly directory: string;
}

export interface DockerRegistryOptions {
  /** Lines of an htpasswd file with bcrypt hashes; absent: anybody may do anything. */
  readonly htpasswd?: string;
  readonly tls?: { readonly certificate: string; readonly key: string };
  /** Makes it a pull-through cache of this URL. */
  readonly proxyOf?: string;
}

const START_TIMEOUT_MS = 15_000;

export async function startDockerRegistry(
  options: DockerRegistryOptions = {},
): Promise<DockerRegistry> {
  const directory = await mkdtemp(join(tmpdir(), "manyworlds-registry-"));
  const config = join(directory, "config.json");
  // YAML includes JSON.
  await writeFile(config, JSON.stringify(await registryConfig(directory, options)));
  // It must not outlive us, even when we are killed.
  const command = ["--pdeathsig", "TERM", "docker-registry", "serve", config];
  const child = spawn("setpriv", command, {
    stdio: ["ignore", "ignore", "pipe"],
    env: { PATH: process.env["PATH"] ?? "", OTEL_TRACES_EXPORTER: "none" },
  });
  const stop = async () => {
    await ended(child);
    await rm(directory, { recursive: true, force: true });
  };
  try {
    return { domain: await listening(child), directory, [Symbol.asyncDispose]: stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

async function registryConfig(
  directory: string,
  { htpasswd, tls, proxyOf }: DockerRegistryOptions,
): Promise<unknown> {
  const passwords = join(directory, "htpasswd");
  if (htpasswd !== undefined) await writeFile(passwords, htpasswd);
  return {
    version: "0.1",
    log: { level: "info", accesslog: { disabled: true } },
    storage: {
      filesystem: { rootdirectory: join(directory, "data") },
      delete: { enabled: true },
    },
    http: {
      addr: "127.0.0.1:0",
      ...(tls === undefined ? {} : { tls: { certificate: tls.certificate, key: tls.key } }),
    },
    ...(htpasswd === undefined ? {} : { auth: { htpasswd: { realm: "test", path: passwords } } }),
    ...(proxyOf === undefined ? {} : { proxy: { remoteurl: proxyOf } }),
  };
}

/** Waits for the line that names its address; a registry that ends before says why on stderr. */
function listening(child: ChildProcess): Promise<string> {
  return new Promise((resolve, reject) => {
    let said = "";
    const timer = setTimeout(
      () => reject(new Error(`docker-registry is silent: ${said}`)),
      START_TIMEOUT_MS,
    );
    child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      said = (said + text).slice(-4000);
      const address = /listening on (127\.0\.0\.1:\d+)/.exec(said)?.[1];
      if (address === undefined) return;
      clearTimeout(timer);
      resolve(address);
    });
    child.on("error", (cause) => {
      clearTimeout(timer);
      reject(
        new Error("Cannot start docker-registry: install Debian's package of that name", { cause }),
      );
    });
    child.on("exit", (code) => {
      clearTimeout(timer);
      reject(new Error(`docker-registry ended with ${code}: ${said}`));
    });
  });
}

function ended(child: ChildProcess): Promise<void> {
  return new Promise((resolve) => {
    if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) {
      resolve();
      return;
    }
    child.on("exit", () => resolve());
    child.kill("SIGKILL");
  });
}
