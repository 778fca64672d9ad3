/**
 * What answers on this machine while worlds measure their way to it: the probe once more, as a plain
 * process that answers only to what comes from this machine itself.
 *
 * A world that shares this machine's network finds it at 127.0.0.1, and so does QEMU's user network.
 * passt keeps the loopback address to itself, so machines behind it go to an address that this
 * machine has otherwise.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { networkInterfaces } from "node:os";
import { errnoName } from "../linux/index.ts";

/** Where it listens, as the probe takes it. */
export interface HostServer {
  readonly words: readonly string[];
}

/** "gateway": the loopback address, as QEMU's user network calls it. */
export type HostPlace = "loopback" | "gateway" | "address";

const QEMU_GATEWAY = "10.0.2.2";

const START_TIMEOUT_MS = 10_000;

export class HostServers implements Disposable {
  readonly #probe: string;
  readonly #children: ChildProcess[] = [];
  readonly #servers = new Map<HostPlace, Promise<HostServer>>();

  constructor(probe: string) {
    this.#probe = probe;
  }

  /** Starts it the first time. Throws when this machine has no such place. */
  async at(place: HostPlace): Promise<HostServer> {
    if (place !== "gateway") return this.#listening(place);
    const { words } = await this.#listening("loopback");
    return { words: [asWord(QEMU_GATEWAY), ...words.slice(1)] };
  }

  #listening(place: "loopback" | "address"): Promise<HostServer> {
    let server = this.#servers.get(place);
    if (server === undefined) {
      server = this.#start(place === "loopback" ? "127.0.0.1" : ownAddress());
      this.#servers.set(place, server);
    }
    return server;
  }

  async #start(address: string | undefined): Promise<HostServer> {
    if (address === undefined) {
      throw new Error("this machine has no IPv4 address but the loopback device's");
    }
    const child = spawn(this.#probe, ["l", asWord(address)], {
      stdio: ["ignore", "pipe", "ignore"],
    });
    this.#children.push(child);
    const port = await portOf(child, address);
    child.unref();
    child.stdout?.destroy();
    return { words: [asWord(address), port] };
  }

  [Symbol.dispose](): void {
    for (const child of this.#children) child.kill("SIGKILL");
  }
}

function portOf(child: ChildProcess, address: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const fail = (why: string): void => {
      clearTimeout(timer);
      reject(new Error(`nothing can listen at ${address}: ${why}`));
    };
    const timer = setTimeout(() => {
      child.kill("SIGKILL");
      fail(`no answer within ${START_TIMEOUT_MS / 1000} s`);
    }, START_TIMEOUT_MS);
    let said = "";
    child.stdout?.setEncoding("utf8").on("data", (text: string) => {
      said += text;
      const port = /^l (\d+)\n/.exec(said)?.[1];
      if (port === undefined) return;
      clearTimeout(timer);
      resolve(port);
    });
    child.once("error", (error) => fail(error.message));
    child.once("exit", (status, signal) => fail(signal ?? errnoName(status ?? 0)));
  });
}

/** The first address that is neither the loopback device's nor only good on one link. */
function ownAddress(): string | undefined {
  return Object.values(networkInterfaces())
    .flatMap((addresses) => addresses ?? [])
    .find(
      ({ family, internal, address }) =>
        family === "IPv4" && !internal && !address.startsWith("169.254."),
    )?.address;
}

function asWord(address: string): string {
  const bytes = Uint8Array.from(address.split(".").map(Number));
  return String(new DataView(bytes.buffer).getUint32(0, true));
}
