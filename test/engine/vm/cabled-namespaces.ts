/** Two network namespaces with a cable between them, and web servers in them. */
import { type ChildProcess, execFileSync, spawn } from "node:child_process";
import { existsSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";

export interface CableOptions {
  /** Beginning of the namespaces' names. */
  readonly prefix: string;
  /** The first three numbers of their addresses; outside is .1, inside .2. */
  readonly network: string;
  /** The same for IPv6, the prefix up to "::". */
  readonly network6?: string;
  readonly mtu?: number;
}

export class CabledNamespaces implements Disposable {
  /** Its eth0 leads outside, by default routes as well. */
  readonly inner: string;
  readonly outer: string;
  readonly #servers: ChildProcess[] = [];

  constructor({ prefix, network, network6, mtu }: CableOptions) {
    this.inner = `${prefix}${process.pid}`;
    this.outer = `${this.inner}o`;
    const { inner, outer } = this;
    for (const one of [inner, outer]) ip("netns", "add", one);
    ip("link", "add", "eth0", "netns", inner, "type", "veth", "peer", "name", "o", "netns", outer);
    for (const [one, device, last] of [
      [inner, "eth0", 2],
      [outer, "o", 1],
    ] as const) {
      ip("-n", one, "link", "set", "lo", "up");
      ip("-n", one, "addr", "add", `${network}.${last}/24`, "dev", device);
      if (network6 !== undefined)
        ip("-n", one, "-6", "addr", "add", `${network6}::${last}/64`, "dev", device, "nodad");
      if (mtu !== undefined) ip("-n", one, "link", "set", device, "mtu", String(mtu));
      ip("-n", one, "link", "set", device, "up");
    }
    ip("-n", inner, "route", "add", "default", "via", `${network}.1`);
  }

  /** A web server in one of the namespaces, with a directory's files. */
  async serve(namespace: string, directory: string, port: number): Promise<void> {
    const args = ["netns", "exec", namespace, "busybox", "httpd", "-f", "-p", String(port)];
    this.#servers.push(spawn("ip", [...args, "-h", directory], { stdio: "ignore" }));
    for (let tries = 0; tries < 50 && !isListening(namespace, port); tries++) await sleep(100);
    if (!isListening(namespace, port)) throw new Error(`No server listens in "${namespace}"`);
  }

  [Symbol.dispose](): void {
    for (const server of this.#servers) server.kill("SIGKILL");
    for (const one of [this.inner, this.outer])
      if (existsSync(`/run/netns/${one}`)) ip("netns", "del", one);
  }
}

export function ip(...args: readonly string[]): string {
  return execFileSync("ip", args, { encoding: "utf8" });
}

function isListening(namespace: string, port: number): boolean {
  const table = ip("netns", "exec", namespace, "cat", "/proc/net/tcp", "/proc/net/tcp6");
  const hex = port.toString(16).toUpperCase().padStart(4, "0");
  return table.split("\n").some((line) => line.includes(`:${hex} `) && / 0A /.test(line));
}
