/** A bundle of busybox for machines that the OCI command line starts, and its verbs as functions. */
import { spawn, spawnSync } from "node:child_process";
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Mount, Namespace, Process, RuntimeConfig } from "../../../oci/index.ts";
import { command, type Outcome } from "../../cli/end-to-end/world.ts";
import { guestKernel } from "./guest-kernel.ts";

const [program, ...firstArgs] = command;
const VERB_LIMIT_MS = 60_000;

export interface BundleEdit {
  readonly process?: Partial<Process>;
  readonly mounts?: readonly Mount[];
  /** Of a network namespace to join. */
  readonly network?: string;
  /** A process whose IPC and UTS namespaces are joined, and its host name not set, as in a pod. */
  readonly podOf?: number;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly memory?: number;
  /** Whatever else; the last word. */
  readonly config?: (config: RuntimeConfig) => RuntimeConfig;
}

export class OciMachines implements Disposable {
  readonly directory = mkdtempSync(join(tmpdir(), "manyworlds-oci-vm-"));
  readonly rootfs = this.path("bundle/rootfs");
  readonly state = this.path("state");
  readonly #example: RuntimeConfig;
  readonly #cgroups = `/manyworlds-test-${process.pid}`;
  readonly #cpu: "kvm" | "software";
  #bundles = 0;

  constructor({ cpu = "software" }: { readonly cpu?: "kvm" | "software" } = {}) {
    this.#cpu = cpu;
    for (const name of ["bin", "proc", "sys", "dev", "tmp", "etc"])
      mkdirSync(join(this.rootfs, name), { recursive: true });
    copyFileSync("/bin/busybox", join(this.rootfs, "bin/busybox"));
    const { stdout } = spawnSync("/bin/busybox", ["--list"], { encoding: "utf8" });
    for (const applet of stdout.trim().split("\n"))
      if (applet !== "busybox") symlinkSync("busybox", join(this.rootfs, "bin", applet));
    const spec = spawnSync(program, [...firstArgs, "oci", "spec"], { cwd: this.path("bundle") });
    if (spec.status !== 0) throw new Error(`spec failed: ${spec.stderr}`);
    const text = readFileSync(this.path("bundle/config.json"), "utf8");
    // SAFE: what our own `spec` writes.
    this.#example = JSON.parse(text) as RuntimeConfig;
  }

  path(name: string): string {
    return join(this.directory, name);
  }

  /** Writes config.json: `sh -c SCRIPT`, with what is edited. */
  configure(script: string, edit: BundleEdit = {}): void {
    const base = this.#example;
    const namespaces = (base.linux?.namespaces ?? []).filter(({ type }) => type !== "network");
    const network = {
      type: "network" as const,
      ...(edit.network !== undefined && { path: edit.network }),
    };
    const { rlimits: _, ...plain } = base.process ?? { cwd: "/" };
    const config: RuntimeConfig = {
      ...base,
      ...(edit.podOf !== undefined && { hostname: "" }),
      root: { path: "rootfs" },
      process: { ...plain, terminal: false, args: ["/bin/sh", "-c", script], ...edit.process },
      mounts: [...(base.mounts ?? []), ...(edit.mounts ?? [])],
      ...(edit.annotations !== undefined && { annotations: edit.annotations }),
      linux: {
        ...base.linux,
        namespaces: [...namespaces.map((one) => inPod(one, edit.podOf)), network],
        cgroupsPath: `${this.#cgroups}/${this.#bundles++}`,
        ...(edit.memory !== undefined && { resources: { memory: { limit: edit.memory } } }),
      },
    };
    const text = JSON.stringify(edit.config?.(config) ?? config);
    writeFileSync(this.path("bundle/config.json"), text);
  }

  /** The command line up to its verb; machines are asked for unless `isolation` says otherwise. */
  words(
    isolation: readonly string[] = ["--isolation=vm"],
    kernel = guestKernel(),
  ): readonly string[] {
    const cpu = [`--cpu=${this.#cpu}`, ...(kernel === "" ? [] : [`--kernel=${kernel}`])];
    return [...firstArgs, "oci", "--root", this.state, ...isolation, ...cpu];
  }

  verb(...args: readonly string[]): Outcome {
    return this.run(args);
  }

  run(
    args: readonly string[],
    options: { input?: string; isolation?: readonly string[]; kernel?: string } = {},
  ): Outcome {
    const { status, stdout, stderr } = spawnSync(
      program,
      [...this.words(options.isolation, options.kernel), ...args],
      {
        encoding: "utf8",
        cwd: this.path("bundle"),
        input: options.input ?? "",
        env: this.#env(),
        timeout: VERB_LIMIT_MS,
      },
    );
    return { status, stdout, stderr };
  }

  /** A verb that leaves a process, which would hold our pipes. */
  detached(...args: readonly string[]): void {
    const cwd = this.path("bundle");
    spawnSync(program, [...this.words(), ...args], { cwd, env: this.#env(), stdio: "ignore" });
  }

  /** `create`, with the container's output in a file; the process that was made. */
  create(id: string, ...more: readonly string[]): number {
    const pidFile = this.path(`${id}.pid`);
    const { status, stderr } = spawnSync(
      "sh",
      [
        "-c",
        'exec "$@" < /dev/null > "$OUT" 2>&1',
        "sh",
        program,
        ...this.words(),
        "create",
        "--pid-file",
        pidFile,
        ...more,
        id,
      ],
      {
        encoding: "utf8",
        cwd: this.path("bundle"),
        env: { ...this.#env(), OUT: this.path(`${id}.out`) },
        timeout: VERB_LIMIT_MS,
      },
    );
    if (status !== 0)
      throw new Error(`create failed: ${stderr}${readFileSync(this.path(`${id}.out`), "utf8")}`);
    return Number(readFileSync(pidFile, "utf8"));
  }

  /** The same as `verb`, while the test goes on. */
  start(...args: readonly string[]) {
    return spawn(program, [...this.words(), ...args], {
      cwd: this.path("bundle"),
      env: this.#env(),
      stdio: ["pipe", "pipe", "inherit"],
    });
  }

  /** Without warnings of what the test's user lacks. */
  output(id: string): string {
    const lines = readFileSync(this.path(`${id}.out`), "utf8").split("\n");
    return lines.filter((line) => !line.startsWith("time=")).join("\n");
  }

  status(id: string): string {
    const { stdout } = this.verb("state", id);
    return stdout === "" ? "" : (JSON.parse(stdout) as { status: string }).status;
  }

  [Symbol.dispose](): void {
    rmSync(this.directory, { recursive: true, force: true });
    // Runtimes remove the cgroup that they made, and leave its parents.
    spawnSync("sh", [
      "-c",
      `rmdir /sys/fs/cgroup${this.#cgroups} /sys/fs/cgroup/*${this.#cgroups}`,
    ]);
  }

  #env(): Record<string, string> {
    return {
      PATH: process.env["PATH"] ?? "",
      HOME: this.directory,
      MANYWORLDS_ROOT: this.path("root"),
    };
  }
}

function inPod(namespace: Namespace, pid: number | undefined): Namespace {
  const isShared = namespace.type === "ipc" || namespace.type === "uts";
  if (pid === undefined || !isShared) return namespace;
  return { ...namespace, path: `/proc/${pid}/ns/${namespace.type}` };
}

/** Processes that have this word on their command line. */
export function processesWith(word: string): readonly string[] {
  return readdirSync("/proc").filter(
    (name) => /^\d+$/.test(name) && commandOf(name).includes(word),
  );
}

function commandOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "utf8");
  } catch {
    return ""; // it has ended
  }
}
