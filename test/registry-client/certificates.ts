/** A certificate authority of the tests' own, made by openssl in a temporary directory. */
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

export interface TestCertificates {
  /** The authority, in PEM. */
  readonly ca: string;
  readonly certificate: string;
  readonly key: string;
  /** Files of certificate and key, until disposal. */
  readonly paths: { readonly certificate: string; readonly key: string };
  [Symbol.dispose](): void;
}

/** One certificate for these names (`DNS:a.example`, `IP:127.0.0.1`), signed by a new authority. */
export function makeCertificates(names: readonly string[]): TestCertificates {
  const directory = mkdtempSync(join(tmpdir(), "manyworlds-tls-"));
  const file = (name: string) => join(directory, name);
  const openssl = (...args: string[]) =>
    execFileSync("openssl", args, { cwd: directory, stdio: "ignore" });
  const key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
  writeFileSync(file("leaf.cnf"), `subjectAltName=${names.join(",")}\nbasicConstraints=CA:FALSE\n`);
  openssl(
    "req",
    "-x509",
    ...key,
    "-keyout",
    "ca.key",
    "-out",
    "ca.pem",
    "-days",
    "2",
    "-subj",
    "/CN=test authority",
  );
  openssl("req", "-new", ...key, "-keyout", "leaf.key", "-out", "leaf.csr", "-subj", "/CN=test");
  openssl(
    "x509",
    "-req",
    "-in",
    "leaf.csr",
    "-CA",
    "ca.pem",
    "-CAkey",
    "ca.key",
    "-CAcreateserial",
    "-days",
    "2",
    "-extfile",
    "leaf.cnf",
    "-out",
    "leaf.pem",
  );
  return {
    ca: readFileSync(file("ca.pem"), "utf8"),
    certificate: readFileSync(file("leaf.pem"), "utf8"),
    key: readFileSync(file("leaf.key"), "utf8"),
    paths: { certificate: file("leaf.pem"), key: file("leaf.key") },
    [Symbol.dispose]: () => rmSync(directory, { recursive: true, force: true }),
  };
}
