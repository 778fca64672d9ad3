/** Which certificate authorities to trust: the system's, as docker does, and those the user adds. */
import { readFileSync } from "node:fs";
import { rootCertificates } from "node:tls";

/** Where distributions keep all trusted certificates in one file. */
const bundles = [
  "/etc/ssl/certs/ca-certificates.crt", // Debian, Ubuntu, Alpine, Arch
  "/etc/pki/tls/certs/ca-bundle.crt", // Fedora, RHEL
  "/etc/ssl/ca-bundle.pem", // openSUSE
  "/etc/ssl/cert.pem", // macOS, FreeBSD
] as const;

/** Authorities in PEM, or undefined when those built into the engine are all there is. */
export function trustedCertificates(added: readonly string[]): readonly string[] | undefined {
  const system = readSystemBundle();
  if (system !== undefined) return [system, ...added];
  return added.length === 0 ? undefined : [...rootCertificates, ...added];
}

function readSystemBundle(): string | undefined {
  const named = process.env["SSL_CERT_FILE"];
  for (const path of named === undefined || named === "" ? bundles : [named]) {
    try {
      return readFileSync(path, "utf8");
    } catch (error) {
      // A bundle that another distribution has is no error; one that the user names is.
      if (path === named) {
        throw new Error(`Cannot read the certificates in "${path}", which SSL_CERT_FILE names`, {
          cause: error,
        });
      }
    }
  }
  return undefined;
}
