/** One container of a trial, driven through the runtime's verbs. */
import assert from "node:assert/strict";
import { existsSync, readFileSync, readlinkSync } from "node:fs";
import type { ContainerState } from "../../oci/index.ts";
import { isAlive, type Outcome, type RunOptions, reapOrphan, waitForOrphan } from "./processes.ts";
import type { Trial } from "./trial.ts";

export class Container {
  readonly id: string;
  readonly #trial: Trial;
  #output = "";

  constructor(trial: Trial, id: string) {
    this.#trial = trial;
    this.id = id;
  }

  get pidFile(): string {
    return this.#trial.path(`${this.id}.pid`);
  }

  /** The host's PID of the container's init, from the pid file. */
  get pid(): number {
    const text = readFileSync(this.pidFile, "utf8");
    assert.match(text, /^\d+\s*$/, "the pid file holds no decimal number");
    return Number(text);
  }

  async create(flags: readonly string[] = [], options: RunOptions = {}): Promise<Outcome> {
    const bundle = ["--bundle", this.#trial.bundle];
    const args = ["create", ...bundle, "--pid-file", this.pidFile, ...flags, this.id];
    this.#output = this.#trial.nextOutput();
    return this.#trial.verb(args, options);
  }

  async start(): Promise<void> {
    await this.#trial.ok(["start", this.id]);
  }

  /** What the container's program printed so far. */
  get output(): string {
    return readFileSync(`${this.#output}.out`, "utf8");
  }

  get errors(): string {
    return readFileSync(`${this.#output}.err`, "utf8");
  }

  async state(): Promise<ContainerState> {
    return JSON.parse(await this.#trial.ok(["state", this.id])) as ContainerState;
  }

  async status(): Promise<string> {
    return (await this.state()).status;
  }

  async kill(signal = "KILL"): Promise<void> {
    await this.#trial.ok(["kill", this.id, signal]);
  }

  /** Waits until the container's init has ended; its exit status. */
  async exited(): Promise<number> {
    return waitForOrphan(this.pid);
  }

  async delete(flags: readonly string[] = []): Promise<void> {
    await this.#trial.ok(["delete", ...flags, this.id]);
  }

  /** Runs a command in the running container and returns how it went. */
  async tryExec(
    command: readonly string[],
    flags: readonly string[] = [],
    options: RunOptions = {},
  ): Promise<Outcome> {
    return this.#trial.verb(["exec", ...flags, this.id, ...command], options);
  }

  /** Runs a shell script in the container; what it printed. */
  async exec(script: string, flags: readonly string[] = []): Promise<string> {
    const outcome = await this.tryExec(["/bin/sh", "-c", script], flags);
    const { status, stdout, stderr } = outcome;
    assert.equal(status, 0, `exec failed with ${status}: ${(stderr + stdout).trim().slice(-400)}`);
    return stdout.trim();
  }

  /** A file of the container's init in /proc. */
  proc(name: string): string {
    return readFileSync(`/proc/${this.pid}/${name}`, "utf8");
  }

  namespaceOf(type: string): string {
    return readlinkSync(`/proc/${this.pid}/ns/${type}`);
  }

  /** Gets rid of it whatever its state; for cleaning up, so it says nothing. */
  async destroy(): Promise<void> {
    const pid = existsSync(this.pidFile) ? Number(readFileSync(this.pidFile, "utf8")) : 0;
    if (this.#trial.stateEntries().length > 0) {
      await this.#trial.verb(["delete", "--force", this.id]).catch(() => undefined);
    }
    if (pid <= 1) return;
    if (isAlive(pid) && this.#isOurs(pid)) process.kill(pid, "SIGKILL");
    await waitForOrphan(pid, 2_000).catch(() => undefined);
    reapOrphan(pid);
  }

  /** The pid may belong to somebody else by now; ours has our rootfs or our cgroup. */
  #isOurs(pid: number): boolean {
    try {
      return readFileSync(`/proc/${pid}/cgroup`, "utf8").includes(this.#trial.cgroupsPath);
    } catch {
      return false;
    }
  }
}
