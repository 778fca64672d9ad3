/**
 * What TLS to a registry is made with: trusted authorities, and a certificate of our own where the
 * registry wants one.
 *
 * Trusted are the system's authorities, as with docker, those the user adds, and per registry those
 * in docker's and podman's directories:
 *
 *   /etc/docker/certs.d/HOST[:PORT]/ *.crt            authorities
 *                                    NAME.cert, NAME.key  our certificate and its key
 *
 * Docker documentation, "Verify repository client with certificates"; containers-certs.d(5).
 */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { rootCertificates } from "node:tls";

export interface CertificateOptions {
  /** Authorities in PEM, trusted for every registry. */
  readonly ca: readonly string[];
  /** Directories that hold one directory per registry. */
  readonly directories: readonly string[];
}

/** In PEM; absent fields mean the engine's own choice. */
export interface TlsSettings {
  /** The host that these are for; "" when they are those of every host. */
  readonly scope: string;
  readonly ca?: readonly string[];
  readonly cert?: string;
  readonly key?: string;
}

/** Where distributions keep all trusted certificates in one file. */
const bundles = [
  "/etc/ssl/certs/ca-certificates.crt", // Debian, Ubuntu, Alpine, Arch
  "/etc/pki/tls/certs/ca-bundle.crt", // Fedora, RHEL
  "/etc/ssl/ca-bundle.pem", // openSUSE
  "/etc/ssl/cert.pem", // macOS, FreeBSD
] as const;

const MAX_FILES = 256;

/** Returns what reads the settings of a host (`name[:port]`), each once. */
export function certificateReader(options: CertificateOptions): (host: string) => TlsSettings {
  const shared = lazily(() => sharedAuthorities(options.ca));
  const known = new Map<string, TlsSettings>();
  return (host) => {
    const before = known.get(host);
    if (before !== undefined) return before;
    const settings = settingsFor(host, options.directories, shared());
    known.set(host, settings);
    return settings;
  };
}

function settingsFor(
  host: string,
  directories: readonly string[],
  shared: readonly string[] | undefined,
): TlsSettings {
  // A host from a URL holds no slash, but may be "..".
  const isName = !host.startsWith(".");
  const files = directories.flatMap((each) => (isName ? listFiles(join(each, host)) : []));
  const own = files.filter((path) => path.endsWith(".crt")).map(readCertificate);
  const ca = own.length === 0 ? shared : [...(shared ?? rootCertificates), ...own];
  const certificate = files.find((path) => path.endsWith(".cert"));
  const key = certificate?.replace(/\.cert$/, ".key");
  return {
    scope: files.length === 0 ? "" : host,
    ...(ca === undefined ? {} : { ca }),
    ...(certificate === undefined || key === undefined
      ? {}
      : { cert: readCertificate(certificate), key: readCertificate(key) }),
  };
}

function listFiles(directory: string): readonly string[] {
  try {
    return readdirSync(directory)
      .sort()
      .slice(0, MAX_FILES)
      .map((name) => join(directory, name));
  } catch {
    // Most registries have no such directory.
    return [];
  }
}

function readCertificate(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (cause) {
    throw new Error(`Cannot read "${path}", which TLS to this registry needs`, { cause });
  }
}

/** undefined when the authorities built into the engine are all there is. */
function sharedAuthorities(added: readonly string[]): readonly string[] | undefined {
  const system = readSystemBundle();
  if (system !== undefined) return [system, ...added];
  return added.length === 0 ? undefined : [...rootCertificates, ...added];
}

function readSystemBundle(): string | undefined {
  const named = process.env["SSL_CERT_FILE"];
  for (const path of named === undefined || named === "" ? bundles : [named]) {
    try {
      return readFileSync(path, "utf8");
    } catch (cause) {
      // A bundle that another distribution has is no error; one that the user names is.
      if (path === named) {
        const message = `Cannot read the certificates in "${path}", which SSL_CERT_FILE names`;
        throw new Error(message, { cause });
      }
    }
  }
  return undefined;
}

function lazily<T>(make: () => T): () => T {
  let made: { readonly value: T } | undefined;
  return () => {
    made ??= { value: make() };
    return made.value;
  };
}
