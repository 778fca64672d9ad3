/** How rows are run on each rung, and why a rung cannot be. */
import { type SpawnSyncReturns, spawn, spawnSync } from "node:child_process";
import { chmodSync, chownSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { command, type World } from "../cli/end-to-end/world.ts";
import type { Row, RungName } from "./rows.ts";

const [program, ...firstArgs] = command;
const NOBODY = 65534;
/** A machine on the software CPU, or on KVM in an emulated one, takes seconds to boot, or tens. */
const TIMEOUT_MS = 120_000;

interface RungRow {
  readonly name: RungName;
  readonly flags: readonly string[];
  /** The doctor's name for it. */
  readonly doctor: string;
  readonly user?: number;
}

export const rungs: readonly RungRow[] = [
  { name: "container", flags: [], doctor: "container" },
  { name: "rootless", flags: [], doctor: "container", user: NOBODY },
  {
    name: "vm-software",
    flags: ["--isolation", "vm", "--cpu", "software"],
    doctor: "vm on the software CPU",
  },
  { name: "vm-kvm", flags: ["--isolation", "vm", "--cpu", "kvm"], doctor: "vm on kvm" },
];

export interface Outcome {
  readonly status: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** One rung in a world: the image is there, and a volume to mount. */
export class OpenRung {
  readonly row: RungRow;
  readonly #world: World;
  readonly #root: string;
  readonly #volume: string;

  constructor(row: RungRow, world: World) {
    this.row = row;
    this.#world = world;
    const user = row.user ?? 0;
    this.#root = world.path(`root-${row.name}`);
    this.#volume = world.path(`volume-${row.name}`);
    chmodSync(world.directory, 0o711);
    for (const folder of [this.#root, this.#volume]) {
      mkdirSync(folder);
      chownSync(folder, user, user);
    }
    writeFileSync(join(this.#volume, "file"), "from the host\n");
  }

  /** Why it cannot be tried on this machine; undefined when the image is there and runs. */
  missing(): string | undefined {
    const { rungs: found } = JSON.parse(this.#mw(["doctor", "--format", "json"]).stdout) as {
      readonly rungs: readonly { name: string; usable: boolean; reason: string }[];
    };
    const rung = found.find(({ name }) => name === this.row.doctor);
    if (rung?.usable !== true) return rung?.reason ?? `doctor has no "${this.row.doctor}"`;
    const pulled = this.#mw(["pull", "-q", this.#world.image]);
    if (pulled.status !== 0) return pulled.stderr.trim();
    const { status, stderr } = this.#mw([...this.#run([]), "true"]);
    return status === 0 ? undefined : stderr.trim();
  }

  async take(row: Row): Promise<Outcome> {
    const flags = (row.flags ?? []).map((word) => word.replace("VOLUME", this.#volume));
    const words = row.words ?? ["sh", "-c", row.script ?? ""];
    const args = [...this.#run(flags), ...words];
    if (row.terminal !== undefined) return this.#inTerminal(args, row.terminal);
    if (row.signal !== undefined) return this.#signalled(args, row.signal);
    return this.#mw(args, row.input);
  }

  volumeText(name: string): string {
    return readFileSync(join(this.#volume, name), "utf8");
  }

  #run(flags: readonly string[]): readonly string[] {
    return ["run", "--rm", ...this.row.flags, ...flags, this.#world.image];
  }

  #mw(args: readonly string[], input = ""): SpawnSyncReturns<string> {
    return spawnSync(program, [...firstArgs, ...args], {
      ...this.#options(),
      encoding: "utf8",
      input,
      timeout: TIMEOUT_MS,
      killSignal: "SIGKILL",
      maxBuffer: 16 * 1024 * 1024,
    });
  }

  /** The terminal is made by root: not every machine lets everybody have one. */
  #inTerminal(args: readonly string[], size: { rows: number; columns: number }): Outcome {
    const { uid, ...options } = this.#options();
    const become = ["setpriv", `--reuid=${uid}`, `--regid=${uid}`, "--clear-groups"];
    const words = [...(uid === undefined ? [] : become), ...command, ...args];
    const quoted = words.map((word) => `'${word.replaceAll("'", "'\\''")}'`);
    const line = `stty rows ${size.rows} cols ${size.columns}; ${quoted.join(" ")}`;
    return spawnSync("script", ["-q", "-e", "-c", line, "/dev/null"], {
      ...options,
      gid: 0,
      encoding: "utf8",
      timeout: TIMEOUT_MS,
      killSignal: "SIGKILL",
    });
  }

  #signalled(args: readonly string[], signal: NodeJS.Signals): Promise<Outcome> {
    const child = spawn(program, [...firstArgs, ...args], {
      ...this.#options(),
      stdio: ["ignore", "pipe", "pipe"],
      timeout: TIMEOUT_MS,
      killSignal: "SIGKILL",
    });
    return new Promise((resolve, reject) => {
      let [stdout, stderr, sent] = ["", "", false];
      child.stderr.on("data", (bytes) => {
        stderr += bytes;
      });
      child.stdout.on("data", (bytes) => {
        stdout += bytes;
        if (!sent && stdout.includes("ready\n")) sent = child.kill(signal);
      });
      child.once("error", reject);
      child.once("close", (status) => resolve({ status, stdout, stderr }));
    });
  }

  #options() {
    const { user } = this.row;
    const kernel = process.env["MANYWORLDS_KERNEL"];
    return {
      cwd: this.#world.directory,
      env: {
        PATH: process.env["PATH"] ?? "",
        HOME: this.#world.directory,
        SHELL: "/bin/sh",
        MANYWORLDS_ROOT: this.#root,
        ...(kernel !== undefined && { MANYWORLDS_KERNEL: kernel }),
      },
      uid: user,
      gid: user,
    };
  }
}
