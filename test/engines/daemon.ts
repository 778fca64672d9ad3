/** A daemon of the suite's own: started, waited for, and stopped by its process ID. */
import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, existsSync, openSync, readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";

export class Daemon implements AsyncDisposable {
  readonly #child: ChildProcess;
  readonly #log: string;

  private constructor(child: ChildProcess, log: string) {
    this.#child = child;
    this.#log = log;
  }

  /** Returns when `socket` exists, which daemons make when they listen. */
  static async start(
    command: readonly string[],
    { log, socket, timeoutMs = 30_000 }: { log: string; socket: string; timeoutMs?: number },
  ): Promise<Daemon> {
    const [file = "", ...args] = command;
    const out = openSync(log, "a");
    const child = spawn(file, args, { stdio: ["ignore", out, out] });
    closeSync(out);
    const daemon = new Daemon(child, log);
    for (let waitedMs = 0; waitedMs < timeoutMs; waitedMs += 50) {
      if (existsSync(socket)) return daemon;
      if (child.exitCode !== null) break;
      await sleep(50);
    }
    await daemon[Symbol.asyncDispose]();
    throw new Error(`Cannot start ${file}: ${daemon.lastLines()}`);
  }

  lastLines(count = 5): string {
    return readFileSync(this.#log, "utf8").trim().split("\n").slice(-count).join("\n");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const { exitCode, signalCode } = this.#child;
    if (exitCode !== null || signalCode !== null) return;
    const ended = new Promise((resolve) => this.#child.once("exit", resolve));
    this.#child.kill("SIGTERM");
    const inTime = await Promise.race([ended.then(() => true), sleep(15_000).then(() => false)]);
    if (!inTime) this.#child.kill("SIGKILL");
    await ended;
  }
}
