/** Real containers for tests: a busybox bundle in a temporary folder, and what must not be left. */
import assert from "node:assert/strict";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Process, RuntimeConfig } from "../../oci/index.ts";
import {
  type CreatedContainer,
  type CreateOptions,
  createContainer,
  destroyContainer,
  type ExitStatus,
  waitForChild,
} from "../../runtime/index.ts";
import { exampleConfig } from "../../runtime/verbs/spec.ts";

const applets =
  "sh true false cat echo env id ls sleep kill grep mount hostname pwd tty stty ps touch mkdir readlink stat umask";

/** Why containers cannot be made here; undefined when they can. */
export function cannotRunContainers(): string | undefined {
  if (process.geteuid?.() !== 0) return "needs root";
  if (!existsSync("/bin/busybox")) return "needs Debian's busybox-static";
  return undefined;
}

export interface Finished extends ExitStatus {
  readonly stdout: string;
  readonly stderr: string;
}

export class Sandbox implements Disposable {
  readonly directory = mkdtempSync(join(tmpdir(), "manyworlds-runtime-"));
  readonly bundle = join(this.directory, "bundle");
  readonly rootfs = join(this.bundle, "rootfs");
  readonly stateRoot = join(this.directory, "state");
  readonly id = `mw-test-${process.pid}-${Math.random().toString(36).slice(2, 8)}`;

  constructor() {
    for (const name of ["bin", "proc", "sys", "dev", "tmp", "etc"])
      mkdirSync(join(this.rootfs, name), { recursive: true });
    copyFileSync("/bin/busybox", join(this.rootfs, "bin/busybox"));
    for (const name of applets.split(" ")) symlinkSync("busybox", join(this.rootfs, "bin", name));
  }

  /** The example configuration with a shell script as command and a writable root. */
  config(script: string, edit: Partial<Process> = {}): RuntimeConfig {
    const { process: base, ...config } = exampleConfig();
    assert.ok(base);
    const { rlimits: _, ...plain } = base;
    const args = ["/bin/sh", "-c", script];
    return {
      ...config,
      root: { path: "rootfs" },
      process: { ...plain, terminal: false, args, ...edit },
    };
  }

  create(config: RuntimeConfig, options: Partial<CreateOptions> = {}): CreatedContainer {
    const { id, bundle, stateRoot } = this;
    return createContainer({ id, bundle, stateRoot, config, mode: "run", ...options });
  }

  /** Runs to the end and removes it. */
  run(config: RuntimeConfig, options: Partial<CreateOptions> = {}): Finished {
    const [out, err] = [join(this.directory, "stdout"), join(this.directory, "stderr")];
    const stdio = [openSync("/dev/null", "r"), openSync(out, "w"), openSync(err, "w")] as const;
    const container = this.create(config, { stdio, ...options });
    const status = waitForChild(container.pid);
    this.destroy(container);
    return { ...status, stdout: readFileSync(out, "utf8"), stderr: readFileSync(err, "utf8") };
  }

  destroy({ record, directory, pidfd }: CreatedContainer): void {
    pidfd.close();
    destroyContainer({ ...record, directory, pid: 0, status: "stopped" });
  }

  /** Mounts, cgroups and state that a test left behind are its failure. */
  [Symbol.dispose](): void {
    // Others mount and unmount here too: only ours count.
    const mounts = readFileSync("/proc/self/mountinfo", "utf8").split("\n");
    assert.deepEqual(
      mounts.filter((mount) => mount.includes(this.directory)),
      [],
      "mounts are left",
    );
    const state = existsSync(this.stateRoot) ? readdirSync(this.stateRoot) : [];
    assert.deepEqual(state, [], "state is left");
    assert.deepEqual(cgroupsNamed(this.id), [], "cgroups are left");
    rmSync(this.directory, { recursive: true, force: true });
  }
}

export function cgroupsNamed(name: string): readonly string[] {
  const own = readFileSync("/proc/self/cgroup", "utf8").trim().split("\n");
  return own.flatMap((line) => {
    const [, controllers = "", path = ""] = line.split(":");
    const folder = controllers.replace("name=", "") || "unified";
    const place = join("/sys/fs/cgroup", folder, path, name);
    return existsSync(place) ? [place] : [];
  });
}
