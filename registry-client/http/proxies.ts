/**
 * Which proxy a URL goes through: HTTP_PROXY, HTTPS_PROXY and NO_PROXY, as Go reads them.
 *
 * There is no specification; the rules are those of golang.org/x/net/http/httpproxy, which every
 * registry tool in Go follows: lower-case names second, loopback never through a proxy, NO_PROXY a
 * list of `*`, host names (with subdomains), `.domain` (subdomains only), addresses, CIDR ranges,
 * each with an optional port.
 */
import { isIP } from "node:net";
import { bareHost, compileAddressRange } from "./hosts.ts";
import { isLoopback } from "./loopback.ts";

export interface ProxySettings {
  /** Proxy for http: URLs. */
  readonly http?: string;
  /** Proxy for https: URLs. */
  readonly https?: string;
  /** Comma-separated hosts that are reached directly. */
  readonly none?: string;
}

/** The proxy settings of an environment. */
export function proxySettings(env: Readonly<Record<string, string | undefined>>): ProxySettings {
  const pick = (name: string) => env[name] || env[name.toLowerCase()] || undefined;
  // httpoxy (CVE-2016-5385): in a CGI program HTTP_PROXY is a header of the client.
  const http = env["REQUEST_METHOD"] === undefined ? pick("HTTP_PROXY") : env["http_proxy"];
  const https = pick("HTTPS_PROXY");
  const none = pick("NO_PROXY");
  return {
    ...(http === undefined ? {} : { http }),
    ...(https === undefined ? {} : { https }),
    ...(none === undefined ? {} : { none }),
  };
}

/** Compiles settings to a function; throws at once when a proxy's address makes no sense. */
export function compileProxies(settings: ProxySettings): (url: URL) => URL | undefined {
  const http = settings.http === undefined ? undefined : parseProxy(settings.http);
  const https = settings.https === undefined ? undefined : parseProxy(settings.https);
  const excluded = (settings.none ?? "")
    .split(",")
    .map((entry) => entry.trim().toLowerCase())
    .filter((entry) => entry !== "")
    .map(compileExclusion);
  return (url) => {
    if (isLoopback(url.hostname)) return undefined;
    const host = {
      name: bareHost(url.hostname),
      port: url.port || defaultPorts[url.protocol] || "",
    };
    if (excluded.some((matches) => matches(host))) return undefined;
    return url.protocol === "https:" ? https : http;
  };
}

const defaultPorts: Readonly<Record<string, string>> = { "http:": "80", "https:": "443" };

function parseProxy(text: string): URL {
  const withScheme = /^[a-z][a-z0-9+.-]*:\/\//i.test(text) ? text : `http://${text}`;
  const url = URL.canParse(withScheme) ? new URL(withScheme) : undefined;
  if (url !== undefined && (url.protocol === "http:" || url.protocol === "https:")) return url;
  // The text may hold a password: it is not shown.
  const found = url === undefined ? "is no URL" : `has the scheme "${url.protocol}"`;
  throw new ProxyError(`Cannot use the proxy: its address ${found}, expected "http://host:port"`);
}

/** The address of a proxy makes no sense. */
export class ProxyError extends Error {
  override readonly name = "ProxyError";
  readonly hint = "correct HTTP_PROXY or HTTPS_PROXY, or unset them";
}

interface Host {
  readonly name: string;
  readonly port: string;
}

function compileExclusion(entry: string): (host: Host) => boolean {
  if (entry === "*") return () => true;
  const range = compileAddressRange(entry);
  if (range !== undefined) return ({ name }) => range(name);
  const [, bracketed, plain, port] =
    /^(?:\[([^\]]*)\]|([^:]*|[^:]*:.*:[^:]*))(?::(\d+))?$/.exec(entry) ?? [];
  const name = bareHost(bracketed ?? plain ?? entry);
  const portMatches = (host: Host) => port === undefined || port === host.port;
  if (isIP(name) !== 0) return (host) => host.name === name && portMatches(host);
  const suffix = name.startsWith("*.") ? name.slice(1) : name;
  if (suffix.startsWith(".")) return (host) => host.name.endsWith(suffix) && portMatches(host);
  return (host) => (host.name === suffix || host.name.endsWith(`.${suffix}`)) && portMatches(host);
}
