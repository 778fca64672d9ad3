/**
 * Where a registry's API is: scheme, host, prefix, and how far its TLS is trusted.
 *
 * HTTPS, except that a loopback registry is asked over plain HTTP first, and one that the user
 * named insecure over HTTPS with any certificate first and plain HTTP then, as docker does.
 */
import { quoteText, SpecError } from "../oci/index.ts";
import { serverForDomain } from "./auth/credentials.ts";
import { bareHost, compileAddressRange } from "./http/hosts.ts";
import { isLoopback } from "./http/loopback.ts";

export interface Endpoint {
  /** Ends in `/v2/`. */
  readonly base: URL;
  /** docker's name for it in config.json. */
  readonly server: string;
}

export interface EndpointOptions {
  /** `host`, `host:port` or a range of addresses, where plain HTTP or any certificate will do. */
  readonly insecure: readonly string[];
}

/** Docker Hub's API is not under its name. */
const DOCKER_HUB_HOST = "registry-1.docker.io";

/** Where to look for a registry, the best guess first; one of them answers. */
export function endpointCandidates(domain: string, options: EndpointOptions): readonly Endpoint[] {
  const host = domain === "docker.io" ? DOCKER_HUB_HOST : domain;
  const server = serverForDomain(domain);
  return schemesFor(host, options).map((scheme) => ({
    base: parseBase(`${scheme}://${host}/v2/`, domain),
    server,
  }));
}

export interface Mirror {
  readonly candidates: readonly Endpoint[];
  /** What stands before every repository there: "" or `prefix/`. */
  readonly prefix: string;
}

/**
 * Reads a mirror: `https://host[:port][/prefix]`, or without scheme. With a prefix, repository
 * `a/b` is `prefix/a/b` there.
 */
export function parseMirror(text: string, options: EndpointOptions): Mirror {
  const match =
    /^(?:(https?):\/\/)?((?:\[[\da-f:]+\]|[^/:?#@\s[\]]+)(?::\d+)?)(\/[^?#\s]*)?$/i.exec(text);
  const host = match?.[2];
  if (match === null || host === undefined) throw badAddress(text);
  const path = (match[3] ?? "").replace(/^\/(?:v2(?:\/|$))?/, "").replace(/\/+$/, "");
  const schemes = match[1] === undefined ? schemesFor(host, options) : [match[1].toLowerCase()];
  const candidates = schemes.map((scheme) => {
    const base = parseBase(`${scheme}://${host}/v2/`, text);
    if (base.protocol === "http:" && !allowsPlainHttp(base, options)) throw plainMirror(text, base);
    return { base, server: serverForDomain(host) };
  });
  return { candidates, prefix: path === "" ? "" : `${path}/` };
}

function plainMirror(text: string, base: URL): SpecError {
  return new SpecError({
    document: `mirror ${quoteText(text)}`,
    path: "",
    problem: "it uses plain HTTP, expected HTTPS",
    hint: `name "${base.host}" insecure if you trust the network`,
  });
}

/** Whether plain HTTP may be spoken to this URL's host. */
export function allowsPlainHttp(url: URL, options: EndpointOptions): boolean {
  return isLoopback(url.hostname) || isNamedInsecure(url, options);
}

export function isNamedInsecure(url: URL, { insecure }: EndpointOptions): boolean {
  return insecure.some((name) => {
    const lower = name.toLowerCase();
    if (lower === url.host || lower === url.hostname) return true;
    return compileAddressRange(name)?.(bareHost(url.hostname)) ?? false;
  });
}

function schemesFor(host: string, options: EndpointOptions): readonly ("http" | "https")[] {
  const url = parseBase(`https://${host}/`, host);
  if (isNamedInsecure(url, options)) return ["https", "http"];
  return isLoopback(url.hostname) ? ["http", "https"] : ["https"];
}

function parseBase(text: string, shown: string): URL {
  if (!URL.canParse(text)) throw badAddress(shown);
  return new URL(text);
}

function badAddress(text: string): SpecError {
  return new SpecError({
    document: `registry address ${quoteText(text)}`,
    path: "",
    problem: `expected a host name and maybe a port, as "registry.example:5000"`,
  });
}
