/** Hosts as settings name them: addresses, names, and ranges of addresses. */
import { BlockList, isIP } from "node:net";

/** Without brackets and final dot, in lower case: `[::1]` → `::1`. */
export function bareHost(hostname: string): string {
  return hostname
    .replace(/^\[|\]$/g, "")
    .replace(/\.$/, "")
    .toLowerCase();
}

/** Compiles `10.0.0.0/8` or `fd00::/8` to a test of addresses; undefined for any other text. */
export function compileAddressRange(text: string): ((address: string) => boolean) | undefined {
  const [address = "", bits] = text.split("/");
  const version = isIP(address);
  if (version === 0 || bits === undefined || !/^\d{1,3}$/.test(bits)) return undefined;
  if (Number(bits) > (version === 4 ? 32 : 128)) return undefined;
  const list = new BlockList();
  const family = version === 4 ? "ipv4" : "ipv6";
  list.addSubnet(address, Number(bits), family);
  return (each) => isIP(each) === version && list.check(each, family);
}
