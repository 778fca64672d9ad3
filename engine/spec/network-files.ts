/** /etc/hosts, /etc/resolv.conf and /etc/hostname, as docker makes them. */
import type { ContainerOptions } from "../options.ts";

const LOOPBACK_HOSTS = [
  "127.0.0.1\tlocalhost",
  "::1\tlocalhost ip6-localhost ip6-loopback",
  "fe00::\tip6-localnet",
  "ff00::\tip6-mcastprefix",
  "ff02::1\tip6-allnodes",
  "ff02::2\tip6-allrouters",
];

/** `host` is the host's own file, which the host network shares. */
export function makeHosts(
  options: Pick<ContainerOptions, "network" | "extraHosts">,
  host: string,
): string {
  const base = options.network === "host" ? host.trimEnd().split("\n") : LOOPBACK_HOSTS;
  const extra = (options.extraHosts ?? []).map(({ host: name, address }) => {
    // without a bridge, the only gateway to the host is the host itself
    return `${address === "host-gateway" ? "127.0.0.1" : address}\t${name}`;
  });
  return `${[...base, ...extra].join("\n")}\n`;
}

type ResolverOptions = Pick<ContainerOptions, "network" | "dns" | "dnsSearch" | "dnsOptions">;

/** The host's resolv.conf(5) with what the options replace. */
export function makeResolvConf(options: ResolverOptions, host: string): string {
  const { dns = [], dnsSearch = [], dnsOptions = [] } = options;
  const lines = host.split("\n").map((line) => line.trim());
  const valuesOf = (keyword: string): string[] =>
    lines.flatMap((line) => {
      const [first, ...rest] = line.split(/\s+/);
      return first === keyword ? [rest.join(" ")] : [];
    });
  const own = valuesOf("nameserver").filter((address) => {
    // a stub on the host's loopback cannot be reached from another network namespace
    return options.network === "host" || !/^(127\.|::1$)/.test(address);
  });
  const search = dnsSearch.length > 0 ? dnsSearch.join(" ") : valuesOf("search").at(-1);
  const settings = dnsOptions.length > 0 ? dnsOptions.join(" ") : valuesOf("options").at(-1);
  return [
    ...(dns.length > 0 ? dns : own).map((address) => `nameserver ${address}`),
    // "--dns-search ." means none, as docker's
    ...(search === undefined || search === "" || search === "." ? [] : [`search ${search}`]),
    ...(settings === undefined || settings === "" ? [] : [`options ${settings}`]),
    "",
  ].join("\n");
}
