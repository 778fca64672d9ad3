/**
 * One row's own world: a bundle, a state root, a cgroup path, and the runtime under test. Closing
 * it deletes every container and fails when the runtime left anything behind.
 */
import assert from "node:assert/strict";
import {
  chmodSync,
  chownSync,
  lchownSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { type BundleConfig, defaultConfig, makeRootfs, removeTree } from "./bundle.ts";
import { Container } from "./container.ts";
import { clearLeftovers, findLeftovers } from "./leftovers.ts";
import type { Machine } from "./machine.ts";
import { type Outcome, type RunOptions, runCommand } from "./processes.ts";

/** Changes the configuration before it is written; the object is this trial's own. */
export type Edit = (config: BundleConfig) => void;

export interface Surroundings {
  /** The runtime's executable, and arguments that go before every verb. */
  readonly runtime: readonly string[];
  readonly machine: Machine;
  /** A directory of the run, with the template of the root file system in it. */
  readonly directory: string;
  /** All rows with systemd's cgroup driver. */
  readonly systemd?: boolean;
}

/** Of the suite's scopes. */
export const suiteSlice = "mwconformance.slice";

let counter = 0;

export class Trial {
  readonly machine: Machine;
  readonly directory: string;
  readonly bundle: string;
  readonly rootfs: string;
  readonly stateRoot: string;
  readonly #number: number;
  #systemd = false;
  /** Arguments before the verb, besides --root. */
  #globals: readonly string[] = [];
  /** Becomes somebody else before the runtime is executed. */
  #wrapper: readonly string[] = [];
  readonly runtime: readonly string[];
  readonly #containers: Container[] = [];
  readonly #undo: (() => void | Promise<void>)[] = [];
  #verbs = 0;
  config: BundleConfig;

  constructor({ runtime, machine, directory, systemd = false }: Surroundings) {
    this.machine = machine;
    this.runtime = runtime;
    this.directory = mkdtempSync(join(directory, "row-"));
    this.bundle = join(this.directory, "bundle");
    this.rootfs = join(this.bundle, "rootfs");
    this.stateRoot = join(this.directory, "state");
    counter += 1;
    this.#number = counter;
    mkdirSync(this.bundle);
    mkdirSync(this.stateRoot);
    makeRootfs(join(directory, "template"), this.rootfs);
    // Root of a user namespace, who is nobody here, has to pass.
    for (const path of [directory, this.directory]) chmodSync(path, 0o755);
    this.config = defaultConfig(this.cgroupsPathFor());
    if (systemd) this.useSystemd();
  }

  /** From now on systemd makes the cgroups. */
  useSystemd(): void {
    this.#systemd = true;
    this.#globals = ["--systemd-cgroup"];
    this.config.linux.cgroupsPath = this.cgroupsPathFor();
  }

  get usesSystemd(): boolean {
    return this.#systemd;
  }

  /** What linux.cgroupsPath says for this row's container, or for another of its own. */
  cgroupsPathFor(suffix = ""): string {
    const name = `${process.pid}-${this.#number}${suffix}`;
    return this.#systemd ? `${suiteSlice}:mw:${name}` : `/mw-conformance-${name}`;
  }

  /** The beginning of the directory that the row's cgroups have in each hierarchy. */
  get cgroupStem(): string {
    const name = `${process.pid}-${this.#number}`;
    return this.#systemd ? `/${suiteSlice}/mw-${name}` : `/mw-conformance-${name}`;
  }

  /** Where the container is, in each hierarchy. */
  get cgroupsPath(): string {
    return this.#systemd ? `${this.cgroupStem}.scope` : this.cgroupStem;
  }

  get unit(): string {
    return this.cgroupsPath.slice(this.cgroupsPath.lastIndexOf("/") + 1);
  }

  /** The runtime is called through this command from now on; `uid` owns what the row has made. */
  callThrough(wrapper: readonly string[], uid: number): void {
    this.#wrapper = wrapper;
    for (const path of [this.directory, this.bundle, this.stateRoot]) chownSync(path, uid, uid);
    for (const name of ["", ...readdirSync(this.rootfs)])
      lchownSync(join(this.rootfs, name), uid, uid);
  }

  /** A container ID that no other row uses. */
  newId(): string {
    counter += 1;
    return `mw-${process.pid}-${counter}`;
  }

  path(...names: readonly string[]): string {
    return join(this.directory, ...names);
  }

  /** Something to undo when the row ends, however it ends. */
  onClose(undo: () => void | Promise<void>): void {
    this.#undo.unshift(undo);
  }

  writeConfig(config: unknown = this.config): void {
    writeFileSync(join(this.bundle, "config.json"), JSON.stringify(config));
  }

  /** Prefix of the files that the next verb's output goes to. */
  nextOutput(): string {
    return this.path(`verb-${this.#verbs + 1}`);
  }

  /** Runs the runtime with these arguments after --root. */
  async verb(args: readonly string[], options: RunOptions = {}): Promise<Outcome> {
    this.#verbs += 1;
    const globals = [...this.#globals, "--root", this.stateRoot];
    const command = [...this.#wrapper, ...this.runtime, ...globals, ...args];
    return runCommand(command, this.path(`verb-${this.#verbs}`), options);
  }

  /** Runs the runtime with exactly these arguments. */
  async bare(args: readonly string[], options: RunOptions = {}): Promise<Outcome> {
    this.#verbs += 1;
    const command = [...this.#wrapper, ...this.runtime, ...this.#globals, ...args];
    return runCommand(command, this.path(`verb-${this.#verbs}`), options);
  }

  /** As `verb`, but anything else than success fails the row. */
  async ok(args: readonly string[], options: RunOptions = {}): Promise<string> {
    const { status, stdout, stderr } = await this.verb(args, options);
    assert.equal(status, 0, `${args[0]} failed with ${status}: ${stderr.trim().slice(-400)}`);
    return stdout;
  }

  /** Runs a shell script as the container's program to its end. */
  async run(script: string, edit?: Edit): Promise<Outcome> {
    this.config.process.args = ["/bin/sh", "-c", script];
    edit?.(this.config);
    this.writeConfig();
    const container = new Container(this, this.newId());
    this.#containers.push(container);
    return this.verb(["run", "--bundle", this.bundle, container.id]);
  }

  /** As `run`, expecting success; returns what the script printed. */
  async probe(script: string, edit?: Edit): Promise<string> {
    const { status, stdout, stderr } = await this.run(script, edit);
    assert.equal(status, 0, `run failed with ${status}: ${(stderr + stdout).trim().slice(-400)}`);
    return stdout.trim();
  }

  /** Creates a container whose program will be this script, and expects that to succeed. */
  async create(script = "sleep 100", edit?: Edit, flags: readonly string[] = []) {
    const { container, outcome } = await this.tryCreate(script, edit, flags);
    const { status, stderr } = outcome;
    assert.equal(status, 0, `create failed with ${status}: ${stderr.trim().slice(-400)}`);
    return container;
  }

  async tryCreate(
    script: string,
    edit?: Edit,
    flags: readonly string[] = [],
    options: RunOptions = {},
  ): Promise<{ readonly container: Container; readonly outcome: Outcome }> {
    this.config.process.args = ["/bin/sh", "-c", script];
    edit?.(this.config);
    this.writeConfig();
    const container = this.container();
    return { container, outcome: await container.create(flags, options) };
  }

  /** A container object for a new ID; nothing is created yet. */
  container(id = this.newId()): Container {
    const container = new Container(this, id);
    this.#containers.push(container);
    return container;
  }

  async started(script?: string, edit?: Edit): Promise<Container> {
    const container = await this.create(script, edit);
    await container.start();
    return container;
  }

  /**
   * Expects that the runtime refuses the configuration: an error and no container. What the error
   * says must match `message` when one is given.
   */
  async refused(edit: Edit, message?: RegExp, script = "true"): Promise<void> {
    const { container, outcome } = await this.tryCreate(script, edit);
    assert.notEqual(outcome.status, 0, "create succeeded: expected an error");
    assert.notEqual(outcome.stderr.trim(), "", "create failed without saying why");
    if (message) assert.match(outcome.stderr, message);
    const state = await this.verb(["state", container.id]);
    assert.notEqual(state.status, 0, `create failed, yet a container exists: ${state.stdout}`);
  }

  readLog(name: string): string {
    return readFileSync(this.path(name), "utf8");
  }

  /** Deletes what is left of the row's containers; throws when the runtime left something. */
  async close(): Promise<void> {
    const problems: string[] = [];
    // The youngest first: a joined PID namespace ends when all its processes have been waited for.
    for (const container of this.#containers.reverse()) await container.destroy();
    for (const undo of this.#undo) {
      try {
        await undo();
      } catch (error) {
        problems.push(`cannot clean up: ${(error as Error).message}`);
      }
    }
    problems.push(...findLeftovers(this));
    clearLeftovers(this);
    removeTree(this.directory);
    if (problems.length > 0) throw new Error(`Left behind: ${problems.join("; ")}`);
  }

  stateEntries(): readonly string[] {
    return readdirSync(this.stateRoot).filter((name) => !name.startsWith("."));
  }
}
