/**
 * A real registry on loopback: Debian's docker-registry with its data in a folder of ours, on a
 * port that the kernel picks.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";

const startLimitMs = 20_000;

export interface LoopbackRegistry extends AsyncDisposable {
  /** Host and port, as image names begin with them. */
  readonly host: string;
  readonly pid: number;
}

/** Starts it; without `data`, what is pushed is gone when the registry is disposed. */
export async function startRegistry(
  options: { readonly data?: string } = {},
): Promise<LoopbackRegistry> {
  const directory = mkdtempSync(join(tmpdir(), "manyworlds-registry-"));
  const data = options.data ?? join(directory, "data");
  mkdirSync(data, { recursive: true });
  const config = join(directory, "config.yml");
  writeFileSync(config, configuration(data));
  // It must not outlive us, even when we are killed.
  const command = ["--pdeathsig", "TERM", "docker-registry", "serve", config];
  const child = spawn("setpriv", command, {
    stdio: ["ignore", "ignore", "pipe"],
    env: { PATH: process.env["PATH"], OTEL_TRACES_EXPORTER: "none" },
  });
  const stop = async () => {
    await end(child);
    rmSync(directory, { recursive: true, force: true });
  };
  try {
    const host = await listening(child);
    return { host, pid: child.pid ?? 0, [Symbol.asyncDispose]: stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

function configuration(data: string): string {
  return JSON.stringify({
    version: "0.1",
    log: { level: "info", formatter: "json", accesslog: { disabled: true } },
    storage: { filesystem: { rootdirectory: data }, delete: { enabled: true } },
    http: { addr: "127.0.0.1:0" },
  });
}

/** Reads the registry's log up to the line that names its address, and drains the rest. */
function listening(child: ChildProcess): Promise<string> {
  const said: string[] = [];
  return new Promise((resolve, reject) => {
    const fail = (why: string, cause?: unknown) =>
      reject(new Error(`Cannot start docker-registry: ${why}\n${said.join("\n")}`, { cause }));
    const timer = setTimeout(() => fail(`silent for ${startLimitMs} ms`), startLimitMs);
    child.once("error", (error) => fail(error.message, error));
    child.once("exit", (code, signal) => fail(`it ended with ${signal ?? code}`));
    if (child.stderr === null) return;
    createInterface({ input: child.stderr }).on("line", (line) => {
      const found = /listening on (127\.0\.0\.1:\d+)/.exec(line)?.[1];
      if (found === undefined) {
        if (said.length < 50) said.push(line);
        return;
      }
      clearTimeout(timer);
      resolve(found);
    });
  });
}

function end(child: ChildProcess): Promise<void> {
  return new Promise((resolve) => {
    if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) {
      resolve();
      return;
    }
    child.once("exit", () => resolve());
    child.kill("SIGTERM");
  });
}
